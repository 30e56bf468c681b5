"""A relay on loopback for each test that asks for one."""

from collections.abc import AsyncIterator

import pytest_asyncio

from iroh_base.addr import SocketAddr
from iroh_relay.server import RelayServer, RelayServerConfig

LOOPBACK = SocketAddr("127.0.0.1", 0)


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[RelayServer]:
    """A running relay with the usual settings."""
    async with RelayServer(RelayServerConfig(http_bind_addr=LOOPBACK)) as server:
        yield server
