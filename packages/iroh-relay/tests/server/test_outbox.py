"""Queues, their limits, their order, and what becomes of a client that does not read."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest_asyncio

from iroh_relay.server.metrics import RelayMetrics
from iroh_relay.server.outbox import Outbox

from .fakes import FakeStream


class Bench:
    """An outbox over a fake stream, that closes with the test."""

    def __init__(self, write_timeout: float = 5.0, depth: int = 3) -> None:
        self.stream = FakeStream()
        self.metrics = RelayMetrics()
        self.broken = asyncio.Event()
        self.outbox = Outbox(
            self.stream,
            self.metrics,
            depth=depth,
            write_timeout=write_timeout,
            on_broken=self.broken.set,
        )


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    one = Bench()
    yield one
    await one.outbox.close()


async def test_an_idle_client_is_written_to_at_once(bench: Bench) -> None:
    assert bench.outbox.send_packet(b"packet", 2)
    assert bench.outbox.send_control(b"control")
    assert bench.stream.sent == [b"packet", b"control"]
    metrics = bench.metrics
    assert (metrics.send_packets_sent, metrics.bytes_sent) == (1, 2)
    assert metrics.other_packets_sent == 1
    assert len(asyncio.all_tasks()) == 1  # none was needed


async def test_a_full_queue_drops_the_new_ones(bench: Bench) -> None:
    bench.stream.block()
    results = [bench.outbox.send_packet(bytes((n,)), 1) for n in range(5)]
    assert results == [True, True, True, False, False]
    bench.stream.unblock()
    assert await bench.stream.sent_count(3) == [b"\0", b"\1", b"\2"]
    assert bench.metrics.send_packets_sent == 3


async def test_control_frames_have_their_own_queue_and_go_first(bench: Bench) -> None:
    bench.stream.block()
    for n in range(4):
        bench.outbox.send_packet(bytes((n,)), 1)
    results = [bench.outbox.send_control(name) for name in (b"a", b"b", b"c", b"d")]
    assert results == [True, True, True, False]
    assert bench.metrics.other_packets_dropped == 1
    bench.stream.unblock()
    assert await bench.stream.sent_count(6) == [b"a", b"b", b"c", b"\0", b"\1", b"\2"]
    assert bench.metrics.other_packets_sent == 3


async def test_nothing_overtakes_what_waits(bench: Bench) -> None:
    bench.stream.block()
    bench.outbox.send_packet(b"first", 5)
    bench.stream.unblock()
    bench.outbox.send_packet(b"second", 6)
    assert await bench.stream.sent_count(2) == [b"first", b"second"]
    bench.outbox.send_packet(b"third", 5)
    assert await bench.stream.sent_count(3) == [b"first", b"second", b"third"]


async def test_a_control_frame_may_overtake_packets(bench: Bench) -> None:
    bench.stream.block()
    bench.outbox.send_packet(b"packet", 6)
    bench.stream.unblock()
    bench.outbox.send_control(b"control")
    assert await bench.stream.sent_count(2) == [b"control", b"packet"]


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    bench = Bench(write_timeout=0.02)
    bench.stream.block()
    for n in range(3):
        bench.outbox.send_packet(bytes((n,)), 1)
    async with asyncio.timeout(5):
        await bench.broken.wait()
    assert bench.metrics.write_timeouts == 1
    assert bench.metrics.send_packets_dropped == 3
    assert not bench.outbox.send_packet(b"late", 4)
    assert not bench.outbox.send_control(b"late")
    await bench.outbox.close()


async def test_a_relay_that_stood_still_gives_nobody_up() -> None:
    bench = Bench(write_timeout=0.02)
    bench.stream.block()
    for n in range(3):
        bench.outbox.send_packet(bytes((n,)), 1)
    await asyncio.sleep(0)
    time.sleep(0.15)  # noqa: ASYNC251 - what is tested
    for _ in range(5):
        await asyncio.sleep(0)
    assert not bench.broken.is_set()
    assert bench.metrics.write_timeouts == 0
    await bench.outbox.close()


async def test_a_lost_connection_is_given_up() -> None:
    bench = Bench()
    bench.stream.block()
    bench.stream.error = ConnectionResetError("gone")
    bench.outbox.send_control(b"x")
    async with asyncio.timeout(5):
        await bench.broken.wait()
    assert bench.metrics.write_timeouts == 0
    await bench.outbox.close()


async def test_close_forgets_what_waits() -> None:
    bench = Bench()
    bench.stream.block()
    bench.outbox.send_packet(b"x", 1)
    await asyncio.sleep(0)
    await bench.outbox.close()
    bench.stream.unblock()
    await asyncio.sleep(0)
    assert bench.stream.sent == []
    await bench.outbox.close()
