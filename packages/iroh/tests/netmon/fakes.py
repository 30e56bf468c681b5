"""A clock and a platform for monitors, both in the test's hands."""

from collections.abc import Callable

from iroh.netmon import NetworkState


class FakeTimer:
    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at, self.callback, self.cancelled = at, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeTimers:
    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = [t for t in self.timers if t.at <= end and not t.cancelled]
            if not due:
                break
            timer = min(due, key=lambda t: t.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.callback()
        self.now = end

    def pending(self) -> int:
        return sum(not timer.cancelled for timer in self.timers)


class FakePlatform:
    """`state` is what the next look sees; `event()` is what the system would say."""

    def __init__(self, timers: FakeTimers, state: NetworkState, deaf: bool = False) -> None:
        self.timers, self.state, self.deaf = timers, state, deaf
        self.slept = 0.0
        self.broken = False
        self.alive = True
        self.listening = 0
        self.sock = None
        self.event: Callable[[], None] = lambda: None

    def read(self) -> NetworkState:
        if self.broken:
            raise OSError("broken")
        return self.state

    def listen(self, on_event: Callable[[], None]) -> "FakePlatform":
        if self.deaf:
            raise OSError("deaf")
        self.event = on_event
        self.alive = True
        self.listening += 1
        return self

    def close(self) -> None:
        self.listening -= 1

    def wall_clock(self) -> float:
        return self.timers.now + self.slept
