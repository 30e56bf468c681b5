"""PUT and GET /pkarr/{key}: publish a signed packet, fetch the newest one.

    PUT   429 too many from this client   400 key, body or timestamp   413 body too large
          408 body too slow   503 store behind or away   500 store failed   204 otherwise
    GET   400 key   404 nothing stored   200 the relay payload

204 means: the packet, or a newer one of the same key, is on disk.
"""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network

from iroh_base.encoding import z32_decode
from iroh_base.errors import KeyParsingError, PkarrError
from iroh_base.keys import PublicKey
from iroh_base.pkarr import SignedPacket
from iroh_dns_server.config import RateLimit, StoreConfig
from iroh_dns_server.dns.zones import ZoneCache
from iroh_dns_server.errors import StoreBusyError, StoreError, StoreUnavailableError
from iroh_dns_server.http.exchange import Ask, BodyError, Reply, error_reply
from iroh_dns_server.http.rate_limit import RateLimiter, client_address
from iroh_dns_server.metrics import Metrics
from iroh_dns_server.store.base import PacketStore, PutOutcome

__all__ = ["CONTENT_TYPE", "PkarrHandlers", "wall_clock_us"]

logger: logging.Logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/x-pkarr-signed-packet"


def wall_clock_us() -> int:
    """Microseconds since 1970 by the system's clock."""
    return time.time_ns() // 1000


class PkarrHandlers:
    """The two request handlers, on one store. `clock` gives microseconds since 1970.

    `rate_limit`, `trusted_proxies` and `max_future` (seconds a timestamp may be ahead of the clock)
    may be changed.
    """

    def __init__(
        self,
        store: PacketStore,
        zones: ZoneCache,
        metrics: Metrics,
        rate_limit: RateLimit,
        *,
        limiter: RateLimiter | None = None,
        trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
        max_future: float = StoreConfig().max_future,
        clock: Callable[[], int] = wall_clock_us,
    ) -> None:
        self._store = store
        self._zones = zones
        self._metrics = metrics
        self.rate_limit = rate_limit
        self.trusted_proxies = trusted_proxies
        self.max_future = max_future
        self._limiter = RateLimiter() if limiter is None else limiter
        self._clock = clock

    async def put(self, ask: Ask) -> Reply:
        """Store the packet in the body if it is valid and newer than what is stored."""
        if (refused := self._limit(ask)) is not None:
            return refused
        try:
            key = PublicKey.from_z32(_key(ask))
        except KeyParsingError as error:
            return error_reply(400, f"invalid key: {error}")
        try:
            body = await ask.read()
            packet = SignedPacket.from_relay_payload(key, body)
        except BodyError as error:
            return error_reply(error.status, error.detail)
        except PkarrError as error:
            return error_reply(400, f"invalid body payload: {error}")
        if packet.timestamp_us > self._clock() + int(self.max_future * 1_000_000):
            return error_reply(400, self._too_far_ahead(packet.timestamp_us))
        return await self._keep(key.to_bytes(), body)

    async def get(self, ask: Ask) -> Reply:
        """The newest packet of a key."""
        try:
            payload = await self._find(_key(ask))
        except KeyParsingError as error:
            return error_reply(400, f"invalid key: {error}")
        except StoreError as error:
            return self._failed(error)
        if payload is None:
            return error_reply(404)
        return Reply(200, payload, CONTENT_TYPE)

    async def _find(self, text: str) -> bytes | None:
        """Look a key up. Whether it is a point of the curve is only asked when nothing is found:
        the check is dear, and packets are stored for points only. Raises `KeyParsingError`."""
        try:
            raw = z32_decode(text)
        except ValueError:
            raw = b""
        payload = await self._store.get(raw) if len(raw) == 32 else None
        if payload is None:
            PublicKey.from_z32(text)
        return payload

    async def _keep(self, public_key: bytes, payload: bytes) -> Reply:
        try:
            outcome = await self._store.put(public_key, payload)
        except StoreError as error:
            return self._failed(error)
        finally:
            self._zones.drop((public_key,))
        if outcome is PutOutcome.STALE:
            self._metrics.pkarr_publish_noop += 1
        else:
            self._metrics.pkarr_publish_update += 1
            if outcome is PutOutcome.INSERTED:
                self._metrics.store_packets_inserted += 1
            else:
                self._metrics.store_packets_updated += 1
        logger.debug("pkarr PUT for %s: %s", public_key.hex()[:10], outcome.value)
        return Reply(204)

    def _limit(self, ask: Ask) -> Reply | None:
        """The 429 for a client that is too fast, worded like the Rust server's."""
        if self.rate_limit is RateLimit.DISABLED:
            return None
        wait = self._limiter.check(
            client_address(self.rate_limit, ask.remote, ask.headers, self.trusted_proxies)
        )
        if not wait:
            return None
        self._metrics.http_rate_limited += 1
        seconds = str(int(wait))
        return Reply(
            429,
            f"Too Many Requests! Wait for {seconds}s".encode(),
            "text/plain; charset=utf-8",
            {"x-ratelimit-after": seconds, "retry-after": seconds},
        )

    def _failed(self, error: StoreError) -> Reply:
        self._metrics.store_errors += 1
        if isinstance(error, (StoreBusyError, StoreUnavailableError)):
            return error_reply(503, error.message(), {"Retry-After": "1"})
        logger.debug("an HTTP request failed: %s", error)  # the store tells the operator
        return error_reply(500, error.message())

    def _too_far_ahead(self, timestamp_us: int) -> str:
        now = datetime.fromtimestamp(self._clock() // 1_000_000, UTC)
        ahead = (timestamp_us - self._clock()) // 1_000_000
        return (
            f"invalid timestamp: {timestamp_us} us is {ahead} s ahead of this server's clock "
            f"({now:%Y-%m-%dT%H:%M:%SZ}); at most {self.max_future:.0f} s are accepted"
        )


def _key(ask: Ask) -> str:
    """The key in the path /pkarr/{key}."""
    return ask.path.rpartition("/")[2]
