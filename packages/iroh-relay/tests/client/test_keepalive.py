"""When to ping, and when to give up."""

import asyncio
from collections.abc import Iterator
from itertools import count, pairwise, repeat

import pytest

from iroh_relay.client.keepalive import QUIET_TURNS, Keepalive
from iroh_relay.protos import PingTracker

from .fakes import ManualClock, settle


class Watch:
    """A keepalive with what it did."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.pings: list[bytes] = []
        self.dead: list[str] = []
        numbers = count()
        tracker = PingTracker(rng=lambda size: next(numbers).to_bytes(size))
        self.sent: Iterator[int] = count()
        self.it = Keepalive(
            self.clock, tracker, self.pings.append, self.dead.append, lambda: next(self.sent)
        )

    def pong(self) -> float | None:
        self.it.frame_received()
        return self.it.pong_received(self.pings[-1])


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    watch.it.start()
    return watch


async def test_pings_at_once_then_after_15_s_of_silence(watch: Watch) -> None:
    assert len(watch.pings) == 1
    watch.pong()
    await watch.clock.advance(10)
    watch.it.frame_received()
    await watch.clock.advance(14.9)
    assert len(watch.pings) == 1
    await watch.clock.advance(0.2)
    assert len(watch.pings) == 2
    watch.pong()
    await watch.clock.advance(14.8)
    assert len(watch.pings) == 2
    await watch.clock.advance(0.3)
    assert len(watch.pings) == 3
    assert watch.dead == []
    watch.it.stop()
    assert watch.clock.pending == 0


async def test_who_sends_nothing_pings_before_the_relay_asks(watch: Watch) -> None:
    """A relay asks after 16 s, and a blocked loop would not answer."""
    watch.sent = repeat(0)
    at = [watch.clock.now()]
    for _ in range(100):
        if watch.pings and len(watch.pings) == len(at):
            watch.pong()
            at.append(watch.clock.now())
        watch.it.frame_received()  # much comes in
        await watch.clock.advance(1)
    assert max(later - sooner for sooner, later in pairwise(at)) <= 10
    watch.it.stop()
    assert watch.clock.pending == 0


async def test_first_pong_may_take_5_s(watch: Watch) -> None:
    await watch.clock.advance(4.9)
    assert watch.dead == []
    await watch.clock.advance(0.2)
    assert watch.dead == ["ping timeout"]
    assert watch.clock.pending == 0


@pytest.mark.parametrize(("rtt", "limit"), [(0.001, 0.5), (0.3, 0.9), (3.0, 5.0)])
async def test_later_pongs_may_take_three_round_trips(rtt: float, limit: float) -> None:
    watch = Watch()
    watch.it.start()
    await watch.clock.advance(rtt)
    assert watch.pong() == pytest.approx(rtt)
    watch.it.check()
    await watch.clock.advance(limit - 0.01)
    assert watch.dead == []
    await watch.clock.advance(0.02)
    assert watch.dead == ["ping timeout"]


async def test_a_check_asks_once(watch: Watch) -> None:
    for _ in range(3):
        watch.it.check()
    assert len(watch.pings) == 1
    watch.pong()
    watch.it.check()
    assert len(watch.pings) == 2
    watch.it.stop()


async def test_other_pongs_do_not_count(watch: Watch) -> None:
    for data in (b"\xff" * 8, b"", b"abc"):
        assert watch.it.pong_received(data) is None
    await watch.clock.advance(5.1)
    assert watch.dead == ["ping timeout"]


async def test_pong_that_waited_in_the_socket_while_the_loop_was_blocked(watch: Watch) -> None:
    watch.clock.jump(60)  # user code; the timer fires as soon as the loop is back
    assert watch.dead == []
    for _ in range(QUIET_TURNS - 1):
        await asyncio.sleep(0)
    assert watch.pong() == 60
    await settle()
    assert watch.dead == []
    watch.it.stop()


async def test_reads_on_as_long_as_frames_keep_coming(watch: Watch) -> None:
    await watch.clock.advance(4)
    watch.clock.jump(2)
    for _ in range(50):
        watch.it.frame_received()
        await asyncio.sleep(0)
    assert watch.dead == []
    watch.pong()
    await settle()
    assert watch.dead == []
    watch.it.stop()


async def test_frames_without_a_pong_do_not_help_for_ever(watch: Watch) -> None:
    watch.clock.jump(5.5)
    for _ in range(10):
        watch.it.frame_received()
        await asyncio.sleep(0)
    assert watch.dead == []
    watch.clock.jump(5)
    watch.it.frame_received()
    await settle()
    assert watch.dead == ["ping timeout"]


async def test_stop_stops_everything(watch: Watch) -> None:
    watch.clock.jump(5.5)
    watch.it.stop()
    watch.it.check()
    await settle()
    await watch.clock.advance(100)
    assert (len(watch.pings), watch.dead) == (1, [])
