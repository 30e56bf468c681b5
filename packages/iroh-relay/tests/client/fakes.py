"""Stand-ins for the tests of the relay client: a clock, a connection and a dialer in memory."""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable

from iroh_base.keys import SecretKey
from iroh_relay.client.clock import TimerHandle
from iroh_relay.client.errors import RelayDialError, StreamClosedError
from iroh_relay.client.stream import DialRequest
from iroh_relay.protos import Ping, Pong, ProtocolVersion, RelayToClientDatagrams
from iroh_relay.protos.auth import ServerChallenge, ServerConfirmsAuth, ServerDeniesAuth
from iroh_relay.protos.frames import Datagrams

KEY = SecretKey.from_bytes(b"\x2a" * 32)
PEER = SecretKey.from_bytes(b"\x07" * 32).public()
#: More loop turns than anything in the client takes from one event to the last of its effects.
TURNS = 40


async def settle() -> None:
    """Let everything happen that needs no more than turns of the loop."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A clock that stands still until it is told to go."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _Timer]] = []

    def now(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._now + delay, next(self._order), timer))
        return timer

    @property
    def pending(self) -> int:
        """Timers that would still call."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    async def advance(self, seconds: float) -> None:
        """Let time pass, one timer after the other, with all that follows from each."""
        await settle()
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
                await settle()
        self._now = end
        await settle()

    def jump(self, seconds: float) -> None:
        """Let time pass as in a blocked loop: nothing runs, then all that is due, late."""
        self._now += seconds
        while self._timers and self._timers[0][0] <= self._now:
            _, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()


class FakeStream:
    """A connection in memory; the test plays the relay."""

    def __init__(self, version: ProtocolVersion = ProtocolVersion.V2) -> None:
        self.version = version
        self.local_ip: str | None = "192.0.2.1"
        self.written: deque[bytes] = deque()
        self.aborted = False
        self.closed: float | None = None
        self.taking = asyncio.Event()
        self.taking.set()
        self._incoming: asyncio.Queue[bytes | StreamClosedError] = asyncio.Queue()

    # The client's side

    @property
    def writing_paused(self) -> bool:
        return not self.taking.is_set()

    def write(self, frame: bytes) -> None:
        if self.aborted:
            raise StreamClosedError("write failed: closed")
        self.written.append(frame)

    async def drain(self, frame: bytes) -> None:
        self.write(frame)
        await self.taking.wait()

    async def receive(self) -> bytes:
        message = await self._incoming.get()
        if isinstance(message, StreamClosedError):
            self._incoming.put_nowait(message)
            raise message
        return message

    def abort(self) -> None:
        self.aborted = True
        self._incoming.put_nowait(StreamClosedError("connection lost"))

    async def close(self, linger: float) -> None:
        self.aborted = True
        self.closed = linger
        await asyncio.sleep(0)

    # The relay's side

    def feed(self, *frames: bytes) -> None:
        """Let the client receive these."""
        for frame in frames:
            self._incoming.put_nowait(frame)

    def lose(self, reason: str = "connection lost") -> None:
        """Cut the connection."""
        self._incoming.put_nowait(StreamClosedError(reason))

    def challenge(self) -> None:
        """Ask the client who it is."""
        self.feed(ServerChallenge(bytes(16)).encode())

    def confirm(self) -> None:
        """Let it in."""
        self.feed(ServerConfirmsAuth().encode())

    def deny(self, reason: str) -> None:
        """Keep it out, and drop the connection as the Rust relay does."""
        self.feed(ServerDeniesAuth(reason).encode())
        self.lose()

    def answer_ping(self) -> None:
        """Answer the last ping that the client has sent, and forget the earlier ones."""
        pings = [frame for frame in self.written if frame[0] == 9]
        self.feed(Pong(pings[-1][1:]).encode())

    def take(self, *types: int) -> list[bytes]:
        """Everything written so far, or only these frame types; the rest is forgotten."""
        frames = [frame for frame in self.written if not types or frame[0] in types]
        self.written.clear()
        return frames


class FakeDialer:
    """Gives out connections, errors, or nothing at all, as the test likes."""

    def __init__(self) -> None:
        self.requests: list[DialRequest] = []
        self.outcomes: deque[FakeStream | RelayDialError] = deque()
        self.cancelled = 0
        #: What an attempt does for which no outcome is planned: fail, or hang.
        self.hangs = False

    async def __call__(self, request: DialRequest) -> FakeStream:
        self.requests.append(request)
        if not self.outcomes:
            await self._hang()
            raise RelayDialError("unreachable")
        outcome = self.outcomes.popleft()
        if isinstance(outcome, RelayDialError):
            raise outcome
        return outcome

    async def _hang(self) -> None:
        if not self.hangs:
            return
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1

    def plan(self) -> FakeStream:
        """Let one attempt succeed: its connection, with a handshake that is granted."""
        stream = FakeStream()
        stream.challenge()
        stream.confirm()
        self.outcomes.append(stream)
        return stream


def datagram(data: bytes, segment_size: int | None = None, ecn: int = 0) -> bytes:
    """A frame as the relay sends it on from `PEER`."""
    return RelayToClientDatagrams(PEER, Datagrams(data, ecn, segment_size)).encode()


def ping(number: int) -> bytes:
    """A Ping frame with a number for data."""
    return Ping(number.to_bytes(8)).encode()
