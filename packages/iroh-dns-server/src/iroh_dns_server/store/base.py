"""The interface of a packet store, and the bytes it holds.

A store maps a public key (32 bytes) to one *relay payload*, the body of a pkarr PUT or GET:

    0        64         72                72..1072
    | signature | timestamp | DNS message     |
                  u64 big-endian, microseconds since 1970

Payloads are verified before they are put; a store neither checks signatures nor parses DNS.

Which packet wins (iroh-dns/src/pkarr.rs, `more_recent_than`): the larger timestamp, and with equal
timestamps the bytewise larger DNS message. The same message again counts as an update.
"""

import enum
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = [
    "DNS_OFFSET",
    "MAX_PAYLOAD",
    "MIN_PAYLOAD",
    "Expired",
    "LocalStore",
    "PacketStore",
    "PutOutcome",
    "SharedStore",
    "Watcher",
    "payload_timestamp",
]

DNS_OFFSET = 72
"""Where the DNS message starts in a relay payload: 64 bytes signature, 8 bytes timestamp."""
MIN_PAYLOAD = 72
"""Bytes of the smallest relay payload (iroh-dns `HEADER_SIZE` 104 without the key)."""
MAX_PAYLOAD = 72 + 1000
"""Bytes of the largest relay payload (iroh-dns `MAX_DNS_PACKET_SIZE` 1000)."""


class PutOutcome(enum.Enum):
    """What a put did."""

    INSERTED = "inserted"
    UPDATED = "updated"
    STALE = "stale"
    """A newer packet is stored; nothing changed."""


class Expired(NamedTuple):
    """Result of one expiry pass: the keys that were removed, and whether more may be due."""

    keys: Sequence[bytes]
    more: bool


class PacketStore(Protocol):
    """A durable map from public key to the newest relay payload seen for it."""

    async def put(self, public_key: bytes, payload: bytes) -> PutOutcome:
        """Store a verified payload unless a newer one is there.

        Returns only after the packet is on disk: what was returned survives a crash. Safe to
        cancel; the packet may be stored nevertheless. Raises `StoreBusyError` when too many writes
        are waiting, `StoreError` when the write failed and nothing was stored.
        """
        ...

    async def get(self, public_key: bytes) -> bytes | None:
        """The stored payload, or None. Raises `StoreError`. Safe to cancel."""
        ...

    async def expire(self, before_us: int, limit: int) -> Expired:
        """Remove at most `limit` packets with a timestamp before `before_us`, oldest first.

        Raises `StoreError`. Safe to cancel; it may be done nevertheless.
        """
        ...

    async def count(self) -> int:
        """How many packets there are. Raises `StoreError`. Safe to cancel."""
        ...

    async def close(self) -> None:
        """Finish the writes that are waiting and release every file and thread. Idempotent.

        Cancelling the wait does not stop it.
        """
        ...


@runtime_checkable
class LocalStore(PacketStore, Protocol):
    """A packet store that can be read at once, within some 10 us: nobody has to wait for it."""

    def read(self, public_key: bytes) -> bytes | None:
        """As `get`. Raises `StoreError`."""
        ...


class Watcher(Protocol):
    """Somebody who remembers packets of a store that others write to."""

    def drop(self, public_keys: Iterable[bytes]) -> None:
        """These packets have changed."""
        ...

    def suspend(self) -> None:
        """Changes cannot be told now: forget everything, and remember nothing new."""
        ...

    def resume(self) -> None:
        """From now on every change is told."""
        ...


@runtime_checkable
class SharedStore(PacketStore, Protocol):
    """A packet store that other servers write to as well."""

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` what changes, until the store is closed."""
        ...


def payload_timestamp(payload: bytes) -> int:
    """The timestamp of a relay payload, in microseconds since 1970."""
    return int.from_bytes(payload[64:DNS_OFFSET])
