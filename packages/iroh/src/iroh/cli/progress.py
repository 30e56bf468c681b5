"""A progress bar on a terminal; with --json an event a second; otherwise nothing.

receiving  45% [=========>           ] 135.0 MB of 300.0 MB, 88.1 MB/s, 2 s left
"""

import sys
import time
from collections.abc import Callable

from iroh.cli.console import Console, size_text

__all__ = ["Progress"]

_WIDTH = 24
_ON_TERMINAL, _AS_EVENT = 0.1, 1.0
"""Seconds between two bars, and between two events."""


class Progress:
    """Counts bytes towards a total. `add` may be called on any thread."""

    def __init__(
        self,
        console: Console,
        verb: str,
        total: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.count: int = 0
        self.total = total
        self._console = console
        self._verb = verb
        self._clock = clock
        self._start = self._last = clock()
        self._before = 0  # what was there when the clock was started
        self._drawn = False
        self._on_terminal = sys.stderr.isatty() and not console.quiet and not console.as_json

    def begin(self) -> None:
        """Start the clock: what is counted so far took no time."""
        self._start, self._before = self._clock(), self.count

    def add(self, count: int) -> None:
        """Count bytes, and show it now and then."""
        self.count += count
        now = self._clock()
        if now - self._last >= (_ON_TERMINAL if self._on_terminal else _AS_EVENT):
            self._last = now
            self._show()

    def rate(self) -> float:
        """Bytes a second since `begin`."""
        return (self.count - self._before) / max(self._clock() - self._start, 1e-3)

    def end(self) -> None:
        """Take the bar away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False

    def _show(self) -> None:
        if self._on_terminal:
            sys.stderr.write(f"\r{self.text()}\x1b[K")
            sys.stderr.flush()
            self._drawn = True
        elif self._console.as_json:
            self._console.tell("progress", "", bytes=self.count, total=self.total)

    def text(self) -> str:
        """The bar."""
        part = min(1.0, self.count / self.total) if self.total else 1.0
        filled = int(part * _WIDTH)
        bar = "=" * filled + (">" if filled < _WIDTH else "")
        said = f"{self._verb} {part:4.0%} [{bar:{_WIDTH}}] {size_text(self.count)}"
        rate = self.rate()
        said += f" of {size_text(self.total)}, {size_text(rate)}/s"
        if rate > 0 and self.count < self.total:
            said += f", {(self.total - self.count) / rate:.0f} s left"
        return said
