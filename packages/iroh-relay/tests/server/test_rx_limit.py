"""A client that sends more than it may: the Rust tests of `server/client.rs`, and live changes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from iroh_relay.protos.frames import Ping, Status, encode_datagrams
from iroh_relay.protos.versions import ProtocolVersion
from iroh_relay.server import RelayServer, RelayServerConfig, RxLimit
from iroh_relay.server.bucket import wire_size
from iroh_relay.server.clients import Clients
from iroh_relay.server.connection import ClientConnection
from iroh_relay.server.metrics import RelayMetrics

from .conftest import LOOPBACK
from .fakes import FakeClient, FakeStream, ManualClock
from .peer import PATIENCE, connect, secret

FRAME = encode_datagrams(bytes(secret(2).public()), bytes(50), 0)
LIMITED = Status(Status.RATE_LIMITED).encode()


class Limited:
    """One connection at 50 bytes per second whose bucket holds one frame, and its recipient."""

    def __init__(self, version: ProtocolVersion) -> None:
        self.clock, self.metrics, self.stream = ManualClock(), RelayMetrics(), FakeStream()
        clients = Clients(self.metrics, max_inactive=4, max_sent_to=100)
        self.recipient = FakeClient(2)
        clients.register(self.recipient)
        self.connection = ClientConnection(
            self.stream,
            endpoint_id=secret(1).public(),
            connection_id=0,
            version=version,
            clients=clients,
            metrics=self.metrics,
            config=RelayServerConfig(),
            rx_limit=RxLimit(50, wire_size(len(FRAME)) + 1),
            clock=self.clock,
        )


@contextlib.asynccontextmanager
async def limited(version: ProtocolVersion = ProtocolVersion.V2) -> AsyncIterator[Limited]:
    """Run it."""
    bench = Limited(version)
    task = asyncio.create_task(bench.connection.run())
    await asyncio.sleep(0)
    try:
        yield bench
    finally:
        bench.connection.set_rx_limit(None)
        bench.stream.close()
        async with asyncio.timeout(PATIENCE):
            await task


async def test_the_second_frame_is_delivered_and_the_third_waits() -> None:
    async with limited() as bench:
        for _ in range(3):
            bench.stream.incoming.put_nowait(FRAME)
        assert await bench.stream.sent_count(1) == [LIMITED]
        assert len(bench.recipient.packets) == 2
        bench.clock.advance(0.1)
        await asyncio.sleep(0)
        assert len(bench.recipient.packets) == 2
        bench.clock.advance(3.0)
        await bench.recipient.packet_count(3)
        assert bench.metrics.conns_rx_ratelimited_total == 1
        assert bench.metrics.bytes_rx_ratelimited_total >= wire_size(len(FRAME))


async def test_version_1_is_not_told() -> None:
    async with limited(ProtocolVersion.V1) as bench:
        for _ in range(2):
            bench.stream.incoming.put_nowait(FRAME)
        await bench.recipient.packet_count(2)
        await asyncio.sleep(0)
        assert bench.metrics.conns_rx_ratelimited_total == 1
        assert bench.stream.sent == []


async def test_lifting_the_limit_ends_the_wait() -> None:
    async with limited() as bench:
        for _ in range(3):
            bench.stream.incoming.put_nowait(FRAME)
        await bench.stream.sent_count(1)
        bench.connection.set_rx_limit(None)
        await bench.recipient.packet_count(3)


async def test_a_throttled_client_owes_no_pong() -> None:
    async with limited() as bench:
        bench.clock.next()  # it was silent: it is asked for a sign of life
        assert [frame[0] for frame in bench.stream.sent] == [Ping.encode(Ping(bytes(8)))[0]]
        bench.stream.incoming.put_nowait(FRAME)
        bench.stream.incoming.put_nowait(FRAME)
        await bench.stream.sent_count(2)
        bench.clock.advance(5.0)  # its pong stands behind what we do not read
        assert not bench.stream.aborted
        assert bench.metrics.ping_timeouts == 0


async def test_a_limit_that_comes_while_clients_are_connected() -> None:
    config = RelayServerConfig(http_bind_addr=LOOPBACK)
    async with (
        RelayServer(config) as relay,
        connect(relay, 1) as a,
        connect(relay, 2) as b,
    ):
        await a.settle()
        relay.set_rx_limit(RxLimit(100, 10))
        a.send_datagram(b, bytes(100))
        assert await a.receive() == Status(Status.RATE_LIMITED)
        relay.set_rx_limit(None)
        await a.settle()
        assert relay.metrics.conns_rx_ratelimited_total == 1


async def test_a_limit_of_the_configuration() -> None:
    config = RelayServerConfig(http_bind_addr=LOOPBACK, rx_limit=RxLimit(1000, 10))
    async with RelayServer(config) as relay, connect(relay, 1) as a:
        a.send(Ping(b"12345678").encode())
        received = [await a.receive(), await a.receive()]
        assert Status(Status.RATE_LIMITED) in received
