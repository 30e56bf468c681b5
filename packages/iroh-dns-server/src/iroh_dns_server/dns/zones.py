"""Decoded zones in memory, newest use last, within a budget of bytes.

A zone is loaded from the packet store when it is first asked for and dropped when a newer packet
was stored, when its packet expired, or when others need the room. A key without a packet is not
remembered: the store answers that as fast as a cache would.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from iroh_base.encoding import z32_encode
from iroh_dns_server.dns.zone import Zone
from iroh_dns_server.metrics import Metrics
from iroh_dns_server.store.base import DNS_OFFSET, LocalStore, PacketStore

if TYPE_CHECKING:
    from iroh_dns_server.mainline import MainlineFallback

__all__ = ["DEFAULT_BUDGET", "ZoneCache"]

DEFAULT_BUDGET = 64 * 1024 * 1024
"""Bytes of zones kept, roughly 50 000 zones of ordinary endpoints."""


class ZoneCache:
    """The zones of the packets in `store`."""

    def __init__(
        self,
        store: PacketStore,
        metrics: Metrics,
        *,
        budget: int = DEFAULT_BUDGET,
        fallback: "MainlineFallback | None" = None,
    ) -> None:
        self._store = store
        self._fallback = fallback
        self.local: LocalStore | None = (
            store if isinstance(store, LocalStore) and fallback is None else None
        )
        """The store, if zones can be loaded from it without waiting, and from nowhere else."""
        self._metrics = metrics
        self._budget = budget
        self._zones: OrderedDict[bytes, Zone] = OrderedDict()
        self._cost = 0
        self._changes = 0
        self._suspended = False

    def peek(self, public_key: bytes) -> Zone | None:
        """The zone, if it is in memory."""
        zone = self._zones.get(public_key)
        if zone is not None:
            self._zones.move_to_end(public_key)
        return zone

    async def load(self, public_key: bytes) -> Zone | None:
        """The zone from memory, the store or the fallback; None if the key has no packet.

        Raises `StoreError`, `DhtUnavailableError`. Safe to cancel.
        """
        zone = self.peek(public_key)
        if zone is not None:
            return zone
        changes = self._changes
        payload = await self._store.get(public_key)
        if payload is None and self._fallback is not None:
            return await self._elsewhere(self._fallback, public_key)
        return self._decode(public_key, payload, changes)

    def read(self, store: LocalStore, public_key: bytes) -> Zone | None:
        """As `load` for a zone that is not in memory, from `local`. Raises `StoreError`."""
        return self._decode(public_key, store.read(public_key), self._changes)

    def _decode(self, public_key: bytes, payload: bytes | None, changes: int) -> Zone | None:
        if payload is None:
            return None
        zone = Zone.from_packet(z32_encode(public_key), payload[DNS_OFFSET:])
        if (
            changes == self._changes and not self._suspended
        ):  # else a newer packet may have come while we read
            self._insert(public_key, zone)
        else:
            zone.alive = False
        return zone

    async def _elsewhere(self, fallback: "MainlineFallback", public_key: bytes) -> Zone | None:
        """The zone of a packet that is not ours; not kept, for the fallback keeps its packets."""
        message = await fallback.find(public_key)
        self._metrics.cache_zones_dht = len(fallback)
        if message is None:
            return None
        zone = Zone.from_packet(z32_encode(public_key), message)
        zone.alive = False  # no answer is kept for longer than the packet
        return zone

    def drop(self, public_keys: Iterable[bytes]) -> None:
        """Forget zones whose packets changed; call it after the store has changed."""
        self._changes += 1
        for public_key in public_keys:
            self._remove(public_key)
        self._metrics.cache_zones = len(self._zones)

    def suspend(self) -> None:
        """Forget every zone and keep no new one: somebody else may change packets unheard."""
        self._suspended = True
        self.drop(list(self._zones))

    def resume(self) -> None:
        """Keep zones again, from now on."""
        self._changes += 1  # what is being read now may have changed unheard
        self._suspended = False

    def _insert(self, public_key: bytes, zone: Zone) -> None:
        self._remove(public_key)
        self._zones[public_key] = zone
        self._cost += zone.cost
        while self._cost > self._budget and self._zones:
            self._remove(next(iter(self._zones)))
        self._metrics.cache_zones = len(self._zones)

    def _remove(self, public_key: bytes) -> None:
        zone = self._zones.pop(public_key, None)
        if zone is not None:
            zone.alive = False
            self._cost -= zone.cost
