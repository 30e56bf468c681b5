"""One thing to do at one time: a timer that is set, moved forward and cancelled."""

from collections.abc import Callable
from typing import Protocol


class Handle(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Call it never."""


class Clock(Protocol):
    """The part of an event loop that keeps the time; tests bring their own."""

    def time(self) -> float:
        """Return the time, seconds."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        """Call back at that time."""


class Alarm:
    """Calls `act` once at the time it was last set to."""

    __slots__ = ("_act", "_clock", "_handle", "at")

    def __init__(self, clock: Clock, act: Callable[[], None]) -> None:
        self._clock = clock
        self._act = act
        self._handle: Handle | None = None
        self.at: float | None = None
        """When it is due; None while it is not set."""

    def set(self, at: float) -> None:
        """Be due at that time, whatever was set before."""
        self.cancel()
        self.at = at
        self._handle = self._clock.call_at(at, self._due)

    def set_before(self, at: float) -> None:
        """Be due at that time, or earlier if it was."""
        if self.at is None or at < self.at:
            self.set(at)

    def cancel(self) -> None:
        """Be not due any more."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self.at = None

    def _due(self) -> None:
        self._handle = self.at = None
        self._act()
