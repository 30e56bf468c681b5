"""One connection that is up, with a relay made of two queues."""

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh_relay.client.connection import Connection, Handlers
from iroh_relay.client.outbox import QUEUE_LIMIT, Outbox, encode
from iroh_relay.client.status import RelayStats
from iroh_relay.protos import EndpointGone, Health, Pong, ProtocolVersion, Restarting, Status

from .fakes import PEER, FakeStream, ManualClock, datagram, ping, settle

PEER_ID = PEER.to_bytes()


class Bench:
    """A connection being served, and everything around it."""

    def __init__(self, version: ProtocolVersion = ProtocolVersion.V2) -> None:
        self.clock = ManualClock()
        self.stream = FakeStream(version)
        self.outbox = Outbox()
        self.stats = RelayStats()
        self.received: list[tuple[bytes, bytes, int, int]] = []
        self.gone: list[bytes] = []
        handlers = Handlers(lambda *args: self.received.append(args), self.gone.append)
        self.connection = Connection(
            self.stream, handlers, self.outbox, self.stats, self.clock, "http://relay/"
        )
        self.task = asyncio.create_task(self.connection.run())

    async def feed(self, *frames: bytes) -> None:
        self.stream.feed(*frames)
        await settle()

    def send(self, data: bytes, segment_size: int = 0) -> int:
        return self.connection.send(encode(PEER_ID, data, segment_size, 0))

    async def end(self) -> str:
        """Why the connection has ended; it must end by itself."""
        reason = await self.task
        await self.connection.close(graceful=False)
        await settle()
        assert self.clock.pending == 0
        return reason

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))
        closing = asyncio.create_task(self.connection.close(graceful=True))
        await self.clock.advance(3.1)
        await closing
        await settle()
        assert self.clock.pending == 0


async def test_pings_first_and_is_established_by_the_pong() -> None:
    bench = Bench()
    await settle()
    assert [frame[0] for frame in bench.stream.written] == [9]
    assert not bench.connection.established
    bench.stream.answer_ping()
    await settle()
    assert bench.connection.established
    assert (bench.stats.pings_sent, bench.stats.pongs_received, bench.stats.rtt) == (1, 1, 0.0)
    await bench.leave()
    assert bench.stream.closed == 3.0


async def test_datagrams_are_handed_up() -> None:
    bench = Bench()
    await bench.feed(datagram(b"one", ecn=2), datagram(b"aabbc", 2, 3))
    assert bench.received == [(PEER_ID, b"one", 0, 2), (PEER_ID, b"aabbc", 2, 3)]
    assert (bench.stats.frames_received, bench.stats.bytes_received) == (2, 8)
    await bench.leave()


async def test_type_in_a_longer_form_and_empty_contents() -> None:
    bench = Bench()
    frame = datagram(b"aabb", 2, 1)
    empty = datagram(b"x")[:-1]
    await bench.feed(b"\x40" + frame, empty, b"\x40" + empty, b"\x40\x09" + bytes(8))
    assert bench.received == [(PEER_ID, b"aabb", 2, 1)]
    assert bench.stream.take(10) == [Pong(bytes(8)).encode()]
    await bench.leave()


async def test_ping_is_answered_in_the_same_turn() -> None:
    bench = Bench()
    await settle()
    bench.stream.take()
    await bench.feed(ping(1), ping(2))
    assert bench.stream.take() == [Pong(n.to_bytes(8)).encode() for n in (1, 2)]
    assert bench.stats.pings_answered == 2
    await bench.leave()


async def test_a_full_transport_gets_the_latest_pong_first_and_then_frames_in_order() -> None:
    bench = Bench()
    await settle()
    bench.stream.take()
    bench.stream.taking.clear()
    assert [bench.send(bytes([n])) for n in (1, 2, 3)] == [0, 0, 0]
    await settle()  # the first one is handed over, and now the transport waits
    await bench.feed(ping(7), ping(8))
    bench.send(b"\x04")
    assert len(bench.outbox) == 3
    bench.stream.taking.set()
    await settle()
    written = bench.stream.take()
    assert [frame[0] for frame in written] == [4, 10, 4, 4, 4]
    assert written[1] == Pong((8).to_bytes(8)).encode()
    assert [frame[-1] for frame in written if frame[0] == 4] == [1, 2, 3, 4]
    assert bench.stats.frames_sent == 4
    assert bench.stats.bytes_sent == 4
    bench.send(b"\x05")
    assert len(bench.stream.take(4)) == 1  # at once again
    await bench.leave()


async def test_queue_is_bounded_while_the_transport_is_full() -> None:
    bench = Bench()
    await settle()
    bench.stream.taking.clear()
    dropped = [bench.send(b"x") for _ in range(QUEUE_LIMIT + 5)]
    assert dropped == [0] * QUEUE_LIMIT + [1] * 5
    assert bench.send(bytes(200_000), 1000) == 4
    await bench.leave()


async def test_a_large_batch_that_fills_the_transport_half_way() -> None:
    bench = Bench()
    await settle()
    bench.stream.take()
    write = bench.stream.write

    def write_and_fill(frame: bytes) -> None:
        write(frame)
        bench.stream.taking.clear()

    bench.stream.write = write_and_fill  # type: ignore[method-assign]
    assert bench.send(bytes(200_000), 1000) == 0
    assert len(bench.stream.written) == 1
    bench.stream.write = write  # type: ignore[method-assign]
    bench.stream.taking.set()
    await settle()
    assert bench.stats.bytes_sent == 200_000
    await bench.leave()


async def test_transport_that_takes_nothing_for_15_s() -> None:
    bench = Bench()
    await settle()
    bench.stream.answer_ping()
    await settle()
    bench.stream.taking.clear()
    bench.send(b"x")
    await bench.clock.advance(10)
    bench.stream.answer_ping()
    await bench.feed(datagram(b"it still talks"))
    await bench.clock.advance(4.9)
    assert not bench.task.done()
    await bench.clock.advance(0.2)
    assert await bench.end() == "the relay took nothing for 15 s"


async def test_silent_relay() -> None:
    bench = Bench()
    await bench.clock.advance(5.1)
    assert await bench.end() == "ping timeout"
    assert bench.stream.aborted


async def test_writing_to_a_connection_that_is_gone() -> None:
    bench = Bench()
    await settle()
    bench.stream.aborted = True
    assert bench.send(b"x") == 1
    bench.connection.check()
    await bench.feed(ping(1))
    assert await bench.end() == "write failed: closed"


async def test_goodbye_sends_what_waits_if_the_transport_takes_it() -> None:
    bench = Bench()
    await settle()
    bench.stream.take()
    bench.stream.taking.clear()
    for number in range(5):
        bench.send(bytes([number]))
    bench.stream.taking.set()
    await bench.leave()
    assert [frame[-1] for frame in bench.stream.take(4)] == [0, 1, 2, 3, 4]
    assert bench.stream.closed == 3.0


async def test_goodbye_to_a_transport_that_takes_nothing_is_cut_off() -> None:
    bench = Bench()
    await settle()
    bench.stream.taking.clear()
    bench.send(b"x")
    bench.task.cancel()
    closing = asyncio.create_task(bench.connection.close(graceful=True))
    await bench.clock.advance(2.9)
    assert bench.stream.closed is None
    await bench.clock.advance(0.2)
    assert bench.stream.closed == 0.0
    await closing


async def test_control_frames_that_are_tolerated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench()
    await bench.feed(
        Status(0).encode(), Status(1).encode(), Status(2).encode(), Status(99).encode(),
        Status(0).encode() + b"more", Restarting(10, 20).encode(),
        EndpointGone(PEER).encode(), Pong(b"whatever").encode(),
    )  # fmt: skip
    assert not bench.task.done()
    assert bench.gone == [PEER_ID]
    assert bench.stats.conns_ratelimited == 1
    assert bench.stats.pongs_received == 0
    text = caplog.text
    assert "Another endpoint connected with the same endpoint id" in text
    assert "is about to restart" in text
    await bench.leave()


async def test_health_in_version_1(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(ProtocolVersion.V1)
    await bench.feed(Health("no good").encode())
    assert not bench.task.done()
    assert "reports a problem: no good" in caplog.text
    await bench.leave()


@pytest.mark.parametrize(
    ("frame", "version"),
    [
        (b"", ProtocolVersion.V2),
        (b"\x0e", ProtocolVersion.V2),
        (b"\x02", ProtocolVersion.V2),
        (Health("x").encode(), ProtocolVersion.V2),
        (Status(0).encode(), ProtocolVersion.V1),
        (b"\x08" + bytes(5), ProtocolVersion.V2),
        (b"\x04" + bytes(40), ProtocolVersion.V2),
        (b"\x06" + bytes(20), ProtocolVersion.V2),
        (b"\x06\x02" + bytes(40), ProtocolVersion.V2),
        (b"\x06" + PEER_ID + bytes(65537 - 32), ProtocolVersion.V2),
    ],
)
async def test_garbage_ends_the_connection(frame: bytes, version: ProtocolVersion) -> None:
    bench = Bench(version)
    await bench.feed(frame)
    assert bench.task.done()
    assert await bench.end()
    assert bench.received == []


async def test_ids_already_seen_are_bounded() -> None:
    bench = Bench()
    for number in range(300):
        key = type(PEER).from_bytes(_point(number))
        bench.stream.feed(b"\x06" + key.to_bytes() + b"\0x")
    await settle()
    assert len(bench.received) == 300
    assert len(bench.connection._known) <= 128
    await bench.leave()


def _point(number: int) -> bytes:
    from iroh_base.keys import SecretKey

    return SecretKey.from_bytes(number.to_bytes(32)).public().to_bytes()


@given(frames=st.lists(st.one_of(
    st.binary(max_size=80),
    st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(0, 14), st.binary(max_size=80)),
    st.builds(lambda kind, rest: bytes([kind]) + PEER_ID + rest,
              st.integers(4, 8), st.binary(max_size=9)),
), max_size=8), version=st.sampled_from(list(ProtocolVersion)))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_nothing_a_relay_sends_raises(frames: list[bytes], version: ProtocolVersion) -> None:
    async def scenario() -> None:
        bench = Bench(version)
        await bench.feed(*frames)
        bench.stream.lose("done")
        assert isinstance(await bench.end(), str)

    asyncio.run(scenario())
