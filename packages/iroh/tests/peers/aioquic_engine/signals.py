"""What a connection has to tell its driver, collected until `Connection.events()`.

The queue is bounded by what it says: one StreamReadable per stream, one end, and datagrams up to a
number of bytes (the oldest are dropped, as noq does).
"""

from collections import deque

from iroh.quic.errors import CloseReason
from iroh.quic.events import Closed, DatagramReceived, Drained, Event, StreamReadable


class Signals:
    """The event queue of one connection. Nothing is taken after the end but Drained.

    datagram_bytes: how many bytes of received datagrams wait at most.
    """

    def __init__(self, datagram_bytes: int) -> None:
        self.reason: CloseReason | None = None
        self.datagrams_dropped = 0
        self._datagram_limit = datagram_bytes
        self._datagram_bytes = 0
        self._datagrams: deque[bytes] = deque()
        self._events: list[Event] = []
        self._readable: set[int] = set()
        self._end: list[Event] = []
        self._drained = False

    def push(self, event: Event) -> None:
        """Queue an event."""
        if self.reason is None:
            self._events.append(event)

    def readable(self, stream_id: int) -> None:
        """Queue StreamReadable, unless it waits already."""
        if stream_id not in self._readable:
            self._readable.add(stream_id)
            self.push(StreamReadable(stream_id))

    def datagram(self, data: bytes) -> None:
        """Queue a datagram; the oldest give way."""
        if self.reason is not None:
            return
        self._datagrams.append(data)
        self._datagram_bytes += len(data)
        while self._datagram_bytes > self._datagram_limit:
            self._datagram_bytes -= len(self._datagrams.popleft())
            self.datagrams_dropped += 1

    def close(self, reason: CloseReason) -> None:
        """Queue the end; only the first one counts."""
        if self.reason is None:
            self.reason = reason
            self._end.append(Closed(reason))

    def drained(self) -> None:
        """Queue Drained, once."""
        if not self._drained:
            self._drained = True
            self._end.append(Drained())

    def take(self) -> list[Event]:
        """Give and forget everything."""
        events = self._events
        if self._datagrams:
            events.extend(map(DatagramReceived, self._datagrams))
            self._datagrams.clear()
            self._datagram_bytes = 0
        events.extend(self._end)
        self._events, self._end = [], []
        self._readable.clear()
        return events
