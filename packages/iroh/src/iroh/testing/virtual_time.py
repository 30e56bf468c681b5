"""An event loop whose time jumps to the next timer as soon as nobody has anything to do.

    def test_an_hour():
        run_in_virtual_time(story())    # takes milliseconds, and the same ones each time

For programs that do no input or output: nobody waits for a socket or a thread here.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualTimeLoop", "run_in_virtual_time"]

T = TypeVar("T")
MAX_SECONDS = 3600.0
START = 1000.0
"""Seconds; not 0, which code might take for "never"."""


class _Selector(selectors.SelectSelector):
    """Instead of waiting, lets the loop's clock go on."""

    def __init__(self, max_seconds: float) -> None:
        super().__init__()
        self.now = START
        self.end = self.now + max_seconds

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits for somebody: nothing will ever happen")
        self.now += max(timeout, 0.0)
        if self.now > self.end:
            raise RuntimeError("more virtual time has passed than is allowed")
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Reads no clock and waits for nothing.

    max_seconds: after so many virtual seconds it raises RuntimeError, and also as soon as nobody
    has anything to wait for any more.
    """

    def __init__(self, max_seconds: float = MAX_SECONDS) -> None:
        self._virtual = _Selector(max_seconds)
        super().__init__(self._virtual)

    def time(self) -> float:
        """Seconds, virtual ones."""
        return self._virtual.now


def run_in_virtual_time(main: Coroutine[Any, Any, T], *, max_seconds: float = MAX_SECONDS) -> T:
    """Run a coroutine to its end in virtual time; as `asyncio.run` otherwise."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(max_seconds)) as runner:
        return runner.run(main)
