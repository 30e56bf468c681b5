"""What a connection does with each frame: the Rust tests of `server/client.rs`, and more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from iroh_relay.protos.frames import (
    ClientToRelayDatagrams,
    Datagrams,
    EndpointGone,
    Ping,
    Pong,
    Status,
    encode_datagrams,
)
from iroh_relay.protos.versions import ProtocolVersion
from iroh_relay.server.clients import Clients
from iroh_relay.server.config import RelayServerConfig
from iroh_relay.server.connection import ClientConnection
from iroh_relay.server.metrics import RelayMetrics

from .fakes import FakeClient, FakeStream, ManualClock
from .peer import PATIENCE, secret

V1, V2 = ProtocolVersion.V1, ProtocolVersion.V2


class Bench:
    """A registry, and connections over fake streams."""

    def __init__(self, config: RelayServerConfig | None = None) -> None:
        self.config = config or RelayServerConfig()
        self.metrics = RelayMetrics()
        self.clients = Clients(self.metrics, max_inactive=4, max_sent_to=100)
        self.clock = ManualClock()
        self._ids = iter(range(1000))

    @contextlib.asynccontextmanager
    async def connection(
        self, seed: int, version: ProtocolVersion = V2
    ) -> AsyncIterator[tuple[FakeStream, "asyncio.Task[None]"]]:
        """A running connection of this endpoint."""
        stream = FakeStream()
        connection = ClientConnection(
            stream,
            endpoint_id=secret(seed).public(),
            connection_id=next(self._ids),
            version=version,
            clients=self.clients,
            metrics=self.metrics,
            config=self.config,
            clock=self.clock,
        )
        task = asyncio.create_task(connection.run())
        await asyncio.sleep(0)  # let it register
        try:
            yield stream, task
        finally:
            stream.close()
            with contextlib.suppress(asyncio.CancelledError):
                async with asyncio.timeout(PATIENCE):
                    await task


def to(seed: int, data: bytes = b"hello", ecn: int = 0) -> bytes:
    return encode_datagrams(bytes(secret(seed).public()), data, ecn)


@pytest.mark.parametrize("version", [V1, V2])
async def test_basics(version: ProtocolVersion) -> None:
    bench = Bench()
    other = FakeClient(2)
    bench.clients.register(other)
    async with bench.connection(1, version) as (stream, _):
        bench.clients.forward(other, to(1, b"hi"))
        assert stream.sent.pop() == b"\x06" + bytes(other.endpoint_id) + b"\x00hi"
        bench.clients.unregister(other)
        assert stream.sent.pop() == EndpointGone(other.endpoint_id).encode()
        await stream.feed(Ping(b"\x2a" * 8).encode())
        assert stream.sent.pop() == Pong(b"\x2a" * 8).encode()
        bench.clients.register(other)
        await stream.feed(to(2, b"there", ecn=3))
        assert other.packets == [(b"\x06" + bytes(secret(1).public()) + b"\x03there", 5)]
    metrics = bench.metrics
    assert (metrics.accepts, metrics.disconnects) == (1, 1)
    assert (metrics.got_ping, metrics.sent_pong) == (1, 1)
    assert (metrics.send_packets_recv, metrics.bytes_recv) == (1, 5)
    assert (metrics.send_packets_sent, metrics.bytes_sent) == (1, 2)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (
            V1,
            b"\x0bAnother endpoint connected with the same endpoint id. "
            b"No more messages will be received.",
        ),
        (V2, Status(Status.SAME_ENDPOINT_ID_CONNECTED).encode()),
    ],
)
async def test_a_displaced_connection_is_told(version: ProtocolVersion, told: bytes) -> None:
    bench = Bench()
    async with bench.connection(1, version) as (old, _):
        async with bench.connection(1) as (new, _):
            assert old.sent == [told]
            assert new.sent == []
        assert len(old.sent) == 2
        assert old.sent[1][0] == (11 if version is V1 else 13)


async def test_version_1_is_not_told_what_it_cannot_understand() -> None:
    bench = Bench()
    async with bench.connection(1, V1) as (stream, _):
        [connection] = bench.clients.connections()
        connection.send_status(Status.RATE_LIMITED)
        assert stream.sent == []


async def test_types_in_a_longer_form_are_understood() -> None:
    bench = Bench()
    other = FakeClient(2)
    bench.clients.register(other)
    async with bench.connection(1) as (stream, _):
        await stream.feed(b"\x40\x09" + bytes(8))
        assert stream.sent == [Pong(bytes(8)).encode()]
        await stream.feed(b"\x80\x00\x00\x04" + to(2)[1:])
        assert len(other.packets) == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x0e",
        b"\x40",
        b"\x00" + bytes(16),
        b"\x02",
        b"\x06" + bytes(40),
        b"\x09short",
        b"\x04" + bytes(10),
        b"\x05" + bytes(34),
        b"\x04" + bytes(65537),
        to(2)[:1] + b"\x02" + bytes(31) + b"\x00data",  # no point of the curve
        b"\x40\x04" + b"\x02" + bytes(31) + b"\x00data",
    ],
    ids=lambda frame: frame[:4].hex() or "empty",
)
async def test_a_broken_frame_ends_only_that_connection(frame: bytes) -> None:
    bench = Bench()
    async with bench.connection(1) as (bad, task), bench.connection(2) as (good, _):
        await bad.feed(to(2))
        bad.incoming.put_nowait(frame)
        async with asyncio.timeout(PATIENCE):
            await task
        assert bad.closed.is_set()
        assert good.sent[-1] == EndpointGone(secret(1).public()).encode()
        await good.feed(Ping(bytes(8)).encode())
        assert good.sent[-1] == Pong(bytes(8)).encode()
    assert bench.metrics.unknown_frames == (frame == b"\x0e")


@pytest.mark.parametrize(
    "frame",
    [
        b"\x04" + bytes(secret(2).public()) + b"\x00",
        b"\x05" + bytes(secret(2).public()) + b"\x00\x00\x05",
        b"\x04" + bytes(secret(2).public()) + bytes(65536 - 32),
        b"\x05" + bytes(secret(2).public()) + b"\x00\x00\x09" + bytes(65536 - 35),
    ],
    ids=["empty", "empty batch", "one too long", "batch too long"],
)
async def test_what_would_harm_the_recipient_is_dropped_and_counted(frame: bytes) -> None:
    bench = Bench()
    async with bench.connection(1) as (sender, task), bench.connection(2) as (recipient, _):
        await sender.feed(frame)
        assert recipient.sent == []
        assert bench.metrics.send_packets_dropped_invalid == 1
        assert not task.done()


async def test_unknown_destinations_are_dropped_and_counted() -> None:
    bench = Bench()
    async with bench.connection(1) as (stream, task):
        await stream.feed(to(9))
        assert bench.metrics.send_packets_dropped == 1
        assert stream.sent == []
        assert not task.done()


async def test_checking_unknown_destinations_is_limited() -> None:
    bench = Bench(RelayServerConfig(max_point_checks=2))
    async with bench.connection(1) as (stream, task):
        for seed in (8, 9):
            await stream.feed(to(seed))
        await stream.feed(b"\x04\x02" + bytes(31) + b"\x00data")
        assert bench.metrics.send_packets_dropped == 3
        assert not task.done()


async def test_a_batch_without_segment_size_becomes_a_single_datagram() -> None:
    bench = Bench()
    async with bench.connection(1) as (sender, _), bench.connection(2) as (recipient, _):
        frame = b"\x05" + bytes(secret(2).public()) + b"\x00\x00\x00data"
        await sender.feed(frame)
        assert recipient.sent == [b"\x06" + bytes(secret(1).public()) + b"\x00data"]
        batch = ClientToRelayDatagrams(secret(2).public(), Datagrams(b"aabbc", 1, 2)).encode()
        await sender.feed(batch)
        assert recipient.sent[1] == (b"\x07" + bytes(secret(1).public()) + b"\x01\x00\x02aabbc")


async def test_a_slow_recipient_costs_the_sender_nothing() -> None:
    bench = Bench(RelayServerConfig(queue_depth=10))
    async with bench.connection(1) as (sender, task), bench.connection(2) as (recipient, _):
        recipient.block()
        for _ in range(1000):
            sender.incoming.put_nowait(to(2))
        await sender.feed(Ping(bytes(8)).encode())
        assert sender.sent == [Pong(bytes(8)).encode()]
        assert not task.done()
        assert bench.metrics.send_packets_dropped_full >= 980
        recipient.unblock()


async def test_a_client_that_does_not_read_is_dropped() -> None:
    bench = Bench(RelayServerConfig(write_timeout=0.02))
    async with bench.connection(1) as (sender, _), bench.connection(2) as (recipient, task):
        recipient.block()
        await sender.feed(to(2))
        async with asyncio.timeout(PATIENCE):
            await task
        assert recipient.aborted
        assert bench.metrics.write_timeouts == 1


async def test_a_flood_of_pings_from_one_that_does_not_read_is_bounded() -> None:
    bench = Bench(RelayServerConfig(queue_depth=10))
    async with bench.connection(1) as (stream, task):
        stream.block()
        for _ in range(1000):
            await stream.feed(Ping(bytes(8)).encode())
        assert bench.metrics.other_packets_dropped >= 989
        assert not task.done()
        stream.unblock()
        await stream.sent_count(10)
        assert bench.metrics.got_ping == 1000


async def test_a_silent_client_is_pinged_and_then_dropped() -> None:
    bench = Bench()
    async with bench.connection(1) as (stream, task):
        bench.clock.advance(15.9)
        assert stream.sent == []
        bench.clock.advance(4.1)
        [ping] = stream.sent
        assert (ping[0], len(ping)) == (9, 9)
        bench.clock.advance(5.0)
        async with asyncio.timeout(PATIENCE):
            await task
        assert stream.aborted
        assert bench.metrics.ping_timeouts == 1
        assert bench.clock.pending == 0


async def test_a_client_that_answers_stays() -> None:
    bench = Bench()
    async with bench.connection(1) as (stream, task):
        for number in range(1, 6):
            while len(stream.sent) < number:
                bench.clock.next()
            await stream.feed(b"\x0a" + stream.sent[-1][1:])
        assert len(stream.sent) == 5
        assert not task.done()
        assert bench.metrics.ping_timeouts == 0


async def test_a_client_that_talks_is_not_pinged() -> None:
    bench = Bench()
    async with bench.connection(1) as (stream, _):
        for _ in range(10):
            bench.clock.advance(15.0)
            await stream.feed(to(2))
        assert stream.sent == []


async def test_cancelling_cleans_up() -> None:
    bench = Bench()
    async with bench.connection(1) as (stream, task):
        stream.block()
        [connection] = bench.clients.connections()
        connection.send_packet(b"x", 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(bench.clients) == 0
        assert stream.closed.is_set()
        assert bench.clock.pending == 0
