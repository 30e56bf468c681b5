"""Endpoints on loopback, closed after the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from iroh import Connection, Endpoint, EndpointAddr, PublicKey, presets

ALPN = b"test/0"
Bind = Callable[..., Awaitable[Endpoint]]


@pytest.fixture
async def bind() -> AsyncIterator[Bind]:
    """Bind endpoints on loopback without relay and lookup; extra keywords as EndpointOptions."""
    endpoints: list[Endpoint] = []

    async def bind(**settings) -> Endpoint:
        settings = {"preset": presets.Minimal, "bind_addr": "127.0.0.1:0", **settings}
        endpoint = await Endpoint.bind(settings.pop("preset"), **settings)
        endpoints.append(endpoint)
        return endpoint

    yield bind
    await asyncio.gather(*(endpoint.close() for endpoint in endpoints))


@pytest.fixture
async def connect(bind) -> Callable[..., Awaitable[tuple[Connection, Connection]]]:
    """Connect two fresh endpoints; gives the dialling and the accepting end."""

    async def connect(**settings) -> tuple[Connection, Connection]:
        server, client = await bind(alpns=[ALPN], **settings), await bind(**settings)
        return await meet(client, server)

    return connect


async def meet(
    client: Endpoint, server: Endpoint, addr: EndpointAddr | PublicKey | None = None
) -> tuple[Connection, Connection]:
    """Dial, at `addr` if it is given, and accept at once."""

    async def accept() -> Connection:
        incoming = await server.accept_next()
        assert incoming is not None
        return await incoming

    dialled, accepted = await asyncio.gather(client.connect(addr or server.addr(), ALPN), accept())
    return dialled, accepted
