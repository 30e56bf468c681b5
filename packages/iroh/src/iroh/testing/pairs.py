"""Two endpoints on loopback, connected, without any server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

from iroh import Connection, Endpoint, presets
from iroh.options import EndpointSettings, PresetLike

__all__ = ["connect_pair"]

BIND = "127.0.0.1:0"


@asynccontextmanager
async def connect_pair(
    alpn: bytes, *, preset: PresetLike = presets.Minimal, **settings: Unpack[EndpointSettings]
) -> AsyncIterator[tuple[Connection, Connection]]:
    """Connect two endpoints on loopback without any server; gives the dialling end first.

    settings: EndpointOptions of both. At the end both endpoints are closed.
    """
    settings.setdefault("bind_addr", BIND)
    serving: EndpointSettings = {**settings, "alpns": [alpn]}
    async with (
        Endpoint.bind(preset, **serving) as server,
        Endpoint.bind(preset, **settings) as client,
        asyncio.TaskGroup() as tasks,
    ):
        dialling = tasks.create_task(client.connect(server.addr(), alpn))
        incoming = await server.accept_next()
        assert incoming is not None
        accepted = await incoming
        yield await dialling, accepted
