"""Stand-ins for the parts around the one under test."""

import asyncio
from collections.abc import Callable

from iroh_base.keys import PublicKey
from iroh_relay.protos.forward import Readdresser

from .peer import PATIENCE, secret


class FakeStream:
    """A `Stream` in memory: put messages into `incoming`, find those sent in `sent`.

    While `blocked`, nothing can be written: `write_now` says no and `write` waits.
    """

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sent: list[bytes] = []
        self.closed = asyncio.Event()
        self.aborted = False
        self.error: Exception | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._news = asyncio.Event()
        self._reading = False

    def block(self) -> None:
        """Become a client that does not read."""
        self._free.clear()

    def unblock(self) -> None:
        """Read again."""
        self._free.set()

    async def read(self) -> bytes | None:
        """The next message put in; asking for it says that the one before is dealt with."""
        if self._reading:
            self.incoming.task_done()
        self._reading = True
        return await self.incoming.get()

    async def feed(self, frame: bytes) -> None:
        """Put in a message and return when it has been dealt with."""
        self.incoming.put_nowait(frame)
        async with asyncio.timeout(PATIENCE):
            await self.incoming.join()

    async def sent_count(self, count: int) -> list[bytes]:
        """All that was sent, once it is this much."""
        async with asyncio.timeout(PATIENCE):
            while len(self.sent) < count:
                self._news.clear()
                await self._news.wait()
        return self.sent

    def _take(self, frame: bytes) -> None:
        self.sent.append(frame)
        self._news.set()

    def write_now(self, frame: bytes) -> bool:
        """Take the frame unless blocked or closed."""
        if not self._free.is_set() or self.closed.is_set():
            return False
        self._take(frame)
        return True

    async def write(self, frame: bytes) -> None:
        """Take the frame when unblocked."""
        if self.error is not None:
            raise self.error
        await self._free.wait()
        self._take(frame)

    def close(self) -> None:
        """End the connection; the reader sees it."""
        if not self.closed.is_set():
            self.closed.set()
            self.incoming.put_nowait(None)

    def abort(self) -> None:
        """End the connection."""
        self.aborted = True
        self.close()


class FakeClient:
    """A `Client` of the registry that writes down what it is told."""

    def __init__(self, seed: int, connection_id: int = 0) -> None:
        self.endpoint_id: PublicKey = secret(seed).public()
        self.connection_id = connection_id
        self.readdress = Readdresser(bytes(self.endpoint_id)).readdress
        self.packets: list[tuple[bytes, int]] = []
        self.statuses: list[int] = []
        self.control: list[bytes] = []
        self.stopped = False
        self.full = False
        self._news = asyncio.Event()

    async def packet_count(self, count: int) -> list[tuple[bytes, int]]:
        """All packets, once there are this many."""
        async with asyncio.timeout(PATIENCE):
            while len(self.packets) < count:
                self._news.clear()
                await self._news.wait()
        return self.packets

    def send_packet(self, frame: bytes, contents: int) -> bool:
        """Write it down unless full."""
        if not self.full:
            self.packets.append((frame, contents))
            self._news.set()
        return not self.full

    def send_status(self, code: int) -> None:
        """Write it down."""
        self.statuses.append(code)

    def send_control(self, frame: bytes) -> bool:
        """Write it down unless full."""
        if not self.full:
            self.control.append(frame)
        return not self.full

    def start_shutdown(self) -> None:
        """Remember."""
        self.stopped = True


class ManualClock:
    """A `Clock` that stands still until told to advance."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, ManualTimer]] = []

    def time(self) -> float:
        """The time."""
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> "ManualTimer":
        """Remember the call."""
        timer = ManualTimer(callback)
        self._timers.append((when, timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass and make the calls that fall due, in order."""
        end = self.now + seconds
        while due := [entry for entry in self._timers if entry[0] <= end]:
            entry = min(due, key=lambda one: one[0])
            self._timers.remove(entry)
            self.now = max(self.now, entry[0])
            entry[1].fire()
        self.now = end

    def next(self) -> None:
        """Let time pass until the next call has been made."""
        self.advance(min(when for when, _ in self._timers) - self.now)

    @property
    def pending(self) -> int:
        """Calls yet to come."""
        return sum(timer.callback is not None for _, timer in self._timers)


class ManualTimer:
    """A call that a `ManualClock` will make."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Forget it."""
        self.callback = None

    def fire(self) -> None:
        """Make it."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()
