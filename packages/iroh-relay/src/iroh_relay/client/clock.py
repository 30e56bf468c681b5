"""Time as an argument: what the relay client needs of a clock, and the one of the event loop.

Everything in this package that waits or measures does it through a `Clock`, so that a test can let
a minute pass in no time. Only the number of loop turns is real.

The loop is the user's, too, and may be blocked by a callback for seconds. Then all timers are late
together, and what came meanwhile waits unread in the sockets: a deadline that finds itself late
does not count that time.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

__all__ = ["Clock", "LoopClock", "TimerHandle", "deadline", "sleep"]


class TimerHandle(Protocol):
    """A call that is due later; `asyncio.TimerHandle` is one."""

    def cancel(self) -> None:
        """Make sure the call does not happen. Harmless when it did."""
        ...


class Clock(Protocol):
    """A monotonic clock in seconds, and timers that follow it."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call `callback` once, `delay` seconds from now, from the event loop."""
        ...


class LoopClock:
    """The clock of the running event loop."""

    __slots__ = ("_loop", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now: Callable[[], float] = loop.time

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """As `Clock.call_later`."""
        return self._loop.call_later(delay, callback)


async def sleep(clock: Clock, delay: float, wake: asyncio.Event | None = None) -> None:
    """Wait `delay` seconds of `clock`, or until `wake` is set. Cancel-safe."""
    done = wake or asyncio.Event()
    timer = clock.call_later(delay, done.set)
    try:
        await done.wait()
    finally:
        timer.cancel()


#: Seconds by which a timer may be late in a loop that is merely busy.
LATE = 0.1
#: Seconds in which a loop that stood still catches up with its sockets.
CATCH_UP = 0.5


class deadline:
    """`async with deadline(clock, seconds)`: as `asyncio.timeout`, but on a `Clock`.

    Raises `TimeoutError` from the block when the time is over. If the loop stood still meanwhile,
    it first gets `CATCH_UP` seconds to read what has come. Cancellation passes through.
    """

    __slots__ = ("_clock", "_due", "_seconds", "_timeout", "_timer")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._timer: TimerHandle | None = None
        self._due = 0.0

    async def __aenter__(self) -> "deadline":
        await self._timeout.__aenter__()
        self._wait(self._seconds)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(exc_type, exc, traceback)

    def _wait(self, seconds: float) -> None:
        self._due = self._clock.now() + seconds
        self._timer = self._clock.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self._clock.now() > self._due + LATE:
            self._wait(CATCH_UP)
            return
        self._timeout.reschedule(asyncio.get_running_loop().time())
