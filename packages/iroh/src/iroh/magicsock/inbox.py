"""What happened to one connection, and who waits for it to happen.

    engine events --take--> Inbox --wake--> coroutines that sleep in a wait_*, accept_*, read_*

Streams and datagrams that arrived wait here until somebody takes them. The streams are bounded by
what the peer may open at once, the datagrams by the transport's buffer size and by number.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Protocol
from weakref import WeakSet

from iroh.magicsock.waiters import Waiters
from iroh.quic import events as ev
from iroh.quic import path_events as pe
from iroh.quic.datagrams import Address
from iroh.quic.errors import CloseReason, ConnectionGone
from iroh_base import Watchable
from iroh_base.watch import FutureLike

MAX_DATAGRAMS = 16_384
"""Received datagrams that wait to be read, whatever their size: empty ones take memory, too."""


class SenderEnd(NamedTuple):
    """How a sending half ended: everything acknowledged, or stopped by the peer."""

    ended: bool
    stop_code: int | None = None


NOT_ENDED, ALL_ACKED = SenderEnd(False), SenderEnd(True)


class PathListener(Protocol):
    """Who wants to know each change of the paths."""

    def paths_changed(self) -> None:
        """Look at the paths: something about them is different."""


class Inbox:
    """The application's view of a connection's life. Nothing here touches the engine.

    datagram_bytes: received datagrams held at most; the oldest give way.
    """

    def __init__(self, datagram_bytes: int, create_future: Callable[[], FutureLike]) -> None:
        self.alpn: bytes | None = None
        self.connected: bool = False
        self.close_reason: CloseReason | None = None
        self.remote: Address | None = None
        """The path that carries the data; None while a dial is on every known address."""
        self.on_path_event: Callable[[ev.Event], None] | None = None
        """Told what happens to the paths and to the peer's candidates."""
        self.path_changes: Watchable[int] = Watchable(0, create_future)
        """Counts the changes of the paths; closed with the connection."""
        self.path_listeners: WeakSet[PathListener] = WeakSet()
        """Told of each change of the paths as it happens, also of the end."""
        self.senders: dict[int, SenderEnd] = {}
        """How the sending halves ended that somebody holds, by stream id."""
        self.datagrams_dropped: int = 0
        """Received datagrams that gave way to newer ones: nobody read them in time."""
        self.waiters: Waiters = Waiters()
        self._opened: tuple[deque[int], deque[int]] = (deque(), deque())  # bidi, uni
        self._datagrams: deque[bytes] = deque()
        self._datagram_bytes = 0
        self._datagram_limit = datagram_bytes
        self._at_end: list[Callable[[], None]] = []

    # -- what the application waits for ---------------------------------------------------------

    def check(self) -> None:
        """Raise ConnectionGone once the connection ended."""
        if self.close_reason is not None:
            raise ConnectionGone(self.close_reason)

    async def wait_alpn(self) -> bytes:
        """Wait for the ALPN to be settled."""
        while self.alpn is None:
            self.check()
            await self.waiters.wait("alpn")
        return self.alpn

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
        data = self._datagrams.popleft()
        self._datagram_bytes -= len(data)
        return data

    @property
    def has_datagrams(self) -> bool:
        """Whether one can be read at once."""
        return bool(self._datagrams)

    def at_end(self, act: Callable[[], None]) -> None:
        """Call `act` when the connection ends; at once if it has."""
        if self.close_reason is None:
            self._at_end.append(act)
        else:
            act()

    # -- events ---------------------------------------------------------------------------------

    def take(self, events: Sequence[ev.Event]) -> bool:
        """Act on the events, and say whether the connection is drained."""
        drained = False
        for event in events:
            action = self._ACTIONS.get(type(event))
            if action is not None:
                action(self, event)
            elif type(event) is ev.Drained:
                drained = True
        return drained

    def close(self, reason: CloseReason) -> None:
        """End it: everybody who waits is woken. Only the first reason counts."""
        if self.close_reason is not None:
            return
        self.close_reason = reason
        self.waiters.close()
        acts, self._at_end = self._at_end, []
        for act in acts:
            act()
        self.paths_changed()
        self.path_changes.close()

    def _on_alpn(self, event: ev.HandshakeDataReady) -> None:
        self.alpn = event.alpn
        self.waiters.wake("alpn")

    def _on_connected(self, _event: ev.Connected) -> None:
        self.connected = True
        self.waiters.wake("connected")

    def _on_opened(self, event: ev.StreamOpened) -> None:
        bidirectional = not event.stream_id & 2
        if bidirectional:
            self.senders[event.stream_id] = NOT_ENDED
        self._opened[0 if bidirectional else 1].append(event.stream_id)
        self.waiters.wake(("opened", bidirectional), 1)

    def _on_readable(self, event: ev.StreamReadable) -> None:
        self.waiters.wake(("read", event.stream_id))

    def _on_writable(self, event: ev.StreamWritable) -> None:
        self.waiters.wake(("write", event.stream_id))

    def _on_finished(self, event: ev.StreamFinished) -> None:
        if event.stream_id in self.senders:
            self.senders[event.stream_id] = ALL_ACKED
        self.waiters.wake(("finished", event.stream_id))

    def _on_stopped(self, event: ev.StreamStoppedByPeer) -> None:
        if event.stream_id in self.senders:
            self.senders[event.stream_id] = SenderEnd(True, event.code)
        self.waiters.wake(("finished", event.stream_id))
        self.waiters.wake(("write", event.stream_id))

    def _on_streams(self, event: ev.StreamsAvailable) -> None:
        self.waiters.wake(("streams", event.bidirectional), event.count)

    def _on_datagram(self, event: ev.DatagramReceived) -> None:
        self._datagrams.append(event.data)
        self._datagram_bytes += len(event.data)
        while self._datagram_bytes > self._datagram_limit or len(self._datagrams) > MAX_DATAGRAMS:
            self._datagram_bytes -= len(self._datagrams.popleft())
            self.datagrams_dropped += 1
        self.waiters.wake("datagram", 1)

    def path_selected(self, remote: Address) -> None:
        """Note which path carries the data from now on."""
        if remote != self.remote:
            self.remote = remote
            self.paths_changed()

    def _on_path(self, event: ev.PathChanged) -> None:
        self.remote = event.remote
        self._on_path_event(event)

    def _on_path_event(self, event: ev.Event) -> None:
        self._on_hint(event)
        self.paths_changed()

    def _on_hint(self, event: ev.Event) -> None:
        if self.on_path_event is not None:
            self.on_path_event(event)

    def paths_changed(self) -> None:
        """Tell who follows the paths. For whoever changed which one carries the data: that is no
        event of the engine's.
        """
        if len(self.path_listeners):  # mostly nobody listens, and looking for them costs more
            for listener in tuple(self.path_listeners):
                listener.paths_changed()
        self.path_changes.set(self.path_changes.get() + 1)

    def _on_closed(self, event: ev.Closed) -> None:
        self.close(event.reason)

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
        pe.PathEstablished: _on_path_event,
        pe.PathMoved: _on_path_event,
        pe.PathAbandoned: _on_path_event,
        pe.PathClosed: _on_path_event,
        pe.PathSilent: _on_hint,
        pe.PathStatusChanged: _on_hint,
        pe.RemoteCandidateAdded: _on_hint,
        pe.RemoteCandidateRemoved: _on_hint,
        pe.ObservedAddressChanged: _on_hint,
        ev.Closed: _on_closed,
    }
