"""Removing packets that are too old, a bounded number at a time.

Age counts from the packet's own timestamp. An endpoint that lives publishes every five minutes, so
a packet of a week ago belongs to one that is gone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from iroh_dns_server.dns.zones import ZoneCache
from iroh_dns_server.errors import StoreError
from iroh_dns_server.metrics import Metrics
from iroh_dns_server.store.base import PacketStore

__all__ = ["PASS_LIMIT", "Expiry"]

logger: logging.Logger = logging.getLogger(__name__)

PASS_LIMIT = 500
"""Packets removed in one statement, so that PUTs wait for a few milliseconds at most."""
_ALL = 2**63 - 1
"""A timestamp after every packet's."""


class Expiry:
    """Removes packets older than `age` seconds, every `interval` seconds, and the oldest ones
    beyond `max_packets`, which may be changed.

    `clock` gives microseconds since 1970; `sleep` waits for seconds.
    """

    def __init__(
        self,
        store: PacketStore,
        zones: ZoneCache,
        metrics: Metrics,
        *,
        age: float,
        interval: float,
        max_packets: int,
        clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._zones = zones
        self._metrics = metrics
        self.set_times(age, interval)
        self.max_packets = max_packets
        self._clock = clock
        self._sleep = sleep

    def set_times(self, age: float, interval: float) -> None:
        """Change both; the interval counts after the wait that is under way."""
        self._age_us = int(age * 1_000_000)
        self._interval = interval

    async def run(self) -> None:
        """Look, remove, wait, until cancelled."""
        while True:
            await self._sleep(self._interval)
            try:
                await self.remove_old()
            except StoreError as error:
                self._metrics.store_errors += 1
                logger.error("old packets could not be removed: %s", error)

    async def remove_old(self) -> int:
        """Remove everything that is too old now; returns how many. Raises `StoreError`."""
        before = max(0, self._clock() - self._age_us)
        removed = await self._remove(before, None)
        surplus = await self._store.count() - self.max_packets
        if surplus > 0:
            logger.warning("more than %d packets: the oldest %d go", self.max_packets, surplus)
            removed += await self._remove(_ALL, surplus)
        if removed:
            logger.debug("%d packets were too old and are gone", removed)
        return removed

    async def _remove(self, before_us: int, at_most: int | None) -> int:
        """Remove packets from before a time, in small steps; returns how many."""
        removed = 0
        more = True
        while more and removed != at_most:
            step = PASS_LIMIT if at_most is None else min(PASS_LIMIT, at_most - removed)
            keys, more = await self._store.expire(before_us, step)
            self._zones.drop(keys)
            self._metrics.store_packets_expired += len(keys)
            removed += len(keys)
        return removed
