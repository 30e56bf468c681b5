"""Two endpoints on loopback, connected, without any server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from iroh import Connection, Endpoint, presets

__all__ = ["connect_pair"]

BIND = "127.0.0.1:0"


@asynccontextmanager
async def connect_pair(
    alpn: bytes, **settings: Any
) -> AsyncIterator[tuple[Connection, Connection]]:
    """Connect two endpoints on loopback without any server; gives the dialling end first.

    settings: EndpointOptions of both. At the end both endpoints are closed.
    """
    settings = {"preset": presets.Minimal, "bind_addr": BIND, **settings}
    preset = settings.pop("preset")
    async with (
        Endpoint.bind(preset, alpns=[alpn], **settings) as server,
        Endpoint.bind(preset, **settings) as client,
        asyncio.TaskGroup() as tasks,
    ):
        dialling = tasks.create_task(client.connect(server.addr(), alpn))
        incoming = await server.accept_next()
        assert incoming is not None
        accepted = await incoming
        yield await dialling, accepted
