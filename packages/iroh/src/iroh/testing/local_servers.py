"""A relay, a DNS server and endpoints on loopback: the whole of iroh without the internet.

    async with LocalServers() as servers:
        server = await servers.bind(protocols={b"my/echo/1": Echo()})
        client = await servers.bind()
        await servers.published(server)
        conn = await client.connect(server.id(), b"my/echo/1")

The DNS server comes with the extra `testing`.
"""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self, Unpack

from iroh import DnsResolver, Endpoint, presets
from iroh.options import EndpointSettings
from iroh_base import EndpointInfo, SocketAddr

try:
    from iroh_dns_server import Config, DnsConfig, DnsServer, HttpConfig, RateLimit
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "LocalServers needs the package iroh-dns-server: install iroh with the extra `testing`",
        name=_error.name,
    ) from None
from iroh_relay.server import RelayServer, RelayServerConfig

__all__ = ["ORIGIN", "LocalServers"]

ORIGIN = "test.example."
"""The DNS origin under which endpoints are found."""
LOOPBACK = IPv4Address("127.0.0.1")
BIND = "127.0.0.1:0"


class LocalServers:
    """An async context manager; at its end the endpoints that it bound are closed, too.

    relay: a RelayServer over plain HTTP. dns: a DnsServer without rate limit, whose data is in a
    temporary folder. Look into both, or stop one to see what your program does without it.
    """

    relay: RelayServer
    dns: DnsServer

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._endpoints: list[Endpoint] = []

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="iroh-testing-"))
            config = Config(
                data_dir=Path(folder),
                pkarr_put_rate_limit=RateLimit.DISABLED,
                http=HttpConfig(port=0, bind_addr=LOOPBACK),
                dns=DnsConfig(port=0, bind_addr=LOOPBACK, origins=(ORIGIN, ".")),
            )
            self.dns = await stack.enter_async_context(DnsServer(config))
            here = RelayServerConfig(http_bind_addr=SocketAddr(str(LOOPBACK), 0))
            self.relay = await stack.enter_async_context(RelayServer(here))
            stack.push_async_callback(self._close_endpoints)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stack.aclose()

    async def _close_endpoints(self) -> None:
        closing = asyncio.gather(*(endpoint.close() for endpoint in self._endpoints))
        await asyncio.shield(closing)  # cancelled before they begin, they would stay open

    @property
    def preset(self) -> presets.SelfHosted:
        """What makes an endpoint use these servers and no others."""
        return presets.SelfHosted(
            [str(self.relay.http_url)],
            pkarr=f"http://{self.dns.http_addr}/pkarr",
            dns_origin=ORIGIN,
            nameservers=[str(self.dns.dns_addr)],
        )

    async def bind(self, **settings: Unpack[EndpointSettings]) -> Endpoint:
        """Bind an endpoint on loopback that uses these servers; settings as EndpointOptions.

        Raises BindError. Cancelling it releases what was bound.
        """
        settings.setdefault("bind_addr", BIND)
        endpoint = await Endpoint.bind(self.preset, **settings)
        self._endpoints.append(endpoint)
        return endpoint

    async def published(self, endpoint: Endpoint) -> EndpointInfo:
        """Wait until others can find the endpoint by its id; gives what they find.

        Raises StaggeredError. Cancelling it is harmless.
        """
        await endpoint.online()
        resolver = DnsResolver(nameservers=[str(self.dns.dns_addr)])
        return await resolver.lookup_endpoint_by_id_staggered(endpoint.id(), ORIGIN)
