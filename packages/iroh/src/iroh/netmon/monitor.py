"""Keeps an eye on the machine's network and tells when it changed (netwatch `netmon/actor.rs`).

    events of the operating system   then 250 ms of quiet, 1 s at most    DEBOUNCE, MAX_DELAY
    without events                   a look every 5 s                     POLL_INTERVAL
    clock                            every 15 s; more than 22.5 s passed: the machine slept

Each look reads everything and compares: only a difference is told, so that a flapping interface
makes one look per second at most. A reader that fails leaves the last known state in place.
"""

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from .linux import LinuxEvents, read_linux
from .portable import read_portable
from .state import NetworkChange, NetworkState

__all__ = ["NetworkMonitor", "Platform", "Timers", "read_network", "this_platform"]

logger: logging.Logger = logging.getLogger(__name__)

DEBOUNCE = 0.25  # seconds (netwatch DEBOUNCE)
MAX_DELAY = 1.0  # seconds that ever new events can put a look off; upstream: for ever
POLL_INTERVAL = 5.0  # seconds
CLOCK_INTERVAL = 15.0  # seconds (netwatch POLL_WALL_TIME_INTERVAL)
SLEPT = 1.5 * CLOCK_INTERVAL  # seconds between two looks at the clock that only sleep explains


class TimerHandle(Protocol):
    """A timer that can be taken back."""

    def cancel(self) -> None:
        """Do not call."""


class Timers(Protocol):
    """What the monitor needs of an event loop's time."""

    def time(self) -> float:
        """Seconds."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object], /) -> TimerHandle:
        """Call back once."""
        ...


class Events(Protocol):
    """A source of events that runs until it is closed, or ends by an error of the system."""

    @property
    def alive(self) -> bool:
        """Whether events may still come."""
        ...

    @property
    def sock(self) -> socket.socket | None:
        """What they come by, if it is a socket."""
        ...

    def close(self) -> None:
        """Stop."""


class Platform(Protocol):
    """How an operating system is asked."""

    def read(self) -> NetworkState:
        """Read the present state. Raises OSError."""
        ...

    def listen(self, on_event: Callable[[], None]) -> Events:
        """Call back when something may have changed. Raises OSError where that is impossible."""
        ...

    def wall_clock(self) -> float:
        """Seconds that go on while the machine sleeps."""
        ...


class PortablePlatform:
    """Any operating system; it is looked at now and then."""

    def read(self) -> NetworkState:
        """As `Platform.read`; never fails."""
        return read_portable()

    def listen(self, on_event: Callable[[], None]) -> Events:
        """Always raises OSError."""
        raise OSError("no events of network changes on this platform")

    def wall_clock(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class LinuxPlatform(PortablePlatform):
    """Linux, where rtnetlink is allowed (Android forbids it to applications)."""

    def read(self) -> NetworkState:
        """Read by rtnetlink, else as any system."""
        try:
            return read_linux()
        except OSError as error:
            logger.debug("rtnetlink: %s", error)
            return read_portable()

    def listen(self, on_event: Callable[[], None]) -> Events:
        """Hear from rtnetlink. Raises OSError."""
        return LinuxEvents(on_event)

    def wall_clock(self) -> float:
        """Seconds since the start of the machine, sleep included; nobody sets that clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def this_platform() -> Platform:
    """Return the way to ask this machine."""
    return LinuxPlatform() if sys.platform == "linux" else PortablePlatform()


def read_network() -> NetworkState:
    """Read the network of this machine, now."""
    return this_platform().read()


class NetworkMonitor:
    """Knows the state from the start, and after `start` its changes, on the running loop."""

    def __init__(self, platform: Platform | None = None, timers: Timers | None = None) -> None:
        self._platform = platform or this_platform()
        self._timers = timers
        self._listeners: dict[object, Callable[[NetworkChange], None]] = {}
        self._events: Events | None = None
        self._pending: dict[str, TimerHandle] = {}
        self._dirty_since: float | None = None
        self._last_clock = 0.0
        self._running = False
        self.state: NetworkState = self._platform.read()
        """The network as it was last seen."""
        self.sockets: list[socket.socket] = []
        """What must be closed, at last: a list that is kept true."""
        self.looks: int = 0
        """How often it was looked at since `start`."""

    def start(self) -> None:
        """Watch from now on. A second call does nothing."""
        if self._running:
            return
        self._running = True
        self._clock: Timers = self._timers or asyncio.get_running_loop()
        self._last_clock = self._platform.wall_clock()
        self._later("clock", CLOCK_INTERVAL, self._check_clock)
        self._listen()
        self.rescan()  # whatever happened since the constructor looked

    async def close(self) -> None:
        """Stop watching. Idempotent."""
        self.stop()

    def stop(self) -> None:
        """Stop watching, at once; for an endpoint whose loop is gone, too."""
        self._running = False
        for timer in self._pending.values():
            timer.cancel()
        self._pending.clear()
        self._listeners.clear()
        self._deafen()

    def subscribe(self, listener: Callable[[NetworkChange], None]) -> Callable[[], None]:
        """Call `listener` at each change, from the loop; give what unsubscribes it."""
        key = object()
        self._listeners[key] = listener
        return lambda: self._listeners.pop(key, None) and None

    def rescan(self) -> NetworkState:
        """Look now, tell if there is a change, and give the state."""
        self._cancel("look")
        self._dirty_since = None
        self._look(resumed=False)
        return self.state

    def peek(self) -> NetworkState:
        """Read the state as it is now, and tell nobody. Raises OSError."""
        return self._platform.read()

    def _listen(self) -> None:
        self._deafen()
        try:
            self._events = self._platform.listen(self._event)
            if self._events.sock is not None:
                self.sockets.append(self._events.sock)
        except (OSError, NotImplementedError) as error:
            logger.debug("the network is polled: %s", error)
            self._later("poll", POLL_INTERVAL, self._poll)

    def _deafen(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
            self.sockets.clear()

    # -- timers --------------------------------------------------------------------------------

    def _event(self) -> None:
        now = self._clock.time()
        if self._dirty_since is None:
            self._dirty_since = now
        left = self._dirty_since + MAX_DELAY - now
        self._later("look", max(0.0, min(DEBOUNCE, left)), self.rescan)

    def _poll(self) -> None:
        self._later("poll", POLL_INTERVAL, self._poll)
        self.rescan()

    def _check_clock(self) -> None:
        before, self._last_clock = self._last_clock, self._platform.wall_clock()
        self._later("clock", CLOCK_INTERVAL, self._check_clock)
        if self._events is not None and not self._events.alive:
            self._listen()
        if self._last_clock - before > SLEPT:
            logger.info("the machine slept; looking after connections")
            self._look(resumed=True)

    def _later(self, name: str, delay: float, callback: Callable[[], object]) -> None:
        self._cancel(name)
        if self._running:
            self._pending[name] = self._clock.call_later(delay, callback)

    def _cancel(self, name: str) -> None:
        timer = self._pending.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _look(self, resumed: bool) -> None:
        self.looks += 1
        try:
            state = self._platform.read()
        except OSError as error:
            logger.warning("the network cannot be read: %s", error)
            state = self.state
        previous = self.state
        state = replace(state, resumes=previous.resumes + resumed)
        if state == previous:
            return
        self.state = state
        change = NetworkChange(state.is_major_change_from(previous), state, previous)
        logger.debug("network change (%s): %s", "major" if change.major else "minor", state)
        for listener in list(self._listeners.values()):
            try:
                listener(change)
            except Exception:
                logger.exception("a listener failed at a network change")
