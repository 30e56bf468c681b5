"""When to ask a silent client for a sign of life, and when to give it up. No clock, no timer.

    silence of interval + jitter   ->  a Ping goes out, a new jitter is drawn
    any frame of the client        ->  the silence starts over (a pong is still owed)
    its pong                       ->  nothing is owed
    pong not there after 5 s       ->  the connection is dead
    we come too late to see it     ->  our own loop stood still: it is asked again
    it is not read from            ->  it must be alive to send so much: nothing is owed

Whoever drives this calls `poll` at `next_wake()` and whenever else it likes.
Source: iroh-relay `server/client.rs` (`run_inner`), `ping_tracker.rs`. Times are seconds.
Rust gives a client that has answered before only three round trips, at least 0.5 s; but that ends
clients whose program was busy for a moment, and a dead one costs us nothing.
"""

import random
from collections.abc import Callable
from typing import Final, Protocol

from ..protos.ping import MAX_PING_TIMEOUT, PingTracker

__all__ = ["Clock", "Keepalive", "Timer", "default_jitter"]

_MIN_JITTER: Final = 1
_MAX_JITTER: Final = 5
_LATE: Final = 0.1
"""Seconds by which a timer may be late in a loop that is merely busy."""


class Timer(Protocol):
    """A call that is yet to come."""

    def cancel(self) -> None:
        """Make it not come."""
        ...


class Clock(Protocol):
    """Time as the keepalive's driver needs it; an asyncio event loop is one."""

    def time(self) -> float:
        """Seconds that only grow."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call back at that time."""
        ...


def default_jitter() -> float:
    """1 to 5 whole seconds, as upstream draws them."""
    return float(random.randint(_MIN_JITTER, _MAX_JITTER))


class Keepalive:
    """The sign-of-life clock of one connection."""

    __slots__ = ("_interval", "_jitter", "_period", "_pings", "dead", "last_received")

    def __init__(
        self,
        now: float,
        interval: float,
        jitter: Callable[[], float] = default_jitter,
        pings: PingTracker | None = None,
    ) -> None:
        self._interval = interval
        self._jitter = jitter
        self._pings = PingTracker() if pings is None else pings
        self._period = interval + jitter()
        self.last_received: float = now
        """When the client was last heard; the reader writes it for every frame."""
        self.dead: bool = False
        """Set by `poll` when a pong is overdue."""

    def pong_received(self, data: bytes, now: float) -> None:
        """Take a pong of the client."""
        self._pings.pong_received(data, now)

    def not_reading(self, until: float) -> None:
        """The client is not read from until then, so its silence says nothing."""
        self.last_received = max(self.last_received, until)
        self._pings.forgive()

    def next_wake(self) -> float:
        """When `poll` has something to do, unless a frame arrives before."""
        due = self.last_received + self._period
        deadline = self._pings.deadline
        return due if deadline is None else min(due, deadline)

    def poll(self, now: float) -> bytes | None:
        """The 8 bytes of a Ping to send now, or None. Sets `dead` if a pong is overdue."""
        deadline = self._pings.deadline
        if deadline is not None and now > deadline + _LATE:
            self._pings.forgive()
        if self._pings.timed_out(now):
            self.dead = True
            return None
        if now < self.last_received + self._period:
            return None
        self.last_received = now
        self._period = self._interval + self._jitter()
        return self._pings.new_ping(now, MAX_PING_TIMEOUT)
