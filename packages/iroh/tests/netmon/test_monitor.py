"""The monitor in virtual time: debounce, polling, sleep, and what it tells whom."""

import asyncio
import errno
import logging
import socket
import sys

import pytest

from iroh.netmon import NetworkChange, NetworkMonitor, NetworkState, read_network
from iroh.netmon.linux import LinuxEvents, read_linux
from iroh.netmon.portable import read_portable

from .fakes import FakePlatform, FakeTimers
from .test_netlink import RECORDED
from .test_state import BASE, interface, state

OTHER = state(interface("198.51.100.9"))
MINOR = state(interface("192.0.2.5", "fe80::6"))


class Watched:
    def __init__(self, deaf: bool = False) -> None:
        self.timers = FakeTimers()
        self.platform = FakePlatform(self.timers, BASE, deaf)
        self.monitor = NetworkMonitor(self.platform, self.timers)
        self.changes: list[NetworkChange] = []
        self.unsubscribe = self.monitor.subscribe(self.changes.append)
        self.monitor.start()

    def becomes(self, state: NetworkState) -> None:
        self.platform.state = state
        self.platform.event()


@pytest.fixture
def watched():
    watched = Watched()
    yield watched
    watched.monitor.stop()
    assert not watched.timers.pending()
    assert not watched.platform.listening


def test_a_change_is_told_after_a_quarter_second_of_quiet(watched) -> None:
    watched.becomes(OTHER)
    watched.timers.advance(0.2)
    assert not watched.changes
    watched.timers.advance(0.1)
    assert watched.changes == [NetworkChange(True, OTHER, BASE)]
    assert watched.monitor.state == OTHER
    watched.becomes(OTHER)
    watched.timers.advance(10)
    assert len(watched.changes) == 1  # an event without a difference


def test_minor_changes_say_so(watched) -> None:
    watched.becomes(MINOR)
    watched.timers.advance(1)
    assert [change.major for change in watched.changes] == [False]


def test_a_flapping_interface_costs_a_look_a_second(watched) -> None:
    looks = watched.monitor.looks
    for step in range(1000):  # ten seconds of an event every 10 ms
        watched.becomes(OTHER if step % 2 else BASE)
        watched.timers.advance(0.01)
    assert 9 <= watched.monitor.looks - looks <= 11
    assert len(watched.changes) <= 11


def test_what_happened_before_start_is_told() -> None:
    timers = FakeTimers()
    platform = FakePlatform(timers, BASE)
    monitor = NetworkMonitor(platform, timers)
    changes: list[NetworkChange] = []
    monitor.subscribe(changes.append)
    platform.state = OTHER
    monitor.start()
    monitor.start()
    assert [change.state for change in changes] == [OTHER]
    assert platform.listening == 1
    monitor.stop()


def test_without_events_it_polls() -> None:
    watched = Watched(deaf=True)
    watched.platform.state = OTHER
    watched.timers.advance(4.9)
    assert not watched.changes
    watched.timers.advance(0.2)
    assert watched.changes
    watched.monitor.stop()


def test_a_source_of_events_that_ended_is_opened_anew(watched) -> None:
    watched.platform.alive = False
    watched.timers.advance(15.1)
    assert watched.platform.alive
    assert watched.platform.listening == 1


def test_waking_up_is_a_major_change(watched) -> None:
    watched.timers.advance(60)
    assert not watched.changes
    watched.platform.slept += 3600
    watched.timers.advance(15)
    (change,) = watched.changes
    assert change.major
    assert change.state.resumes == 1
    watched.becomes(BASE)
    watched.timers.advance(1)
    assert len(watched.changes) == 1


def test_a_pause_below_half_an_interval_is_no_sleep(watched) -> None:
    watched.platform.slept += 7
    watched.timers.advance(15)
    assert not watched.changes


def test_a_rescan_looks_now(watched) -> None:
    watched.platform.state = OTHER
    assert watched.monitor.rescan() == OTHER
    assert len(watched.changes) == 1
    watched.platform.state = MINOR
    assert watched.monitor.peek() == MINOR
    assert len(watched.changes) == 1


def test_a_network_that_cannot_be_read_stays_as_it_was(watched, caplog) -> None:
    watched.platform.broken = True
    with caplog.at_level(logging.WARNING):
        assert watched.monitor.rescan() == BASE
    assert "cannot be read" in caplog.text
    watched.platform.broken = False
    watched.platform.state = OTHER
    assert watched.monitor.rescan() == OTHER


def test_a_listener_that_fails_disturbs_no_other(watched, caplog) -> None:
    def fail(_change: NetworkChange) -> None:
        raise RuntimeError("mine")

    watched.unsubscribe()
    watched.monitor.subscribe(fail)
    watched.monitor.subscribe(watched.changes.append)
    watched.platform.state = OTHER
    watched.monitor.rescan()
    assert len(watched.changes) == 1
    assert "a listener failed" in caplog.text


def test_unsubscribing(watched) -> None:
    watched.unsubscribe()
    watched.unsubscribe()
    watched.platform.state = OTHER
    watched.monitor.rescan()
    assert not watched.changes


# -- this machine ------------------------------------------------------------------------------


def test_the_portable_view_fits() -> None:
    portable, best = read_portable(), read_network()
    assert set(portable.regular_addresses) <= best.local_addresses
    assert "127.0.0.1" in portable.local_addresses


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
def test_this_machine_by_rtnetlink() -> None:
    found = read_linux()
    assert found == read_linux()
    assert any(interface.is_loopback for interface in found.interfaces)


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
async def test_events_of_this_machine_can_be_heard() -> None:
    monitor = NetworkMonitor()
    monitor.start()
    assert monitor.rescan() == monitor.state
    await monitor.close()
    await monitor.close()


class ScriptedSocket:
    """Gives what a test wants, and has a descriptor that a loop can watch."""

    def __init__(self, *answers) -> None:
        self._end, self._other = socket.socketpair()
        self.answers = list(answers)
        self._other.send(b"!")
        self.fileno = self._end.fileno
        self.read = asyncio.Event()

    def recvfrom(self, _size: int):
        if not self.answers:
            raise BlockingIOError
        answer = self.answers.pop(0)
        if not self.answers:
            self.read.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self._end.close()
        self._other.close()


KERNEL, OTHER_PROCESS = (0, 1), (4711, 0)
LINK = bytes.fromhex(RECORDED["events"]["link added"][0])
NOISE = bytes.fromhex(RECORDED["events"]["link up"][2])


@pytest.mark.parametrize(
    ("answers", "heard", "alive"),
    [
        ([(LINK, KERNEL)], True, True),
        ([(LINK, KERNEL)] * 200, True, True),
        ([(NOISE, KERNEL)], False, True),
        ([(LINK, OTHER_PROCESS)], False, True),
        ([(b"\1\2\3", KERNEL)], True, True),
        ([OSError(errno.ENOBUFS, "too much")], True, True),
        ([OSError(errno.EBADF, "broken")], True, False),
    ],
)
async def test_what_the_event_socket_brings(answers, heard: bool, alive: bool) -> None:
    events: list[None] = []
    sock = ScriptedSocket(*answers)
    listener = LinuxEvents(lambda: events.append(None), sock)
    await sock.read.wait()
    assert bool(events) == heard
    assert listener.alive == alive
    listener.close()
