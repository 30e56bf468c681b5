"""How a relay is reached: names to addresses, the race of the two families, proxies.

    no proxy                 addresses raced as in RFC 8305 by aiohttp
    http://, https://        HTTP CONNECT for relays with TLS, by aiohttp
    socks5://, socks4://     the package aiohttp-socks (extra `socks`); the proxy looks names up

Over TLS the request gets a header that only the connection can tell: see exporter.py. Imported
when first needed: aiohttp is slow to load.
"""

import asyncio
import socket
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from iroh_base.keys import SecretKey

from ..exporter import exporter_of
from ..protos.http import CLIENT_AUTH_HEADER
from ..protos.keying import KeyMaterialClientAuth
from .errors import RelayDialError
from .stream import Resolver

__all__ = ["connector", "http_proxy"]

#: Seconds between two connection attempts (RFC 8305; iroh-relay CONNECTION_ATTEMPT_DELAY).
CONNECTION_ATTEMPT_DELAY = 0.25
#: Seconds for one name lookup (iroh-relay DNS_TIMEOUT).
DNS_TIMEOUT = 3.0
_SOCKS = ("socks4", "socks4a", "socks5", "socks5h")


def http_proxy(proxy: str | None) -> str | None:
    """The proxy if aiohttp itself can use it. Raises `RelayDialError` for what is no proxy."""
    if proxy is None:
        return None
    parts = urlsplit(proxy)
    if parts.scheme in _SOCKS:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RelayDialError(f"a proxy is an http, https or socks URL, not {_shown(proxy)}")
    return proxy


class _Resolver(AbstractResolver):
    """Names to addresses, the preferred family first; by the system unless told otherwise."""

    def __init__(self, resolver: Resolver | None, prefer_ipv6: bool) -> None:
        self._custom = resolver
        self._first = socket.AF_INET6 if prefer_ipv6 else socket.AF_INET

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of `host`. Raises `OSError`, also when the lookup takes too long."""
        try:
            async with asyncio.timeout(DNS_TIMEOUT):
                results = await self._lookup(host, port, family)
        except TimeoutError as error:
            raise OSError(None, f"DNS lookup of {host} timed out") from error
        # Stable: the order within a family is the resolver's.
        return sorted(results, key=lambda result: result["family"] != self._first)

    async def _lookup(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[ResolveResult]:
        if self._custom is None:
            return await aiohttp.ThreadedResolver().resolve(host, port, family)
        pairs = await self._custom.resolve(host)
        return [
            ResolveResult(
                hostname=host, host=ip, port=port, family=kind, proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, ip in pairs
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is held."""


class _Proving:
    """Adds to a request what only a connection can tell: a proof made with its TLS session."""

    secret_key: SecretKey | None = None

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Any:
        """Connect, then sign."""
        connection = await cast(Any, super()).connect(req, traces, timeout)
        transport = connection.transport
        session = None if transport is None else transport.get_extra_info("ssl_object")
        exporter = exporter_of(session)
        if self.secret_key is not None and exporter is not None:
            auth = KeyMaterialClientAuth.create(self.secret_key, exporter)
            if auth is not None:
                req.headers[CLIENT_AUTH_HEADER] = auth.to_header()
        return connection


class _Connector(_Proving, aiohttp.TCPConnector):
    """Straight, or through an HTTP proxy."""


def connector(
    *,
    prefer_ipv6: bool = False,
    resolver: Resolver | None = None,
    proxy: str | None = None,
    secret_key: SecretKey | None = None,
) -> aiohttp.BaseConnector:
    """A connector for one request: no pool, no cache. Raises `RelayDialError`."""
    if proxy is not None and http_proxy(proxy) is None:
        return _through_socks(proxy, secret_key)
    road = _Connector(
        force_close=True,
        use_dns_cache=False,
        resolver=_Resolver(resolver, prefer_ipv6),
        happy_eyeballs_delay=CONNECTION_ATTEMPT_DELAY,
        interleave=1,
    )
    road.secret_key = secret_key
    return road


def _through_socks(proxy: str, secret_key: SecretKey | None) -> aiohttp.BaseConnector:
    try:
        from aiohttp_socks import ProxyConnector
    except ImportError as error:
        raise RelayDialError(
            "a SOCKS proxy needs the package aiohttp-socks: pip install 'iroh-relay[socks]'"
        ) from error

    class SocksConnector(_Proving, ProxyConnector):
        """Through a SOCKS proxy."""

    url = proxy.replace("socks5h://", "socks5://", 1).replace("socks4a://", "socks4://", 1)
    try:
        road = cast(SocksConnector, SocksConnector.from_url(url, rdns=True, force_close=True))
    except ValueError as error:
        raise RelayDialError(f"{_shown(proxy)} is no SOCKS proxy: {error}") from error
    road.secret_key = secret_key
    return road


def _shown(proxy: str) -> str:
    """The URL without its password."""
    parts = urlsplit(proxy)
    return repr(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
