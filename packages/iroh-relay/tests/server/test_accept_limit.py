"""How many connections come in per second."""

import asyncio
import contextlib

from iroh_relay.server import AcceptLimit, RelayServer, RelayServerConfig
from iroh_relay.server.accept_limit import AcceptBucket

from .conftest import LOOPBACK
from .peer import PATIENCE, Peer


def test_a_burst_and_then_the_rate() -> None:
    bucket = AcceptBucket(AcceptLimit(2.0, 3), 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.4)
    assert bucket.take(0.5)
    assert not bucket.take(0.6)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


async def test_a_connection_too_many_is_dropped() -> None:
    config = RelayServerConfig(http_bind_addr=LOOPBACK, accept_limit=AcceptLimit(0.001, 1))
    async with RelayServer(config) as relay:
        first = await Peer.upgrade(relay)
        assert "101" in first.head
        second = await Peer.tcp(relay)
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):  # the other way a drop may look
                assert await second.reader.read() == b""
        assert relay.metrics.http_connections_refused == 1
        assert relay.metrics.http_connections == 1
        await first.close()
        await second.close()
