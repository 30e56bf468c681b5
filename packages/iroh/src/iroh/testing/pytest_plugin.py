"""Fixtures for pytest with pytest-asyncio: `pytest_plugins = ["iroh.testing.pytest_plugin"]`.

iroh_servers    LocalServers: a relay and a DNS server, on loopback
iroh_endpoints  two endpoints that use them, the first of which accepts; both are published
"""

from collections.abc import AsyncIterator

import pytest_asyncio

from iroh import Endpoint
from iroh.protocols import ECHO_ALPN, Echo
from iroh.testing.local_servers import LocalServers

__all__ = ["iroh_endpoints", "iroh_servers"]


@pytest_asyncio.fixture
async def iroh_servers() -> AsyncIterator[LocalServers]:
    """A relay and a DNS server; `bind` gives endpoints that are closed after the test."""
    async with LocalServers() as servers:
        yield servers


@pytest_asyncio.fixture
async def iroh_endpoints(iroh_servers: LocalServers) -> tuple[Endpoint, Endpoint]:
    """Two endpoints: one that serves echo, and can be dialled by its id; and another."""
    server = await iroh_servers.bind(protocols={ECHO_ALPN: Echo()})
    client = await iroh_servers.bind()
    await iroh_servers.published(server)
    return server, client
