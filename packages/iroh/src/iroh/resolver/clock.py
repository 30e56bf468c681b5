"""The clock of everything that waits: real time by default, a test's own time in tests."""

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def time_us(self) -> int:
        """Microseconds since the Unix epoch."""
        ...

    async def sleep(self, delay: float) -> None:
        """Return after `delay` seconds. Cancellation ends the sleep."""
        ...


class SystemClock:
    """The time of this machine."""

    def monotonic(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    def time_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return time.time_ns() // 1000

    async def sleep(self, delay: float) -> None:
        """Sleep in the running event loop. Cancelling it ends it."""
        await asyncio.sleep(delay)
