"""Between the engine and the event loop: feeds packets in, sends packets out, keeps the time.

    transports --Datagrams--> EngineDriver --> QuicEndpoint (demultiplexes) --> Connection
    Connection --Datagrams--> ConnectionDriver --> magic socket
    Connection --events-----> ConnectionDriver --> sleeping readers and writers

After anything touches a connection it is *pumped* once: events are dispatched, packets sent, the
timer looked at. What an application does within one turn of the loop (write, write, finish) is
pumped together at the end of that turn.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

from iroh.magicsock.waiters import Waiters
from iroh.quic import events as ev
from iroh.quic.api import Connection, Incoming, QuicEndpoint, ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.errors import CloseReason, ConnectionGone

logger = logging.getLogger(__name__)

Send = Callable[[Sequence[Datagrams]], None]
MAX_INCOMING = 1024
"""Attempts that wait for accept_next; beyond it the oldest is refused."""


class SenderEnd:
    """How a sending half ended: everything acknowledged, or stopped by the peer."""

    __slots__ = ("ended", "stop_code")

    def __init__(self) -> None:
        self.ended = False
        self.stop_code: int | None = None


class ConnectionDriver:
    """One connection of the engine on the event loop."""

    def __init__(self, connection: Connection, host: "EngineDriver") -> None:
        self.connection = connection
        self.close_reason: CloseReason | None = None
        self.remote: Address | None = None
        """The path that carries the data; None while a dial is on every known address."""
        self.on_path_changed: Callable[[Address], None] | None = None
        self.on_closed: Callable[[CloseReason], None] | None = None
        self.senders: dict[int, SenderEnd] = {}
        """How the sending halves ended that somebody holds, by stream id."""
        self.waiters = Waiters()
        self.connected = False
        self._host = host
        self._opened: tuple[deque[int], deque[int]] = (deque(), deque())  # bidi, uni
        self._datagrams: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._pump_due = False
        self._retired = False

    # -- what the application waits for ---------------------------------------------------------

    def check(self) -> None:
        """Raise ConnectionGone once the connection ended."""
        if self.close_reason is not None:
            raise ConnectionGone(self.close_reason)

    async def wait_alpn(self) -> bytes:
        """Wait for the ALPN to be settled."""
        while self.connection.alpn is None:
            self.check()
            await self.waiters.wait("alpn")
        return self.connection.alpn

    async def wait_connected(self) -> None:
        """Wait for the handshake; raise ConnectionGone if it fails."""
        while not self.connected:
            self.check()
            await self.waiters.wait("connected")

    async def wait_closed(self) -> CloseReason:
        """Wait for the end."""
        while self.close_reason is None:
            await self.waiters.wait("closed")
        return self.close_reason

    async def open_stream(self, bidirectional: bool) -> int:
        """Open a stream, waiting for the peer to allow one more."""
        while True:
            self.check()
            stream_id = self.connection.open_stream(bidirectional)
            if stream_id is not None:
                self.senders[stream_id] = SenderEnd()
                return stream_id
            self.schedule()  # a STREAMS_BLOCKED frame may want to leave
            await self.waiters.wait(("streams", bidirectional))

    async def accept_stream(self, bidirectional: bool) -> int:
        """Take the next stream the peer opened."""
        queue = self._opened[0 if bidirectional else 1]
        while not queue:
            self.check()
            await self.waiters.wait(("opened", bidirectional))
        return queue.popleft()

    async def read_datagram(self) -> bytes:
        """Take the next datagram."""
        while not self._datagrams:
            self.check()
            await self.waiters.wait("datagram")
        return self._datagrams.popleft()

    def release(self, sender_id: int | None, last_act: Callable[[], None] | None) -> None:
        """Let go of a stream's half. Called by the garbage collector, maybe from any thread."""
        if self._host.loop.is_closed():
            return
        self._host.loop.call_soon_threadsafe(self._released, sender_id, last_act)

    def _released(self, sender_id: int | None, last_act: Callable[[], None] | None) -> None:
        if sender_id is not None:
            self.senders.pop(sender_id, None)
        if last_act is not None and self.close_reason is None:
            last_act()

    # -- moving the engine ----------------------------------------------------------------------

    def schedule(self) -> None:
        """Pump at the end of this turn of the loop."""
        if not self._pump_due:
            self._pump_due = True
            self._host.loop.call_soon(self._pump_scheduled)

    def close(self, code: int, reason: bytes) -> None:
        """Close, and send the close at once."""
        self.connection.close(code, reason, self._host.now())
        self.pump()

    def close_dropped(self) -> None:
        """Close because nobody holds the connection any more."""
        self.close(0, b"")

    def pump(self) -> None:
        """Dispatch events, send what wants to leave, re-arm the timer."""
        self._pump_due = False
        if self._retired:
            return
        now = self._host.now()
        drained = self._dispatch(self.connection.events())
        while batches := self.connection.transmit(now):
            self._host.send(batches)
            self.waiters.wake("sent")
        drained = self._dispatch(self.connection.events()) or drained
        if drained:
            self._retire()
        else:
            self._arm()

    def _pump_scheduled(self) -> None:
        if self._pump_due:
            self.pump()

    def _arm(self) -> None:
        """Re-arm lazily: a timer that fires early costs less than one cancelled per packet."""
        due = self.connection.next_timeout()
        timer = self._timer
        if due is None:
            return
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timer = self._host.loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._host.now()
        due = self.connection.next_timeout()
        if due is not None and due <= now:
            self.connection.handle_timeout(now)
        self.pump()

    def _retire(self) -> None:
        self._retired = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._host.retire(self)

    def abandon(self) -> None:
        """Forget the connection without a word: the endpoint is gone."""
        if self.close_reason is None:
            self.connection.close(0, b"", self._host.now())
            self._dispatch(self.connection.events())
        self._retire()

    # -- events ---------------------------------------------------------------------------------

    def _dispatch(self, events: Sequence[ev.Event]) -> bool:
        """Act on the events, and say whether the connection is drained."""
        drained = False
        for event in events:
            action = self._ACTIONS.get(type(event))
            if action is not None:
                action(self, event)
            elif type(event) is ev.Drained:
                drained = True
        return drained

    def _on_alpn(self, _event: ev.HandshakeDataReady) -> None:
        self.waiters.wake("alpn")

    def _on_connected(self, _event: ev.Connected) -> None:
        self.connected = True
        self.waiters.wake("connected")

    def _on_opened(self, event: ev.StreamOpened) -> None:
        bidirectional = not event.stream_id & 2
        if bidirectional:
            self.senders[event.stream_id] = SenderEnd()
        self._opened[0 if bidirectional else 1].append(event.stream_id)
        self.waiters.wake(("opened", bidirectional))

    def _on_readable(self, event: ev.StreamReadable) -> None:
        self.waiters.wake(("read", event.stream_id))

    def _on_writable(self, event: ev.StreamWritable) -> None:
        self.waiters.wake(("write", event.stream_id))

    def _on_finished(self, event: ev.StreamFinished) -> None:
        end = self.senders.get(event.stream_id)
        if end is not None:
            end.ended = True
        self.waiters.wake(("finished", event.stream_id))

    def _on_stopped(self, event: ev.StreamStoppedByPeer) -> None:
        end = self.senders.get(event.stream_id)
        if end is not None:
            end.ended, end.stop_code = True, event.code
        self.waiters.wake(("finished", event.stream_id))
        self.waiters.wake(("write", event.stream_id))

    def _on_streams(self, event: ev.StreamsAvailable) -> None:
        self.waiters.wake(("streams", event.bidirectional))

    def _on_datagram(self, event: ev.DatagramReceived) -> None:
        self._datagrams.append(event.data)
        self.waiters.wake("datagram")

    def _on_path(self, event: ev.PathChanged) -> None:
        self.remote = event.remote
        if self.on_path_changed is not None:
            self.on_path_changed(event.remote)

    def _on_closed(self, event: ev.Closed) -> None:
        self.close_reason = event.reason
        self.waiters.close()
        if self.on_closed is not None:
            self.on_closed(event.reason)

    _ACTIONS: ClassVar[dict[type[ev.Event], Callable[..., None]]] = {
        ev.HandshakeDataReady: _on_alpn,
        ev.Connected: _on_connected,
        ev.StreamOpened: _on_opened,
        ev.StreamReadable: _on_readable,
        ev.StreamWritable: _on_writable,
        ev.StreamFinished: _on_finished,
        ev.StreamStoppedByPeer: _on_stopped,
        ev.StreamsAvailable: _on_streams,
        ev.DatagramReceived: _on_datagram,
        ev.PathChanged: _on_path,
        ev.Closed: _on_closed,
    }


class EngineDriver:
    """The engine of one endpoint on the event loop."""

    def __init__(self, engine: QuicEndpoint, send: Send) -> None:
        self.loop = asyncio.get_running_loop()
        self.engine = engine
        self.send = send
        self.now = self.loop.time
        self.incoming_refused = 0
        self._drivers: dict[Connection, ConnectionDriver] = {}
        self._incoming: deque[Incoming] = deque()
        self._waiters = Waiters()
        self._closed = False

    def on_batches(self, batches: Sequence[Datagrams]) -> None:
        """Take what a transport received in one wake-up."""
        if self._closed and not self._drivers:
            return
        now = self.now()
        received = self.engine.receive(batches, now)
        for incoming in received.incoming:
            self._enqueue(incoming, now)
        answers = self.engine.transmit()
        if answers:
            self.send(answers)
        for connection in received.connections:
            driver = self._drivers.get(connection)
            if driver is not None:
                driver.pump()

    def connect(
        self,
        remote: Address,
        peer: bytes,
        alpns: Sequence[bytes],
        transport: TransportConfig | None = None,
    ) -> ConnectionDriver:
        """Start a dial; its first packets leave at the end of this turn."""
        connection = self.engine.connect(remote, peer, alpns, self.now(), transport)
        return self._adopt(connection)

    def accept(self, incoming: Incoming, config: ServerConfig) -> ConnectionDriver:
        """Start the server's side of a handshake."""
        driver = self._adopt(incoming.accept(config, self.now()))
        driver.remote = incoming.remote
        return driver

    def flush(self) -> None:
        """Send what belongs to no connection: refusals and retries."""
        answers = self.engine.transmit()
        if answers:
            self.send(answers)

    async def next_incoming(self) -> Incoming | None:
        """Take the next attempt; None once closed."""
        while not self._incoming:
            if self._closed:
                return None
            await self._waiters.wait("incoming")
        return self._incoming.popleft()

    def shut(self) -> None:
        """Take no new attempts, and close every connection with code 0 (iroh `close`)."""
        self._closed = True
        self.engine.set_accepting(False)
        now = self.now()
        while self._incoming:
            self._incoming.popleft().refuse(now)
        self.flush()
        self._waiters.close()
        for driver in list(self._drivers.values()):
            driver.close(0, b"")

    def abandon(self) -> None:
        """Drop what is still draining: the sockets are closed."""
        for driver in list(self._drivers.values()):
            driver.abandon()

    def drivers(self) -> list[ConnectionDriver]:
        """The connections alive or draining."""
        return list(self._drivers.values())

    def retire(self, driver: ConnectionDriver) -> None:
        """Forget a drained connection."""
        if self._drivers.pop(driver.connection, None) is not None:
            self.engine.forget(driver.connection)

    def _adopt(self, connection: Connection) -> ConnectionDriver:
        driver = ConnectionDriver(connection, self)
        self._drivers[connection] = driver
        driver.schedule()
        return driver

    def _enqueue(self, incoming: Incoming, now: float) -> None:
        if self._closed:
            incoming.refuse(now)
            return
        if len(self._incoming) >= MAX_INCOMING:
            self._incoming.popleft().refuse(now)
            self.incoming_refused += 1
        self._incoming.append(incoming)
        self._waiters.wake("incoming")
