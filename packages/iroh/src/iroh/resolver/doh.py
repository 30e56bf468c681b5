"""One question to one nameserver over HTTPS (RFC 8484): a POST to `/dns-query`.

    POST /dns-query        accept, content-type: application/dns-message        body: the query
    200                    content-type: application/dns-message                body: the answer

HTTP/1.1, a connection for each question, as over TLS: questions are few, and a resolver that keeps
nothing open needs no closing. aiohttp is imported when the first question is asked.
"""

import socket
import ssl
from typing import TYPE_CHECKING

from .errors import DnsError, ResolveError
from .late import import_late
from .nameserver import Nameserver

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

__all__ = ["ask_https"]

CONTENT_TYPE = "application/dns-message"
MAX_ANSWER = 65535
"""Bytes of a DNS message (RFC 8484 section 6)."""


async def ask_https(
    nameserver: Nameserver, query: bytes, ssl_context: ssl.SSLContext | None
) -> bytes:
    """The bytes of the answer. Raises `DnsError`; the caller has the timeout."""
    await import_late("aiohttp")
    import aiohttp

    host = nameserver.server_name or nameserver.ip
    shown = f"[{host}]" if ":" in host else host
    headers = {"Accept": CONTENT_TYPE, "Content-Type": CONTENT_TYPE}
    connector = aiohttp.TCPConnector(
        resolver=_at(nameserver), ssl=ssl_context or True, force_close=True, use_dns_cache=False
    )
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
                auto_decompress=False,
            ) as session,
            session.post(
                f"https://{shown}:{nameserver.port}/dns-query",
                data=query,
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            if response.status != 200 or response.content_type != CONTENT_TYPE:
                raise _failure(f"HTTP status {response.status}, {response.content_type}")
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > MAX_ANSWER:
                    raise _failure("the answer is too long")
            return bytes(answer)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _failure(str(error) or type(error).__name__) from error


def _failure(text: str) -> DnsError:
    return ResolveError(f"transport failure: {text}")


def _at(nameserver: Nameserver) -> "AbstractResolver":
    """Let aiohttp find the server's name at its address, and nothing else anywhere."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Fixed(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            its = socket.AF_INET6 if ":" in nameserver.ip else socket.AF_INET
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            return [
                ResolveResult(
                    hostname=host, host=nameserver.ip, port=port, family=its, proto=0, flags=flags
                )
            ]

        async def close(self) -> None:
            """Nothing is held."""

    return Fixed()
