"""An event loop whose time jumps to the next timer as soon as nobody has anything to do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

MAX_SECONDS = 3600.0


class _Selector(selectors.SelectSelector):
    """Instead of waiting, lets the loop's clock go on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.end = self.now + MAX_SECONDS

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits for somebody: nothing will ever happen")
        self.now += max(timeout, 0.0)
        if self.now > self.end:
            raise RuntimeError("an hour of virtual time has passed")
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Reads no clock and waits for nothing."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
