"""How far away is a relay? One HTTP request tells, where QUIC address discovery cannot be used."""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..protos.http import RELAY_PROBE_PATH
from .errors import RelayProbeError
from .stream import Resolver

if TYPE_CHECKING:
    import aiohttp

__all__ = ["PROBE_TIMEOUT", "probe_latency"]

#: Seconds that a probe may take (iroh `net_report/defaults.rs`: 3 s for an HTTPS probe).
PROBE_TIMEOUT = 3.0


async def probe_latency(
    url: str,
    *,
    session: "aiohttp.ClientSession | None" = None,
    ssl_context: ssl.SSLContext | None = None,
    resolver: Resolver | None = None,
    prefer_ipv6: bool = False,
    proxy: str | None = None,
    timeout: float = PROBE_TIMEOUT,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """Ask the relay at `url` for `/ping`; seconds until the head of its answer arrived.

    As in Rust a fresh connection is made unless a `session` is given, so that the figure holds DNS,
    TCP and TLS. Raises `RelayProbeError` for no answer within `timeout` seconds, a redirect, or a
    status that is not 2xx. Cancelling leaves nothing open; a given session stays open.
    """
    import aiohttp

    from .connector import connector, http_proxy

    target = _probe_url(url)
    own = session is None
    client = session or aiohttp.ClientSession(
        connector=connector(prefer_ipv6=prefer_ipv6, resolver=resolver, proxy=proxy)
    )
    start = now()
    try:
        async with (
            asyncio.timeout(timeout),
            client.get(
                target, allow_redirects=False, ssl=ssl_context or True, proxy=http_proxy(proxy)
            ) as response,
        ):
            latency = now() - start
            if not 200 <= response.status < 300:
                raise RelayProbeError(f"{target} answered with status {response.status}")
            return latency
    except TimeoutError as error:
        raise RelayProbeError(f"{target} did not answer within {timeout:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise RelayProbeError(f"{target}: {error or type(error).__name__}") from error
    finally:
        if own:
            await client.close()


def _probe_url(url: str) -> str:
    """`url` with the path of the probe and nothing after it; ws and wss become http and https."""
    from yarl import URL

    scheme = {"ws": "http", "wss": "https"}
    try:
        relay = URL(url)
        return str(
            relay.with_path(RELAY_PROBE_PATH).with_scheme(scheme.get(relay.scheme, relay.scheme))
        )
    except ValueError as error:
        raise RelayProbeError(f"{url!r} is no relay URL: {error}") from error
