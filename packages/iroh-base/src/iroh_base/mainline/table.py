"""The nodes that are known (BEP 5's routing table): many near to us, few far away.

A bucket for each length of prefix that an id shares with ours, of at most 8 nodes each: 160
buckets, 1280 nodes at most. Only nodes that answered get in. One that failed twice in a row goes;
in a full bucket a new one takes the place of the one silent for longest, if that is 15 minutes or
more.
"""

from dataclasses import dataclass
from typing import Final

from .krpc import Addr, Contact

__all__ = ["BUCKET_SIZE", "NODE_ID_LENGTH", "STALE_TIME", "RoutingTable", "distance"]

NODE_ID_LENGTH: Final = 20
BUCKET_SIZE: Final = 8
"""K of BEP 5."""
STALE_TIME: Final = 15 * 60.0
"""Seconds; BEP 5: a node silent for longer is questionable."""
MAX_FAILURES: Final = 2


def distance(one: bytes, other: bytes) -> int:
    """How far two ids are from each other."""
    return int.from_bytes(one) ^ int.from_bytes(other)


@dataclass(slots=True)
class _Entry:
    contact: Contact
    seen: float
    failures: int = 0


class RoutingTable:
    """Nodes by id; each address once."""

    def __init__(self, own_id: bytes) -> None:
        self._own = own_id
        self._buckets: dict[int, dict[bytes, _Entry]] = {}
        self._by_addr: dict[Addr, bytes] = {}

    def __len__(self) -> int:
        return len(self._by_addr)

    def answered(self, contact: Contact, now: float) -> None:
        """Note that a node is alive; it gets in if there is room."""
        known = self._by_addr.get(contact.addr)
        if known is not None and known != contact.id:
            self._remove(known)  # another one is there now
        bucket = self._bucket(contact.id)
        entry = bucket.get(contact.id)
        if entry is not None:
            if entry.contact.addr == contact.addr:  # else somebody else takes its id
                entry.seen, entry.failures = now, 0
            return
        if contact.id == self._own:
            return
        if len(bucket) >= BUCKET_SIZE:
            oldest = min(bucket.values(), key=lambda entry: entry.seen)
            if oldest.seen > now - STALE_TIME:
                return
            self._remove(oldest.contact.id)
        bucket[contact.id] = _Entry(contact, now)
        self._by_addr[contact.addr] = contact.id

    def failed(self, addr: Addr) -> None:
        """Note that a node did not answer."""
        node_id = self._by_addr.get(addr)
        if node_id is not None:
            entry = self._bucket(node_id)[node_id]
            entry.failures += 1
            if entry.failures >= MAX_FAILURES:
                self._remove(node_id)

    def wants(self, contact: Contact) -> bool:
        """Whether there is room for a node that is not known."""
        return (
            contact.addr not in self._by_addr
            and contact.id != self._own
            and len(self._bucket(contact.id)) < BUCKET_SIZE
        )

    def closest(self, target: bytes, count: int = BUCKET_SIZE) -> list[Contact]:
        """The nodes nearest to a target, the nearest first."""
        contacts = [entry.contact for bucket in self._buckets.values() for entry in bucket.values()]
        contacts.sort(key=lambda contact: distance(contact.id, target))
        return contacts[:count]

    def stale(self, now: float) -> list[Contact]:
        """The nodes that were silent for 15 minutes."""
        return [
            entry.contact
            for bucket in self._buckets.values()
            for entry in bucket.values()
            if entry.seen <= now - STALE_TIME
        ]

    def _bucket(self, node_id: bytes) -> dict[bytes, _Entry]:
        return self._buckets.setdefault(distance(node_id, self._own).bit_length(), {})

    def _remove(self, node_id: bytes) -> None:
        entry = self._bucket(node_id).pop(node_id, None)
        if entry is not None:
            del self._by_addr[entry.contact.addr]
