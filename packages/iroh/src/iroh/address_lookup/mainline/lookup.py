"""`DhtAddressLookup` (upstream crate iroh-mainline-address-lookup): pkarr packets in the DHT.

    publish   50 ms after the last change: sign and put -> stored: again after 1 h, newly signed
                                                        -> nowhere: again after 60 s
              nothing is published without an address
    resolve   the newest packet that is found; one item or none

Nodes keep an item for 2 hours, so an endpoint that is gone is forgotten by then. That somebody
holds a newer packet of ours, from a time when our clock was wrong, costs one more round: the next
one is signed as newer than that. Unlike upstream's first versions, and like its present one, no put
is conditional (BEP 44's cas): nodes that missed one packet would refuse the next for ever.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import ClassVar, Final

from iroh.resolver import Clock, SystemClock, reap
from iroh_base import (
    AddrFilter,
    EndpointData,
    EndpointInfo,
    IrohError,
    MonotonicTimestamp,
    PublicKey,
    SecretKey,
)
from iroh_base.mainline import DEFAULT_BOOTSTRAP, MutableItem

from ..base import AddressLookup, LookupContext, LookupItem
from ..pkarr import DEFAULT_PKARR_TTL
from .driver import Dht, DhtError

__all__ = ["DhtAddressLookup"]

logger: logging.Logger = logging.getLogger(__name__)

REPUBLISH_DELAY: Final = 3600.0
"""Seconds; upstream `REPUBLISH_DELAY`."""

PUBLISH_DEBOUNCE_DELAY: Final = 0.05
"""Seconds; upstream `PUBLISH_DEBOUNCE_DELAY`."""

RETRY_DELAY: Final = 60.0
"""Seconds after a failure. Ours; upstream waits for its republish delay."""


class DhtAddressLookup(AddressLookup):
    """Publishes our addresses to the Mainline DHT, and finds others there.

    Only relay URLs and user data unless `addr_filter` says otherwise: everybody can read the DHT.
    publish: False only finds. bootstrap: where to begin, "host:port" each; yours for a network of
    your own. dht: one to share, which you close yourself.
    """

    provenance: ClassVar[str] = "pkarr"

    def __init__(
        self,
        *,
        bootstrap: Iterable[str] = DEFAULT_BOOTSTRAP,
        dht: Dht | None = None,
        secret_key: SecretKey | None = None,
        publish: bool = True,
        addr_filter: AddrFilter | None = None,
        ttl: int = DEFAULT_PKARR_TTL,
        republish_delay: float = REPUBLISH_DELAY,
        clock: Clock | None = None,
    ) -> None:
        self._dht = dht or Dht(bootstrap=bootstrap)
        self._owns_dht = dht is None
        self._secret_key = secret_key
        self._publishes = publish
        self._filter = addr_filter or AddrFilter.relay_only()
        self._ttl = ttl
        self._republish_delay = republish_delay
        self._clock: Clock = clock or SystemClock()
        self._given_clock = clock
        self._timestamp = MonotonicTimestamp(self._clock.time_us)
        self._newest = 0  # sequence number that a packet of ours was seen with
        self._data: EndpointData | None = None
        self._task: asyncio.Task[None] | None = None
        self._old: set[asyncio.Task[None]] = set()

    def bind(self, context: LookupContext) -> None:
        """Take the endpoint's key, clock and resolver unless given."""
        self._secret_key = self._secret_key or context.secret_key
        if self._given_clock is None:
            self._clock = context.clock
            self._timestamp = MonotonicTimestamp(self._clock.time_us)
        self._dht.resolver = self._dht.resolver or context.resolver

    def publish(self, data: EndpointData) -> None:
        """Publish in the background, now and again until there is other data."""
        data = data.filtered(self._filter)
        if self._secret_key is None or not self._publishes or data == self._data:
            return
        if not data.addrs:  # as upstream; what was published before is forgotten in time
            return
        self._data = data
        self._stop()
        info = EndpointInfo(self._secret_key.public(), data)
        self._task = asyncio.create_task(self._run(self._secret_key, info), name="iroh-dht-publish")

    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        """One item or none; raises `DhtError`, `PkarrError` or `EndpointInfoError`."""
        result = await self._dht.get(bytes(endpoint_id))
        if result.item is not None:
            info = EndpointInfo.from_signed_packet(result.item.to_packet())
            yield LookupItem(info, self.provenance)
        elif not result.answered:
            raise DhtError("no node of the DHT answers")

    async def close(self) -> None:
        """Stop publishing and close the DHT, if it is our own. Idempotent.

        Cancelling it may leave the DHT open: call it again.
        """
        self._stop()
        await reap(self._old)
        if self._owns_dht:
            await self._dht.close()

    # -- publishing -----------------------------------------------------------------------------

    def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            self._old.add(task)
            task.add_done_callback(self._old.discard)

    async def _run(self, secret_key: SecretKey, info: EndpointInfo) -> None:
        await self._clock.sleep(PUBLISH_DEBOUNCE_DELAY)
        while True:
            delay = RETRY_DELAY
            try:
                if await self._put(secret_key, info):
                    delay = self._republish_delay
            except IrohError as error:  # being offline is nothing to fill a log with
                logger.debug("cannot publish to the DHT: %s", error)
            except Exception:  # task root: publishing goes on
                logger.exception("cannot publish to the DHT")
            await self._clock.sleep(delay)

    async def _put(self, secret_key: SecretKey, info: EndpointInfo) -> bool:
        """Whether the DHT has it; a second try if it had something newer."""
        for _ in range(2):
            timestamp = max(self._timestamp(), self._newest + 1)
            packet = info.to_signed_packet(secret_key, timestamp, self._ttl)
            result = await self._dht.put(MutableItem.from_packet(packet))
            if result.newer is None:
                logger.debug("published to the DHT: %s", result)
                self._newest = timestamp
                return result.stored > 0
            self._newest = result.newer.seq
        return False
