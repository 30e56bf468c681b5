"""The life of a relay client, with time and connections in memory."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from iroh_base.errors import InvalidInputError, WatchClosedError
from iroh_relay.client import (
    ClientClosedError,
    RelayClient,
    RelayDialError,
    RelayState,
    RelayStatus,
)
from iroh_relay.client.outbox import QUEUE_LIMIT
from iroh_relay.relay_map import RelayConfig

from .fakes import KEY, PEER, FakeDialer, FakeStream, ManualClock, datagram, settle

PEER_ID = PEER.to_bytes()
URL = "http://relay.example/"


class Bench:
    """A client with a clock and a dialer in the hand of the test."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.dialer = FakeDialer()
        self.received: list[tuple[bytes, bytes, int, int]] = []
        self.idle = 0
        self.config = RelayConfig(url=URL)
        options.setdefault("on_datagrams", lambda *args: self.received.append(args))
        options.setdefault("home", True)
        self.client = RelayClient(
            self.config, KEY, on_idle=self._on_idle, clock=self.clock, rng=lambda: 0.0,
            dialer=self.dialer, **options,
        )  # fmt: skip

    def _on_idle(self) -> None:
        self.idle += 1

    async def up(self) -> FakeStream:
        """Start, or go on, with a connection that comes up and is established."""
        stream = self.dialer.plan()
        self.client.start()
        await settle()
        assert self.client.is_connected
        stream.answer_ping()
        await settle()
        return stream

    @property
    def state(self) -> RelayState:
        return self.client.status.get().state

    @property
    def error(self) -> str | None:
        return self.client.status.get().last_error


@asynccontextmanager
async def bench_of(**options: Any) -> AsyncIterator[Bench]:
    bench = Bench(**options)
    yield bench
    await bench.client.close()
    await settle()
    assert bench.clock.pending == 0
    assert bench.client.closed


async def test_connects_and_says_so() -> None:
    async with bench_of() as bench:
        watcher = bench.client.status.watch()
        assert (bench.state, bench.error) == (RelayState.CONNECTING, None)
        stream = await bench.up()
        assert (await watcher.updated()).is_connected
        await bench.client.connected()
        assert [frame[0] for frame in stream.take()] == [1, 9]
        stream.feed(datagram(b"hello"))
        await settle()
        assert bench.received == [(PEER_ID, b"hello", 0, 0)]
        assert bench.client.send(PEER_ID, b"hi", ecn=1)
        assert stream.take() == [b"\x04" + PEER_ID + b"\x01hi"]
    assert stream.closed == 3.0
    assert bench.state is RelayState.DISCONNECTED
    assert not (await watcher.updated()).is_connected
    with pytest.raises(WatchClosedError):
        await watcher.updated()


async def test_what_a_dialer_is_told() -> None:
    class Names:
        async def resolve(self, host: str) -> list[tuple[int, str]]:
            raise AssertionError

    names = Names()
    async with bench_of(proxy="http://proxy:1", prefer_ipv6=lambda: True, resolver=names) as bench:
        bench.config.auth_token = "secret"
        await bench.up()
        (request,) = bench.dialer.requests
        assert (request.url, request.auth_token, request.proxy) == (URL, "secret", "http://proxy:1")
        assert request.prefer_ipv6
        assert request.resolver is names


async def test_backs_off_with_doubling_waits() -> None:
    async with bench_of() as bench:
        bench.client.start()
        await settle()
        for number in range(13):
            wait = min(0.01 * 2**number, 16.0)
            count = len(bench.dialer.requests)
            await bench.clock.advance(wait * 0.99)
            assert len(bench.dialer.requests) == count
            await bench.clock.advance(wait * 0.01)
            assert len(bench.dialer.requests) == count + 1
        assert (bench.state, bench.error) == (RelayState.DISCONNECTED, "unreachable")
        assert bench.client.stats.conns_failed == 14
        await bench.clock.advance(15.9)
        stream = bench.dialer.plan()
        await bench.clock.advance(0.1)
        assert bench.client.is_connected
        assert bench.error is None
        # No pong was seen on it, so its loss is one more failure.
        stream.lose()
        await settle()
        assert not bench.client.is_connected
        await bench.clock.advance(15.9)
        assert len(bench.dialer.requests) == 15


async def test_established_connection_is_made_again_at_once() -> None:
    async with bench_of() as bench:
        stream = await bench.up()
        for _ in range(5):
            following = bench.dialer.plan()
            stream.lose("server restarted")
            await settle()
            assert bench.client.is_connected
            assert stream.closed == 0.0
            following.answer_ping()
            await settle()
            stream = following
        stats = bench.client.stats
        assert (stats.conns_success, stats.conns_closed, stats.conns_failed) == (6, 5, 0)


async def test_the_end_of_each_connection_is_told() -> None:
    lost: list[int] = []
    async with bench_of(on_lost=lambda: lost.append(1)) as bench:
        stream = await bench.up()
        assert lost == []
        bench.dialer.plan()
        stream.lose("server restarted")
        await settle()
        assert bench.client.is_connected
        assert len(lost) == 1
    assert len(lost) == 2


async def test_ping_timeout_reconnects() -> None:
    async with bench_of() as bench:
        stream = await bench.up()
        await bench.clock.advance(9)
        following = bench.dialer.plan()
        await bench.clock.advance(1.6)
        assert stream.aborted
        assert bench.client.is_connected
        assert [frame[0] for frame in following.written] == [1, 9]


async def test_denial_is_kept_said_once_and_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench_of() as bench:
        for _ in range(3):
            stream = FakeStream()
            stream.challenge()
            stream.deny("not authorized")
            bench.dialer.outcomes.append(stream)
        bench.client.start()
        await bench.clock.advance(0.05)
        assert len(bench.dialer.requests) == 3
        assert bench.error == "The relay denied our authentication (not authorized)"
        assert not bench.client.is_connected
        assert stream.closed == 0.0
        assert caplog.text.count("not authorized") == 1
        bench.dialer.plan()
        await bench.clock.advance(0.05)
        assert bench.client.status.get() == RelayStatus(URL, RelayState.CONNECTED, None)


@pytest.mark.parametrize("frames", [[b""], [b"\x09" + bytes(8)], [b"\x00" + bytes(3)], [b"\xff"]])
async def test_broken_handshakes(frames: list[bytes]) -> None:
    async with bench_of() as bench:
        stream = FakeStream()
        stream.feed(*frames)
        bench.dialer.outcomes.append(stream)
        bench.client.start()
        await settle()
        assert bench.state is RelayState.DISCONNECTED
        assert bench.error is not None
        assert stream.closed == 0.0


async def test_lost_during_the_handshake() -> None:
    async with bench_of() as bench:
        stream = FakeStream()
        stream.challenge()
        stream.lose()
        bench.dialer.outcomes.append(stream)
        bench.client.start()
        await settle()
        assert bench.error == "handshake: connection lost"


async def test_attempt_is_cut_off_after_10_s() -> None:
    async with bench_of() as bench:
        bench.dialer.hangs = True
        bench.client.start()
        await bench.clock.advance(9.9)
        assert bench.dialer.cancelled == 0
        await bench.clock.advance(0.2)
        assert bench.dialer.cancelled == 1
        assert bench.error == "not connected within 10 s"
        silent = FakeStream()  # upgrades, and then says nothing
        bench.dialer.outcomes.append(silent)
        await bench.clock.advance(10.2)
        await bench.clock.advance(10.2)
        assert silent.closed == 0.0


async def test_queue_while_dialling() -> None:
    async with bench_of() as bench:
        bench.dialer.hangs = True
        bench.client.start()
        await settle()
        sent = [bench.client.send(PEER_ID, b"x") for _ in range(QUEUE_LIMIT + 6)]
        assert sent == [True] * QUEUE_LIMIT + [False] * 6
        assert bench.client.stats.frames_dropped == 6
        await bench.clock.advance(2.9)
        assert bench.client.stats.frames_dropped == 6
        await bench.clock.advance(0.2)
        assert bench.client.stats.frames_dropped == 6 + QUEUE_LIMIT
        assert bench.client.send(PEER_ID, b"y")
        await bench.clock.advance(3)
        assert bench.client.stats.frames_dropped == 7 + QUEUE_LIMIT


async def test_queue_is_sent_when_connected() -> None:
    async with bench_of() as bench:
        for number in range(5):
            assert bench.client.send(PEER_ID, bytes([number]))
        stream = await bench.up()
        assert [frame[-1] for frame in stream.take(4)] == [0, 1, 2, 3, 4]
        await bench.clock.advance(10)
        assert bench.client.stats.frames_dropped == 0


async def test_illegal_sends() -> None:
    async with bench_of() as bench:
        stream = await bench.up()
        stream.take()
        assert not bench.client.send(PEER_ID, b"")
        assert not bench.client.send(PEER_ID, bytes(65503))
        with pytest.raises(InvalidInputError):
            bench.client.send(PEER_ID[:-1], b"x")
        assert stream.take() == []
        assert bench.client.stats.frames_dropped == 2


async def test_sends_after_close_are_dropped() -> None:
    async with bench_of() as bench:
        await bench.up()
    assert not bench.client.send(PEER_ID, b"x")
    assert bench.client.stats.frames_dropped == 1
    bench.client.start()
    with pytest.raises(ClientClosedError):
        await bench.client.connected()


async def test_home_relay_stays() -> None:
    async with bench_of() as bench:
        stream = await bench.up()
        await keep_alive(bench, stream, 600)
        await settle()
        assert bench.client.is_connected
        assert bench.idle == 0


async def keep_alive(bench: Bench, stream: FakeStream, seconds: float) -> None:
    """Let time pass with a relay that answers."""
    while seconds > 0:
        await bench.clock.advance(min(1.0, seconds))
        if not stream.aborted:
            stream.answer_ping()
        seconds -= 1.0
    await settle()


async def test_other_relays_are_left_60_s_after_the_last_send() -> None:
    async with bench_of(home=False) as bench:
        stream = await bench.up()
        await keep_alive(bench, stream, 40)
        stream.feed(datagram(b"received does not count"))
        bench.client.send(PEER_ID, b"x")
        await keep_alive(bench, stream, 59)
        assert bench.client.is_connected
        await keep_alive(bench, stream, 2)
        assert bench.idle == 1
        assert bench.client.closed
        assert bench.state is RelayState.DISCONNECTED
        assert stream.closed == 3.0
        assert not bench.client.send(PEER_ID, b"x")
    assert bench.idle == 1


async def test_idle_also_while_dialling() -> None:
    async with bench_of(home=False) as bench:
        bench.client.start()
        await bench.clock.advance(30)
        bench.client.send(PEER_ID, b"x")
        await bench.clock.advance(59)
        assert bench.idle == 0
        await bench.clock.advance(2)
        assert bench.idle == 1
        assert bench.client.closed


async def test_change_of_home() -> None:
    async with bench_of(home=False) as bench:
        stream = await bench.up()
        bench.client.set_home(True)
        bench.client.set_home(True)
        await keep_alive(bench, stream, 200)
        assert bench.client.is_connected
        bench.client.set_home(False)
        assert not bench.client.is_home
        await keep_alive(bench, stream, 59)
        assert bench.client.is_connected
        await keep_alive(bench, stream, 2)
        assert bench.idle == 1


async def test_check_of_a_connection() -> None:
    async with bench_of() as bench:
        stream = await bench.up()
        stream.take()
        bench.client.check_connection()
        bench.client.check_connection({"192.0.2.1", "127.0.0.1"})
        assert len(stream.take(9)) == 1
        following = bench.dialer.plan()
        await bench.clock.advance(0.6)
        assert stream.aborted
        assert bench.client.is_connected
        following.answer_ping()
        await settle()
        third = bench.dialer.plan()
        bench.client.check_connection({"192.0.2.9"})
        await settle()
        assert following.aborted
        assert bench.client.is_connected
        assert [frame[0] for frame in third.written] == [1, 9]


async def test_check_ends_the_wait_for_the_next_attempt() -> None:
    async with bench_of() as bench:
        bench.client.check_connection()
        bench.client.start()
        await bench.clock.advance(60)
        count = len(bench.dialer.requests)
        bench.client.check_connection()
        await settle()
        assert len(bench.dialer.requests) == count + 1
        assert not bench.client.is_connected
        bench.dialer.plan()
        bench.client.check_connection()
        await settle()
        assert bench.client.is_connected


async def test_check_after_a_failed_attempt_also_with_addresses() -> None:
    """The network comes and goes while the relay is not there: as on a train."""
    async with bench_of() as bench:
        bench.client.start()
        await bench.clock.advance(60)
        count = len(bench.dialer.requests)
        bench.dialer.plan()
        bench.client.check_connection({"192.0.2.1"})
        await settle()
        assert len(bench.dialer.requests) == count + 1
        assert bench.client.is_connected


async def test_check_begins_an_attempt_again_that_is_under_way() -> None:
    async with bench_of() as bench:
        bench.dialer.hangs = True
        bench.client.start()
        await settle()
        bench.client.check_connection()
        await settle()
        assert len(bench.dialer.requests) == 1
        for count in (2, 3):
            bench.client.check_connection({"192.0.2.1"})
            await settle()
            assert len(bench.dialer.requests) == count
        bench.dialer.hangs = False
        bench.dialer.plan()
        bench.client.check_connection({"192.0.2.1"})
        await settle()
        assert bench.client.is_connected
        assert bench.client.stats.conns_failed == 3


async def test_close_during_dial_handshake_backoff_and_before_the_first_step() -> None:
    async with bench_of() as bench:
        bench.dialer.hangs = True
        bench.client.start()
        await settle()
    assert bench.dialer.cancelled == 1
    async with bench_of() as bench:
        stream = FakeStream()
        bench.dialer.outcomes.append(stream)
        bench.client.start()
        await settle()
    assert stream.closed == 0.0
    async with bench_of() as bench:
        bench.client.start()
        await bench.clock.advance(3)
    async with bench_of() as bench:
        bench.client.start()
    assert bench.client.status.closed
    async with bench_of() as bench:
        pass
    assert bench.client.status.closed


async def test_close_can_be_cancelled_and_repeated() -> None:
    async with bench_of() as bench:
        stream = await bench.up()
        released = asyncio.Event()

        async def slow_close(linger: float) -> None:
            await released.wait()

        stream.close = slow_close  # type: ignore[method-assign]
        closing = asyncio.create_task(bench.client.close())
        await settle()
        closing.cancel()
        await asyncio.wait((closing,))
        assert closing.cancelled()
        released.set()
        await bench.client.close()


async def test_a_callback_that_raises_ends_the_client(caplog: pytest.LogCaptureFixture) -> None:
    def bad(*_args: object) -> None:
        raise RuntimeError("boom")

    async with bench_of(on_datagrams=bad) as bench:
        stream = await bench.up()
        stream.feed(datagram(b"x"))
        await settle()
        assert bench.client.closed
        assert (bench.state, bench.error) == (RelayState.DISCONNECTED, "internal error: boom")
        assert stream.closed is not None
    assert "boom" in caplog.text


async def test_async_with() -> None:
    dialer = FakeDialer()
    stream = dialer.plan()
    client = RelayClient(
        RelayConfig(url=URL), KEY, on_datagrams=lambda *_: None, dialer=dialer, home=True
    )
    async with client:
        await client.connected()
        assert client.url == URL
    assert stream.closed is not None
    assert stream.closed > 2


async def test_planned_failure_text_is_shown() -> None:
    async with bench_of() as bench:
        bench.dialer.outcomes.append(RelayDialError("no such host"))
        bench.client.start()
        await settle()
        assert bench.error == "no such host"


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield
