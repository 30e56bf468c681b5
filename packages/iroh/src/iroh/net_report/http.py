"""The probes over HTTP: how far away is a relay, and is it the relay that answers?

    GET <relay>/ping                        2xx, no redirect; the seconds until then
    GET http://<host>/generate_204          204 with  X-Iroh-Response: response <challenge>
      X-Iroh-Challenge: <challenge>         anything else: a captive portal answers in its place

A captive portal can only be seen without TLS, so the second one goes to port 80 of a relay with TLS
(upstream always does), and to the relay's own port where it has none.
"""

import re
import ssl
from typing import TYPE_CHECKING

from iroh_base import RelayUrl
from iroh_relay.client import RelayProbeError, Resolver, probe_latency
from iroh_relay.protos.http import (
    CAPTIVE_PORTAL_PATH,
    CHALLENGE_HEADER,
    RESPONSE_HEADER,
    captive_response,
)

from .run import ProbeFailed

if TYPE_CHECKING:
    import aiohttp

__all__ = ["challenge_of", "looks_captive", "measure"]

_PLAIN = ("http", "ws")
_NO_CHALLENGE_CHARACTER = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)
_MAX_CHALLENGE = 63


async def measure(
    relay: RelayUrl,
    resolver: Resolver | None,
    context: ssl.SSLContext | None,
    timeout: float,
    proxy: str | None = None,
) -> float:
    """Seconds until the relay answers. Raises ProbeFailed."""
    try:
        return await probe_latency(
            str(relay),
            resolver=resolver,
            ssl_context=context,
            timeout=timeout,
            proxy=proxy,
        )
    except RelayProbeError as error:
        raise ProbeFailed(str(error)) from error


async def looks_captive(relay: RelayUrl, resolver: Resolver | None) -> bool:
    """Whether something else answers in place of the relay. Raises ProbeFailed when nobody does."""
    import aiohttp
    from yarl import URL

    from iroh_relay.client.connector import connector

    port = relay.port if relay.scheme in _PLAIN else 80
    url = URL.build(scheme="http", host=relay.hostname, port=port, path=CAPTIVE_PORTAL_PATH)
    challenge = challenge_of(relay)
    try:
        async with (
            aiohttp.ClientSession(connector=connector(resolver=resolver)) as session,
            session.get(
                url, headers={CHALLENGE_HEADER: challenge}, allow_redirects=False
            ) as response,
        ):
            return _is_captive(response, challenge)
    except (aiohttp.ClientConnectionError, OSError) as error:
        raise ProbeFailed(f"{url}: {error or type(error).__name__}") from error
    except (aiohttp.ClientError, ValueError):
        return True  # something answered, and it was not HTTP


def _is_captive(response: "aiohttp.ClientResponse", challenge: str) -> bool:
    answer = response.headers.get(RESPONSE_HEADER)
    return response.status != 204 or answer != captive_response(challenge)


def challenge_of(relay: RelayUrl) -> str:
    """Give the challenge for a relay: `ts_<host>`, in the characters and the length it may have.

    Upstream does not trim it: an IPv6 relay, or one with a long name, looks captive there.
    """
    return _NO_CHALLENGE_CHARACTER.sub("-", f"ts_{relay.hostname}")[:_MAX_CHALLENGE]
