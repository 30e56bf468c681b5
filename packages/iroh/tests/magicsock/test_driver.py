"""The drivers over an engine that fails on command."""

import asyncio
import gc
import threading

import pytest

from iroh.errors import EndpointClosedError
from iroh.magicsock import host as module
from iroh.magicsock.host import EngineDriver
from iroh.quic import events as ev
from iroh.quic.api import Received, ServerConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.errors import ConnectionGone


class Connection:
    """An engine's connection: raises `bug` from any verb once it is set."""

    def __init__(self) -> None:
        self.bug: Exception | None = None
        self.pending: list = []
        self.due: float | None = None
        self.timeouts = 0
        self.closed: tuple | None = None
        self.pumped = 0
        self.pressing = False

    def _maybe(self) -> None:
        if self.bug is not None:
            raise self.bug

    def events(self) -> list:
        self._maybe()
        taken, self.pending = self.pending, []
        return taken

    def transmit(self, _now) -> list:
        self.pumped += 1
        return []

    def is_pressing(self, _now) -> bool:
        return self.pressing

    def next_timeout(self):
        return self.due

    def handle_timeout(self, _now) -> None:
        self.timeouts += 1
        self.due = None
        self._maybe()

    def open_stream(self, _bidirectional):
        return None

    def datagram_send_buffer_space(self) -> int:
        return 1000

    def close(self, code, reason, _now) -> None:
        self.closed = (code, reason)
        self.pending += [ev.Closed("closed"), ev.Drained()]


class Incoming:
    def __init__(self) -> None:
        self.refused = False
        self.remote = "somewhere"

    def accept(self, _config, _now) -> Connection:
        return Connection()

    def refuse(self, _now) -> None:
        self.refused = True


class Engine:
    def __init__(self) -> None:
        self.received: Received | Exception = Received([], [])
        self.forgotten: list = []

    def receive(self, _batches, _now) -> Received:
        if isinstance(self.received, Exception):
            raise self.received
        return self.received

    def connect(self, *_args) -> Connection:
        return Connection()

    def transmit(self) -> list:
        return []

    def set_accepting(self, _accepting) -> None: ...

    def forget(self, connection) -> None:
        self.forgotten.append(connection)


@pytest.fixture
async def host():
    host = EngineDriver(Engine(), lambda _batches: None)
    yield host
    host.abandon()


def dial(host: EngineDriver):
    return host.connect("there", b"peer", [b"alpn"])


async def test_a_bug_in_the_engine_ends_its_connection_and_nobody_hangs(host, caplog) -> None:
    driver = dial(host)
    waiting = [
        asyncio.create_task(driver.open_stream(True)),
        asyncio.create_task(driver.inbox.accept_stream(True)),
    ]
    await asyncio.sleep(0)
    driver.connection.bug = RuntimeError("a bug")
    driver.pump()
    for task in waiting:
        with pytest.raises(ConnectionGone, match="internal error"):
            await task
    assert "a bug" in caplog.text
    assert host.engine.forgotten == [driver.connection]
    driver.pump()  # forgotten: does nothing


async def test_a_bug_when_a_timer_fires_ends_the_connection_too(host) -> None:
    driver = dial(host)
    driver.connection.due = host.now()
    driver.connection.bug = RuntimeError("a bug")
    driver._on_timer()
    assert driver.connection.timeouts == 1
    assert driver.inbox.close_reason is not None


async def test_a_bug_when_closing_keeps_nobody_from_being_closed(host) -> None:
    drivers = [dial(host) for _ in range(3)]
    drivers[0].connection.close = None  # calling it raises TypeError
    host.shut()
    assert all(driver.inbox.close_reason is not None for driver in drivers)
    assert drivers[2].connection.closed == (0, b"")


async def test_a_bug_on_reception_does_not_reach_the_transport(host, caplog) -> None:
    dial(host)
    host.engine.received = RuntimeError("a bug")
    host.on_batches([Datagrams("there", b"data")])
    assert host.failures == 1
    assert "a bug" in caplog.text


async def test_attempts_beyond_the_bound_are_refused_oldest_first(host, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_INCOMING", 3)
    flood = [Incoming() for _ in range(10)]
    host.engine.received = Received([], flood)
    host.on_batches([Datagrams("there", b"data")])
    assert [incoming.refused for incoming in flood] == [True] * 7 + [False] * 3
    assert host.incoming_refused == 7
    assert [await host.next_incoming() for _ in range(3)] == flood[7:]


async def test_shut_refuses_what_waits_and_what_comes(host) -> None:
    before, after = Incoming(), Incoming()
    driver = dial(host)
    host.engine.received = Received([], [before])
    host.on_batches([Datagrams("there", b"data")])
    host.shut()
    assert before.refused
    assert driver.connection.closed == (0, b"")
    host._enqueue(after, 0.0)
    assert after.refused
    assert await host.next_incoming() is None
    with pytest.raises(EndpointClosedError):
        dial(host)
    with pytest.raises(EndpointClosedError):
        host.accept(Incoming(), ServerConfig([]))


async def test_one_write_a_turn_leaves_at_once_and_several_leave_together(host) -> None:
    driver = dial(host)
    await asyncio.sleep(0)
    engine = driver.connection
    engine.pumped = 0
    driver.push()
    assert engine.pumped == 1
    driver.push()  # a second before anything arrived: this application has more to say
    driver.push()
    assert engine.pumped == 1
    await asyncio.sleep(0)
    assert engine.pumped == 2
    driver.push()
    assert engine.pumped == 2
    driver.push()
    await asyncio.sleep(0)
    assert engine.pumped == 3
    driver.push()  # the only one of its turn
    await asyncio.sleep(0)
    assert engine.pumped == 4
    driver.pump()  # something arrived
    driver.push()
    assert engine.pumped == 6
    driver.pump()
    driver.push()
    assert engine.pumped == 8


async def test_who_waits_goes_first_and_one_pump_sends_the_answer(host) -> None:
    driver = dial(host)
    connection = driver.connection
    connection.pending = [ev.Connected(b"alpn", b"peer")]
    driver.pump()
    host.engine.received = Received([connection], [])

    async def answer() -> int:
        await driver.inbox.waiters.wait(("read", 0))
        driver.push()
        return connection.pumped

    def arrive(events) -> int:
        """Give how often it was pumped by the arrival itself."""
        connection.pumped, connection.pending = 0, events
        host.on_batches([Datagrams("there", b"x")])
        return connection.pumped

    answering = asyncio.create_task(answer())
    await asyncio.sleep(0)
    assert arrive([ev.StreamReadable(0)]) == 0
    assert await answering == 0
    await asyncio.sleep(0)
    assert connection.pumped == 1  # for the arrival and the answer together
    assert arrive([ev.StreamReadable(0)]) == 1  # nobody waits
    connection.pressing = True
    answering = asyncio.create_task(answer())
    await asyncio.sleep(0)
    assert arrive([ev.StreamReadable(0)]) == 1
    await answering


async def test_other_threads_are_refused(host) -> None:
    driver = dial(host)
    await asyncio.sleep(0)
    for act in (driver.schedule, driver.push, driver.close_dropped, lambda: dial(host)):
        with pytest.raises(RuntimeError, match="thread"):
            await asyncio.to_thread(act)


async def test_call_from_anywhere(host) -> None:
    heard = asyncio.Event()
    host.call_from_anywhere(heard.set)
    await heard.wait()
    heard.clear()
    thread = threading.Thread(target=host.call_from_anywhere, args=(heard.set,))
    thread.start()
    await heard.wait()
    thread.join()


def test_call_from_anywhere_after_the_loop() -> None:
    async def make() -> EngineDriver:
        return EngineDriver(Engine(), lambda _batches: None)

    host = asyncio.run(make())
    host.call_from_anywhere(print)
    gc.collect()
