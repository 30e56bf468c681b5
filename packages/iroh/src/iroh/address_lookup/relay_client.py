"""The HTTP client of a pkarr relay (upstream `PkarrRelayClient`).

    PUT <relay>/<z32 id>    body: signature 64 | timestamp 8 | DNS message up to 1000    -> 2xx
    GET <relay>/<z32 id>                                               -> 200 and the same body

Headers are those of Rust iroh: `accept: */*`, `host`, `content-length`, and nothing else.
Redirects and the proxies of the environment are followed, as reqwest does by default.
aiohttp is slow to import, so that happens at the first request, in a thread.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from iroh.resolver import DnsError, DnsResolver, import_late
from iroh_base import InvalidInputError, PublicKey, SignedPacket

from .errors import PkarrRelayError

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver

__all__ = ["MAX_RELAY_PAYLOAD", "REQUEST_TIMEOUT", "PkarrRelayClient"]

MAX_RELAY_PAYLOAD = 1072
"""Bytes of a body: 64 of signature, 8 of timestamp, 1000 of DNS message (BEP 44)."""

REQUEST_TIMEOUT = 15.0
"""Seconds for a request in all, with finding and reaching the host. Ours; upstream has none."""

_SKIPPED_HEADERS = ("User-Agent", "Content-Type", "Accept-Encoding")


class PkarrRelayClient:
    """Talks to one pkarr relay. Methods raise `PkarrRelayError`, and are cancel-safe.

    Belongs to the event loop of its first request. `close` it when done.
    """

    def __init__(
        self,
        relay_url: str,
        *,
        resolver: Callable[[], DnsResolver],
        ssl_context: Callable[[], ssl.SSLContext | None] = lambda: None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        parts = urlsplit(relay_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInputError(f"Invalid relay URL: {relay_url!r} is not http(s)://host/...")
        self.relay_url = relay_url
        self._parts = parts
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def publish(self, packet: SignedPacket) -> None:
        """Store a packet at the relay; any 2xx means that it has it.

        Raises `PkarrRelayError`. Cancelling it ends the request; the relay may have it.
        """
        await self._request("PUT", packet.public_key, packet.to_relay_payload())

    async def resolve(self, endpoint_id: PublicKey) -> SignedPacket:
        """Get the packet of an endpoint and verify it; raises `PkarrError` if it is not right.

        Raises `PkarrRelayError`, whose status 404 says that there is none. Cancelling it ends the
        request.
        """
        body = await self._request("GET", endpoint_id, None)
        return SignedPacket.from_relay_payload(endpoint_id, body)

    async def close(self) -> None:
        """Close the connections; requests made later fail. Idempotent.

        Cancelling it may leave one open: call it again.
        """
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _request(self, method: str, endpoint_id: PublicKey, body: bytes | None) -> bytes:
        await import_late("aiohttp")
        import aiohttp

        url = self.url_for(endpoint_id)
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._get_session().request(method, url, data=body) as response,
            ):
                if not 200 <= response.status < 300:
                    raise PkarrRelayError(
                        f"Error resolving http request: status {response.status}", response.status
                    )
                # one byte more than allowed is enough to be refused; nobody has more read to him
                return await _read_at_most(response.content, MAX_RELAY_PAYLOAD + 1)
        except TimeoutError as error:
            raise PkarrRelayError(f"Error sending http request: no answer from {url}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PkarrRelayError(f"Error sending http request: {error}") from error

    def url_for(self, endpoint_id: PublicKey) -> str:
        """The URL of an endpoint's packet: its id as one more segment of the path."""
        path = f"{self._parts.path.rstrip('/')}/{endpoint_id.to_z32()}"
        return urlunsplit(self._parts._replace(path=path, fragment=""))

    def _get_session(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._closed:
            raise PkarrRelayError("Error sending http request: the client is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=make_aiohttp_resolver(self._resolver()),
                    use_dns_cache=False,  # the resolver has its own, which honours the TTL
                    ssl=self._ssl_context() or True,
                ),
                skip_auto_headers=_SKIPPED_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None),  # ours is around the whole
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
            )
        return self._session


async def _read_at_most(content: "aiohttp.StreamReader", limit: int) -> bytes:
    read = bytearray()
    while len(read) < limit and (chunk := await content.read(limit - len(read))):
        read += chunk
    return bytes(read)


def make_aiohttp_resolver(resolver: DnsResolver) -> "AbstractResolver":
    """Let aiohttp find hosts with our resolver: staggered, both families."""
    import socket

    from aiohttp.abc import AbstractResolver, ResolveResult

    class OurResolver(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            try:
                addresses = await resolver.resolve_host_staggered(host)
            except DnsError as error:
                raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
            results = []
            for address in addresses:
                its = socket.AF_INET6 if ":" in address else socket.AF_INET
                if family in (socket.AF_UNSPEC, its):
                    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
                    results.append(
                        ResolveResult(
                            hostname=host, host=address, port=port, family=its, proto=0, flags=flags
                        )
                    )
            return results

        async def close(self) -> None:
            """The resolver is the endpoint's."""

    return OurResolver()
