"""Drives engines with the five verbs, in the order in which iroh/magicsock/driver.py does.

    arrived --> Host.take: endpoint.receive -> accept -> endpoint.transmit -> pump those touched
    command --> End.touch: pumped at the end of the turn
    timer ----> End.on_timer: handle_timeout when it is due, then pump
    pump: events -> transmit until empty -> events -> retire when drained, else arm the timer

Whatever an engine does that no driver could live with fails at once: an exception, a transmit that
never ends, a timer that fires without end, events out of order.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from iroh.quic import events as ev
from iroh.quic.api import Connection, Incoming, QuicEndpoint, ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.errors import CloseReason

MAX_TRANSMITS = 2_000
"""Calls of transmit in one pump; an engine with a window of 16 MB needs about 1,200."""
MAX_SEGMENTS = 64
MAX_DATAGRAMS_BYTES = 65_507  # one UDP_SEGMENT send over IPv4
MAX_TIMERS_AT_ONCE = 20
"""Timers of one connection at one instant."""


class World(Protocol):
    """What a host needs of the simulation."""

    now: float

    def send(self, host: "Host", batches: Sequence[Datagrams]) -> None:
        """Put datagrams on the network."""

    def soon(self, action: Callable[[], object]) -> None:
        """Run an action in this turn, after what runs now."""


class EventOrder:
    """Fails on events that the seam does not allow in this order."""

    def __init__(self, is_client: bool) -> None:
        self._is_client = is_client
        self._seen: Counter[type[ev.Event]] = Counter()
        self._next = {kind: kind for kind in range(4)}
        self._finished: set[int] = set()

    def check(self, event: ev.Event) -> None:
        """Raise AssertionError for an event that cannot come now."""
        kind, seen = type(event), self._seen
        assert not seen[ev.Drained], f"{event} after Drained"
        assert not seen[ev.Closed] or kind is ev.Drained, f"{event} after Closed"
        seen[kind] += 1
        if kind in (ev.HandshakeDataReady, ev.Connected, ev.Closed):
            assert seen[kind] == 1, f"{event} comes twice"
        if isinstance(event, ev.Connected):
            assert seen[ev.HandshakeDataReady], "Connected before HandshakeDataReady"
        elif isinstance(event, ev.Drained):
            assert seen[ev.Closed], "Drained before Closed"
        elif isinstance(event, ev.StreamOpened):
            stream_id = event.stream_id
            assert bool(stream_id & 1) == self._is_client, f"{event}: our own stream"
            assert stream_id == self._next[stream_id & 3], f"{event}: not the next"
            self._next[stream_id & 3] += 4
        elif isinstance(event, ev.StreamFinished | ev.StreamStoppedByPeer):
            assert event.stream_id not in self._finished, f"{event}: the end came before"
            self._finished.add(event.stream_id)


class End:
    """One end of a connection.

    listeners: get every event, in order, and take note. Whoever wants to act on one does it `soon`,
    as the driver's sleepers do: when all events of the pump are known.
    """

    def __init__(self, host: "Host", connection: Connection) -> None:
        self.host = host
        self.connection = connection
        self.connected = self.drained = self.dirty = False
        self.closed: CloseReason | None = None
        self.closed_at: float | None = None
        self.seen: Counter[type[ev.Event]] = Counter()
        self.last_events: deque[ev.Event] = deque(maxlen=50)
        self.listeners: list[Callable[[ev.Event], None]] = []
        self.timer: float | None = None
        self._order = EventOrder(connection.is_client)
        self._timers_at: tuple[float, int] = (0.0, 0)

    def __repr__(self) -> str:
        return f"<{self.host.name} {self.closed or ('connected' if self.connected else 'dials')}>"

    # -- commands: the seam's, each followed by a pump at the end of the turn -------------------

    def open_stream(self, bidirectional: bool) -> int | None:
        """`Connection.open_stream`."""
        self.touch()
        return self.connection.open_stream(bidirectional)

    def write(self, stream_id: int, data: bytes) -> int:
        """`Connection.write`."""
        self.touch()
        taken = self.connection.write(stream_id, data)
        assert 0 <= taken <= len(data)
        return taken

    def finish(self, stream_id: int) -> None:
        """`Connection.finish`."""
        self.touch()
        self.connection.finish(stream_id)

    def reset(self, stream_id: int, code: int) -> None:
        """`Connection.reset`."""
        self.touch()
        self.connection.reset(stream_id, code)

    def stop(self, stream_id: int, code: int) -> None:
        """`Connection.stop`."""
        self.touch()
        self.connection.stop(stream_id, code)

    def read(self, stream_id: int, limit: int) -> bytes | None:
        """`Connection.read`."""
        self.touch()
        data = self.connection.read(stream_id, limit)
        assert data is None or len(data) <= limit
        return data

    def send_datagram(self, data: bytes) -> None:
        """`Connection.send_datagram`."""
        self.touch()
        self.connection.send_datagram(data)

    def close(self, code: int = 0, reason: bytes = b"") -> None:
        """`Connection.close`, sent at once."""
        self.connection.close(code, reason, self.host.world.now)
        self.pump()

    def touch(self) -> None:
        """Pump at the end of this turn."""
        self.dirty = True

    # -- moving the engine ----------------------------------------------------------------------

    def soon(self, action: Callable[[], object]) -> None:
        """Act once the events that are dispatched now are all known."""
        self.host.world.soon(action)

    def pump(self) -> None:
        """Dispatch events, send what wants to leave, re-arm the timer."""
        self.dirty = False
        if self.drained:
            return
        now = self.host.world.now
        self._dispatch(self.connection.events())
        for _ in range(MAX_TRANSMITS):
            batches = self.connection.transmit(now)
            if not batches:
                break
            self.host.send(batches)
        else:
            raise AssertionError(f"{self}: transmit never ends")
        self._dispatch(self.connection.events())
        if self.drained:
            self.timer = None
            self.host.retire(self)
        else:
            self._arm()

    def on_timer(self) -> None:
        """Act on the timer that `timer` announced."""
        self.timer = None
        now = self.host.world.now
        at, count = self._timers_at
        self._timers_at = (now, count + 1 if at == now else 1)
        assert self._timers_at[1] <= MAX_TIMERS_AT_ONCE, f"{self}: timers without end at {now}"
        due = self.connection.next_timeout()
        if due is not None and due <= now:
            self.connection.handle_timeout(now)
        self.pump()

    def _arm(self) -> None:
        due = self.connection.next_timeout()
        if due is not None and (self.timer is None or due < self.timer):
            self.timer = due

    def _dispatch(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self._order.check(event)
            self.seen[type(event)] += 1
            self.last_events.append(event)
            if isinstance(event, ev.Connected):
                self.connected = True
            elif isinstance(event, ev.Closed):
                self.closed, self.closed_at = event.reason, self.host.world.now
            elif isinstance(event, ev.Drained):
                self.drained = True
            for listener in self.listeners:
                listener(event)


class Host:
    """An endpoint at its addresses.

    auto_accept: attempts are accepted at once, else they wait in `incoming`.
    """

    def __init__(
        self,
        world: World,
        name: str,
        endpoint: QuicEndpoint,
        addresses: Sequence[Address],
        server: ServerConfig,
        key: bytes,
    ) -> None:
        self.world = world
        self.name = name
        self.endpoint = endpoint
        self.addresses = list(addresses)
        self.server = server
        self.key = key
        self.auto_accept = True
        self.incoming: list[Incoming] = []
        self.accepted: list[End] = []
        self.ends: dict[Connection, End] = {}
        self.on_accept: Callable[[End], None] | None = None

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def dial(
        self,
        peer: bytes,
        remote: Address,
        alpns: Sequence[bytes],
        transport: TransportConfig | None = None,
    ) -> End:
        """Start a handshake; its first packets leave at the end of this turn."""
        now = self.world.now
        return self._adopt(self.endpoint.connect(remote, peer, alpns, now, transport))

    def accept(self, incoming: Incoming) -> End:
        """Start the server's side of a handshake."""
        end = self._adopt(incoming.accept(self.server, self.world.now))
        self.accepted.append(end)
        if self.on_accept is not None:
            self.on_accept(end)
        return end

    def take(self, batches: Sequence[Datagrams]) -> None:
        """Take what arrived at one instant."""
        received = self.endpoint.receive(batches, self.world.now)
        for incoming in received.incoming:
            if self.auto_accept:
                self.accept(incoming)
            else:
                self.incoming.append(incoming)
        self.flush()
        touched = received.connections
        assert len({id(connection) for connection in touched}) == len(touched)
        for connection in touched:
            end = self.ends.get(connection)
            if end is not None:
                end.pump()

    def flush(self) -> None:
        """Send what belongs to no connection."""
        answers = self.endpoint.transmit()
        if answers:
            self.send(answers, of_connection=False)

    def send(self, batches: Sequence[Datagrams], of_connection: bool = True) -> None:
        """Put datagrams on the network, if a socket would take them.

        of_connection: False for resets, Retry and the like, which keep no connection alive.
        """
        for batch in batches:
            assert 1 <= len(batch) <= MAX_SEGMENTS, batch
            assert len(batch.data) <= MAX_DATAGRAMS_BYTES, batch
        self.world.send(self, batches, of_connection)

    def retire(self, end: End) -> None:
        """Forget a drained connection."""
        if self.ends.pop(end.connection, None) is not None:
            self.endpoint.forget(end.connection)

    def _adopt(self, connection: Connection) -> End:
        end = self.ends[connection] = End(self, connection)
        end.touch()
        return end
