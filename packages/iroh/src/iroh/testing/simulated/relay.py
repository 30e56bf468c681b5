"""Simulated relays: the real server's code and the real client's, over connections in memory.

    RelayClient <--RelayStream-- ClientEnd ==Wire==> ServerEnd --Stream--> RelayService

A connection behaves as TCP does: nothing is lost or overtaken. What chance loses comes a round
trip later, and what is sent while a line is down comes when it is up again, as soon as it is tried:
after 0.2 s, 0.4 s and so on (RFC 6298).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING

from iroh.testing.simulated.nat import Line
from iroh_base import RelayUrl, SocketAddr
from iroh_relay.client.errors import StreamClosedError
from iroh_relay.client.stream import DialRequest
from iroh_relay.protos.versions import ProtocolVersion
from iroh_relay.server.access import AccessControl
from iroh_relay.server.config import RelayServerConfig
from iroh_relay.server.service import RelayService, UpgradeInfo

if TYPE_CHECKING:
    from iroh.testing.simulated.host import SimulatedHost

__all__ = ["SimulatedRelay"]

WINDOW = 1 << 20
"""Bytes on the way, or not yet read; then a sender waits."""
FIRST_RETRY, LONGEST_RETRY = 0.2, 60.0
"""Seconds (Linux TCP_RTO_MIN; RFC 6298 section 2.5)."""


class SimulatedRelay:
    """One relay, made by `SimulatedNetwork.add_relay`.

    url: where it is. line: what joins it to the internet. service: the real relay, without a
    socket: see who is connected, limit them, change access control. is_up: see `stop`.
    """

    def __init__(
        self,
        url: str,
        qad: SocketAddr,
        *,
        rng: random.Random,
        access: AccessControl | None = None,
        config: RelayServerConfig | None = None,
    ) -> None:
        self.url: RelayUrl = RelayUrl(url)
        self.qad = qad
        """Where it tells endpoints their address."""
        self.line: Line = Line()
        self.is_up: bool = True
        self.service: RelayService = RelayService(
            config, access, jitter=lambda: 1 + 4 * rng.random()
        )
        self._rng = rng
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """End it, as a process ends: clients lose their connections, and get no new ones."""
        self.is_up = False
        self.service.shutdown()

    def start(self) -> None:
        """Start it again, as empty as it was at first."""
        self.is_up = True

    async def close(self) -> None:
        """Stop, and wait until nothing of it is left. Cancelling the wait does not stop the end."""
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def accept(self, host: SimulatedHost, request: DialRequest) -> ClientEnd:
        """Take a connection of a host's, whose upgrade is done."""
        wire = _Wire(host, self, self._rng)
        client = ClientEnd(wire)
        server = ServerEnd(wire)
        client.peer, server.peer = server, client
        info = UpgradeInfo(ProtocolVersion.V2, request.auth_token, f"{host.nat.public_ip}:443")
        task = asyncio.create_task(self.service.serve(server, info), name=f"relay {self.url}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _task: server.close())  # one that never began does not
        return client

    def __repr__(self) -> str:
        state = "up" if self.is_up else "stopped"
        return f"<SimulatedRelay {self.url}: {state}, {len(self.service.clients)} clients>"


class _Wire:
    """What both ends of a connection have in common."""

    def __init__(self, host: SimulatedHost, relay: SimulatedRelay, rng: random.Random) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.local_ip: str = host.ip
        self._host, self._rng = host, rng
        self._lines = host.line, relay.line

    def passes(self) -> bool:
        """Whether packets pass now: the lines are up, and the host is where it was."""
        return self._host.ip == self.local_ip and all(line.is_up for line in self._lines)

    def delay(self) -> float:
        """Give the seconds that the next packet takes, one way."""
        one_way = sum(line.delay for line in self._lines)
        lost = any(line.loss > 0 and self._rng.random() < line.loss for line in self._lines)
        return 3 * one_way if lost else one_way


class _End:
    """One end of a connection: what it sent is on its way, what arrived waits to be read."""

    peer: _End

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._way: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._retry = FIRST_RETRY
        self._arrived: deque[bytes] = deque()
        self._readable, self._room = asyncio.Event(), asyncio.Event()
        self._unread = 0
        self.is_closed: bool = False
        """Whether nothing more may be sent."""
        self._at_end = False

    # -- sending -------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether a sender had better wait."""
        return self._unread > WINDOW

    def put(self, frame: bytes | None) -> None:
        """Send a frame; None is the end of it all."""
        now = self._wire.loop.time()
        when = max(now + self._wire.delay(), self._way[-1][0] if self._way else 0.0)
        self._way.append((when, frame))
        self._unread += len(frame or b"")
        if self._timer is None:
            self._timer = self._wire.loop.call_at(when, self._deliver)

    async def has_room(self) -> None:
        """Wait until there is room for more, or the connection is over."""
        while self.is_full and not self.is_closed:
            self._room.clear()
            await self._room.wait()

    def end(self, *, at_once: bool = False) -> None:
        """Send nothing after this; at_once: nor what is on its way."""
        if at_once:
            self._way.clear()
            self._finish_reading()
        if at_once or not self.is_closed:
            self.is_closed = True
            self.put(None)
            self._room.set()

    def _deliver(self) -> None:
        self._timer = None
        loop = self._wire.loop
        if not self._wire.passes():
            self._timer = loop.call_later(self._retry, self._deliver)
            self._retry = min(2 * self._retry, LONGEST_RETRY)
            return
        self._retry = FIRST_RETRY
        while self._way and self._way[0][0] <= loop.time():
            self.peer.arrive(self._way.popleft()[1])
        if self._way:
            self._timer = loop.call_at(self._way[0][0], self._deliver)

    # -- receiving -----------------------------------------------------------------------------

    def arrive(self, frame: bytes | None) -> None:
        """Take what the other end sent."""
        if frame is None:
            self._finish_reading()
            self.is_closed = True
            self._room.set()
        elif not self._at_end:
            self._arrived.append(frame)
            self._readable.set()

    def _finish_reading(self) -> None:
        self._at_end = True
        self._readable.set()

    async def take(self) -> bytes | None:
        """Wait for the next frame; None at the end. Cancelling loses none."""
        while not self._arrived:
            if self._at_end:
                return None
            self._readable.clear()
            await self._readable.wait()
        frame = self._arrived.popleft()
        self.peer.was_read(len(frame))
        return frame

    def was_read(self, size: int) -> None:
        """The other end read so many bytes."""
        self._unread -= size
        if not self.is_full:
            self._room.set()


class ClientEnd(_End):
    """A RelayStream."""

    version: ProtocolVersion = ProtocolVersion.V2

    @property
    def local_ip(self) -> str | None:
        """As `RelayStream.local_ip`."""
        return self._wire.local_ip

    @property
    def writing_paused(self) -> bool:
        """As `RelayStream.writing_paused`."""
        return self.is_full

    def write(self, frame: bytes) -> None:
        """As `RelayStream.write`."""
        if self.is_closed:
            raise StreamClosedError("the simulated connection is over")
        self.put(frame)

    async def drain(self, frame: bytes) -> None:
        """As `RelayStream.drain`."""
        self.write(frame)
        await self.has_room()

    async def receive(self) -> bytes:
        """As `RelayStream.receive`."""
        frame = await self.take()
        if frame is None:
            raise StreamClosedError("connection lost")
        return frame

    def abort(self) -> None:
        """As `RelayStream.abort`."""
        self.end(at_once=True)

    async def close(self, linger: float) -> None:
        """As `RelayStream.close`: what is on its way arrives, and nothing has to be waited for."""
        self.end()
        self._finish_reading()


class ServerEnd(_End):
    """A `iroh_relay.server.stream.Stream`."""

    async def read(self) -> bytes | None:
        """As `Stream.read`."""
        return await self.take()

    def write_now(self, frame: bytes) -> bool:
        """As `Stream.write_now`."""
        if self.is_closed or self.is_full:
            return False
        self.put(frame)
        return True

    async def write(self, frame: bytes) -> None:
        """As `Stream.write`."""
        if self.is_closed:
            raise ConnectionResetError("the simulated connection is over")
        self.put(frame)
        await self.has_room()

    def close(self) -> None:
        """As `Stream.close`."""
        self.end()
        self._finish_reading()

    def abort(self) -> None:
        """As `Stream.abort`."""
        self.end(at_once=True)
