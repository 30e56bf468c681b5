"""One connection to a relay after the handshake: frames up, frames down, and keeping it alive.

The owner's task sits in `run`, which hands received datagrams up until the connection is over.
Sending happens in the turn of the one who sends, as long as the transport takes it; after that,
frames wait in the outbox and a second task, which lives only as long as there is a backlog, feeds
them to the transport as it drains. Order: the pong that we owe, then frames as they were sent.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..protos.errors import FrameError
from ..protos.frames.control import EndpointGone, Health, Ping, Pong, Restarting, Status
from ..protos.frames.datagrams import RelayToClientDatagrams, read_datagrams
from ..protos.frames.decode import RelayToClientFrame, decode_relay_to_client
from ..protos.frames.types import parse_id
from ..protos.ping import PingTracker
from .clock import Clock, deadline
from .errors import StreamClosedError
from .keepalive import Keepalive
from .outbox import Outbox
from .status import RelayStats
from .stream import RelayStream

__all__ = ["CLOSE_TIMEOUT", "SEND_TIMEOUT", "Connection", "Handlers"]

_logger = logging.getLogger(__name__)

#: Seconds for which the transport may refuse to take a frame (iroh `actor.rs`).
SEND_TIMEOUT = 15.0
#: Seconds that a goodbye may take (iroh `actor.rs`: shutdown waits 3 s at most).
CLOSE_TIMEOUT = 3.0
#: Endpoint ids known to be curve points (iroh-relay `client.rs`: key cache of 128).
KNOWN_IDS = 128
#: Bytes of a datagram frame that are no contents, without the segment size of a batch.
_OVERHEAD = 34


@dataclass(frozen=True, slots=True)
class Handlers:
    """Where received things go. Called from the loop; they must not raise and must be quick."""

    on_datagrams: Callable[[bytes, bytes, int, int], None]
    """Source id (32 bytes), contents, segment size (0 = one datagram), ECN (0 to 3)."""
    on_endpoint_gone: Callable[[bytes], None] | None = None
    """Id (32 bytes) of an endpoint that has left this relay."""


class Connection:
    """A connection that is up. Made for one `run`, then `close`."""

    def __init__(
        self,
        stream: RelayStream,
        handlers: Handlers,
        outbox: Outbox,
        stats: RelayStats,
        clock: Clock,
        name: str,
    ) -> None:
        self._stream = stream
        self._handlers = handlers
        self._outbox = outbox
        self._stats = stats
        self._clock = clock
        self._name = name
        self._keepalive = Keepalive(
            clock, PingTracker(), self._send_ping, self.fail, self._frames_sent
        )
        self._known: set[bytes] = set()
        self._pong_owed: bytes | None = None
        self._backlog: asyncio.Task[None] | None = None
        self._failure: str | None = None
        #: Whether the relay has answered a ping on this connection.
        self.established: bool = False

    @property
    def local_ip(self) -> str | None:
        """Our own address on this connection."""
        return self._stream.local_ip

    async def run(self) -> str:
        """Serve until the connection is over; why it is. Cancel-safe: `close` must follow."""
        self._keepalive.start()
        self._flush()
        try:
            while True:
                self._on_frame(await self._stream.receive())
        except (StreamClosedError, FrameError) as error:
            return self._failure or str(error)

    def fail(self, reason: str) -> None:
        """Drop the connection; `run` returns `reason`."""
        self._failure = self._failure or reason
        self._keepalive.stop()
        self._stream.abort()

    def check(self) -> None:
        """Make sure that the relay is still there: ping it, now."""
        self._keepalive.check()

    def send(self, frames: Sequence[bytes]) -> int:
        """Send frames now, or queue them; how many were dropped for want of room."""
        for index, frame in enumerate(frames):
            if self._outbox or self._stream.writing_paused:
                rest = frames[index:]
                queued = self._outbox.push(rest)
                self._flush()
                return 0 if queued else len(rest)
            if not self._write(frame):
                return len(frames) - index
        return 0

    async def close(self, graceful: bool) -> None:
        """Free everything; if `graceful`, say goodbye and let what waits leave, for up to 3 s."""
        self._keepalive.stop()
        linger = 0.0
        try:
            if graceful:
                linger = await self._finish()
        finally:
            await self._stream.close(linger)
            if self._backlog is not None:
                self._backlog.cancel()

    async def _finish(self) -> float:
        """Let the outbox leave; the seconds that are left for the transport's buffer, perhaps 0."""
        end = self._clock.now() + CLOSE_TIMEOUT
        self._flush()
        if self._backlog is not None:
            try:
                async with deadline(self._clock, CLOSE_TIMEOUT):
                    await asyncio.wait((self._backlog,))
            except TimeoutError:
                return 0.0
        return max(end - self._clock.now(), 0.0)

    # Receiving

    def _on_frame(self, frame: bytes) -> None:
        """Act on a frame. Raises `FrameError` for one that must end the connection."""
        self._keepalive.frame_received()
        datagrams = read_datagrams(frame)
        if datagrams is None:
            self._on_control(decode_relay_to_client(frame, self._stream.version))
            return
        source, ecn, segment_size, contents = datagrams
        if source not in self._known:
            self._learn(source)
        self._deliver(source, bytes(contents), segment_size or 0, ecn)

    def _learn(self, source: bytes) -> None:
        parse_id(source)
        if len(self._known) >= KNOWN_IDS:
            self._known.clear()
        self._known.add(source)

    def _deliver(self, source: bytes, contents: bytes, segment_size: int, ecn: int) -> None:
        if not contents:
            return  # legal, but nothing
        self._stats.frames_received += 1
        self._stats.bytes_received += len(contents)
        self._handlers.on_datagrams(source, contents, segment_size, ecn)

    def _on_control(self, frame: RelayToClientFrame) -> None:
        match frame:
            case Ping(data):
                self._send_pong(data)
            case Pong(data):
                self._on_pong(data)
            case EndpointGone(endpoint_id):
                if self._handlers.on_endpoint_gone is not None:
                    self._handlers.on_endpoint_gone(endpoint_id.to_bytes())
            case Status():
                self._on_status(frame)
            case Health(problem):
                _logger.warning("relay %s reports a problem: %s", self._name, problem)
            case Restarting():
                # Only advice, and no server sends it; when it goes, we dial again anyway.
                _logger.info("relay %s is about to restart", self._name)
            case RelayToClientDatagrams(src, datagrams):
                # Its type was written in a longer form than the fast path knows.
                self._deliver(
                    src.to_bytes(), datagrams.contents, datagrams.segment_size or 0, datagrams.ecn
                )

    def _on_pong(self, data: bytes) -> None:
        rtt = self._keepalive.pong_received(data)
        if rtt is not None:
            self.established = True
            self._stats.pongs_received += 1
            self._stats.rtt = rtt

    def _on_status(self, status: Status) -> None:
        if status.code == Status.RATE_LIMITED:
            self._stats.conns_ratelimited += 1
        level = logging.INFO if status.code == Status.HEALTHY else logging.WARNING
        _logger.log(level, "relay %s: %s", self._name, status)

    # Sending

    def _write(self, frame: bytes) -> bool:
        """Hand a datagram frame to the transport; False if the connection is over."""
        try:
            self._stream.write(frame)
        except StreamClosedError:
            return False  # receive() tells run(), which tells everybody
        self._count(frame)
        return True

    def _count(self, frame: bytes) -> None:
        self._stats.frames_sent += 1
        # The type of a batch is odd; its head is two bytes longer.
        self._stats.bytes_sent += len(frame) - _OVERHEAD - 2 * (frame[0] & 1)

    def _frames_sent(self) -> int:
        stats = self._stats
        return stats.frames_sent + stats.pings_sent + stats.pings_answered

    def _send_ping(self, data: bytes) -> None:
        # Even into a full buffer: there is never more than one ping on its way.
        self._stats.pings_sent += 1
        self._write_control(Ping(data).encode())

    def _send_pong(self, data: bytes) -> None:
        """Answer a ping before anything else; while the transport is full, only the latest one."""
        if self._stream.writing_paused:
            self._pong_owed = data
            self._flush()
            return
        self._stats.pings_answered += 1
        self._write_control(Pong(data).encode())

    def _write_control(self, frame: bytes) -> None:
        try:
            self._stream.write(frame)
        except StreamClosedError as error:
            self.fail(str(error))

    def _flush(self) -> None:
        """See to it that the outbox and an owed pong leave, in their turn."""
        if self._backlog is None and (self._outbox or self._pong_owed is not None):
            self._backlog = asyncio.create_task(self._drain(), name=f"relay backlog {self._name}")

    async def _drain(self) -> None:
        """Feed the transport until nothing waits. Ends early when the connection is over."""
        try:
            while self._outbox or self._pong_owed is not None:
                async with deadline(self._clock, SEND_TIMEOUT):
                    await self._drain_one()
        except TimeoutError:
            self.fail(f"the relay took nothing for {SEND_TIMEOUT:g} s")
        except StreamClosedError as error:
            self.fail(str(error))
        finally:
            self._backlog = None

    async def _drain_one(self) -> None:
        if self._pong_owed is not None:
            data, self._pong_owed = self._pong_owed, None
            self._stats.pings_answered += 1
            await self._stream.drain(Pong(data).encode())
            return
        frame = self._outbox.pop()
        self._count(frame)
        await self._stream.drain(frame)
