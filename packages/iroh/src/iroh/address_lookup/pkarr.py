"""Publishing to, and finding by, a pkarr relay (upstream `address_lookup/pkarr.rs`).

The publisher keeps one task:

    wait for info -> sign and PUT -> success: again after 300 s, with a new timestamp
                                  -> failure number N in a row: again after N s (at most 300)
    and whenever the info changes: at once, without waiting for either and without forgetting N

Unlike Rust iroh, whose fresh endpoints first publish an empty packet, nothing is published before
there is something to say; an empty packet only withdraws what was published before.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from typing import ClassVar, Self

from iroh.resolver import Clock, DnsResolver, SystemClock, reap
from iroh_base import (
    AddrFilter,
    EndpointData,
    EndpointInfo,
    IrohError,
    MonotonicTimestamp,
    PublicKey,
    SecretKey,
)

from .base import AddressLookup, LookupContext, LookupItem
from .n0 import n0_dns_pkarr_relay
from .relay_client import REQUEST_TIMEOUT, PkarrRelayClient

__all__ = ["DEFAULT_PKARR_TTL", "DEFAULT_REPUBLISH_INTERVAL", "PkarrPublisher", "PkarrResolver"]

logger: logging.Logger = logging.getLogger(__name__)

DEFAULT_PKARR_TTL = 30
"""Seconds that DNS caches may keep the records; upstream `DEFAULT_PKARR_TTL`."""

DEFAULT_REPUBLISH_INTERVAL = 300.0
"""Seconds from one success to publishing the same again; upstream `DEFAULT_REPUBLISH_INTERVAL`."""

_process_timestamp = MonotonicTimestamp(SystemClock().time_us)  # one for all, as upstream


class _RelayUser:
    """The shared half of publisher and resolver: a client, and whose resolver and roots it uses."""

    def __init__(self, relay_url: str, resolver: DnsResolver | None, timeout: float) -> None:
        self._resolver = resolver
        self._ssl_context: ssl.SSLContext | None = None
        self._client = PkarrRelayClient(
            relay_url,
            resolver=self._get_resolver,
            ssl_context=lambda: self._ssl_context,
            timeout=timeout,
        )

    @property
    def relay_url(self) -> str:
        """The URL of the pkarr relay."""
        return self._client.relay_url

    def bind(self, context: LookupContext) -> None:
        """Take the endpoint's resolver unless one was given, and its trust roots."""
        self._resolver = self._resolver or context.resolver
        self._ssl_context = context.ssl_context

    async def close(self) -> None:
        """Close the connections to the relay. Idempotent.

        Cancelling it may leave one open: call it again.
        """
        await self._client.close()

    def _get_resolver(self) -> DnsResolver:
        self._resolver = self._resolver or DnsResolver()
        return self._resolver


class PkarrPublisher(_RelayUser, AddressLookup):
    """Publishes our addresses to a pkarr relay for as long as it is open.

    Only relay URLs and user data unless `addr_filter` says otherwise, so that no IP address gets
    known. Without an endpoint give `secret_key`; `close` then ends the publishing.
    """

    def __init__(
        self,
        relay_url: str,
        *,
        secret_key: SecretKey | None = None,
        addr_filter: AddrFilter | None = None,
        ttl: int = DEFAULT_PKARR_TTL,
        republish_interval: float = DEFAULT_REPUBLISH_INTERVAL,
        resolver: DnsResolver | None = None,
        timeout: float = REQUEST_TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(relay_url, resolver, timeout)
        self._secret_key = secret_key
        self._filter = addr_filter or AddrFilter.relay_only()
        self._ttl = ttl
        self._republish_interval = republish_interval
        self._clock = clock
        self._timestamp = _process_timestamp if clock is None else MonotonicTimestamp(clock.time_us)
        self._data: EndpointData | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def n0(cls, *, addr_filter: AddrFilter | None = None) -> Self:
        """To the relay of number 0: production, or staging if the environment says so."""
        return cls(n0_dns_pkarr_relay(), addr_filter=addr_filter)

    def bind(self, context: LookupContext) -> None:
        """Take the endpoint's key, clock and resolver unless given."""
        super().bind(context)
        self._secret_key = self._secret_key or context.secret_key
        self._clock = self._clock or context.clock
        self._start()

    def publish(self, data: EndpointData) -> None:
        """Publish in the background, now and again until there is other data."""
        data = data.filtered(self._filter)
        known = EndpointData() if self._data is None else self._data
        if self._closed or data == known:
            return
        self._data = data
        self._changed.set()
        self._start()

    async def close(self) -> None:
        """Stop publishing; what was published stays with the relay. Idempotent.

        Cancelling it may leave a connection open: call it again.
        """
        self._closed = True
        if self._task is not None:
            await reap((self._task,))
        await super().close()

    def _start(self) -> None:
        if self._data is not None and self._secret_key is not None and self._task is None:
            self._task = asyncio.create_task(
                self._run(self._secret_key), name=f"iroh-pkarr-publish-{self.relay_url}"
            )

    async def _run(self, secret_key: SecretKey) -> None:
        failed = 0
        while True:
            self._changed.clear()
            try:
                await self._publish_once(secret_key)
            except Exception as error:  # noqa: BLE001 - task root: publishing goes on
                failed += 1
                delay = min(float(failed), self._republish_interval)
                self._log_failure(error, failed)
            else:
                if failed:
                    logger.info("published to %s at attempt %d", self.relay_url, failed + 1)
                failed = 0
                delay = self._republish_interval
            await self._wait(delay)

    def _log_failure(self, error: Exception, failed: int) -> None:
        if not isinstance(error, IrohError):
            logger.error("cannot publish to %s", self.relay_url, exc_info=error)
        else:  # being offline is no reason to fill a log: only the first failure in a row is news
            level = logging.INFO if failed == 1 else logging.DEBUG
            logger.log(level, "cannot publish to %s (%d): %s", self.relay_url, failed, error)

    async def _publish_once(self, secret_key: SecretKey) -> None:
        assert self._data is not None  # the task starts with the first data
        info = EndpointInfo(secret_key.public(), self._data)
        packet = info.to_signed_packet(secret_key, self._timestamp(), self._ttl)
        await self._client.publish(packet)
        logger.debug("published to %s: %s", self.relay_url, info)

    async def _wait(self, delay: float) -> None:
        """Return when the data changed or after `delay` seconds."""
        clock = self._clock or SystemClock()
        changed = asyncio.create_task(self._changed.wait())
        timer = asyncio.create_task(clock.sleep(delay))
        try:
            await asyncio.wait((changed, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await reap((changed, timer))


class PkarrResolver(_RelayUser, AddressLookup):
    """Finds endpoints by asking a pkarr relay over HTTP."""

    provenance: ClassVar[str] = "pkarr"

    def __init__(
        self,
        relay_url: str,
        *,
        resolver: DnsResolver | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        super().__init__(relay_url, resolver, timeout)

    @classmethod
    def n0(cls) -> Self:
        """At the relay of number 0: production, or staging if the environment says so."""
        return cls(n0_dns_pkarr_relay())

    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        """One item; raises `PkarrRelayError`, `PkarrError` or `EndpointInfoError`."""
        packet = await self._client.resolve(endpoint_id)
        yield LookupItem(EndpointInfo.from_signed_packet(packet), self.provenance)
