"""Unreliable datagrams (RFC 9221) that wait: to be sent, or to be handed to the application.

    DATAGRAM frame    0x31 | length | data      with a length, as noq sends it

Both queues are bounded in bytes; the oldest give way to the newest, which are worth more.
"""

from collections import deque

from iroh.quic.config import TransportConfig
from iroh.quic.errors import (
    PROTOCOL_VIOLATION,
    DatagramTooLarge,
    DatagramUnsupported,
    PeerError,
)
from iroh.quic.events import DatagramReceived, Event
from iroh.quic.frames.datagram import encode_datagram, frame_size

OVERHEAD = 3
"""Bytes of a frame before its data: type and a length of up to two bytes."""
COST = 32
"""Charged per queued datagram besides its bytes (noq: its own record), so that empty ones do not
pile up without bound."""


class DatagramQueue:
    """The datagrams of one connection.

    config: the sizes of both queues, bytes. A receive buffer of 0: we take no datagrams.
    events: where DatagramReceived is appended; who drains it clears it in place.
    dropped_sent, dropped_received: how many gave way.
    outgoing: what waits to be sent, the oldest first; only to be looked at.
    """

    __slots__ = (
        "_events",
        "_last",
        "_last_at",
        "_peer_limit",
        "_receive_size",
        "_received",
        "_send_size",
        "_used",
        "dropped_received",
        "dropped_sent",
        "outgoing",
    )

    def __init__(self, config: TransportConfig, events: list[Event]) -> None:
        self.dropped_sent: int = 0
        self.dropped_received: int = 0
        self._send_size = config.datagram_send_buffer_size
        self._receive_size = config.datagram_receive_buffer_size
        self._peer_limit = 0
        self.outgoing: deque[bytes] = deque()
        self._used = 0
        self._events = events
        self._received = 0  # charged for datagrams in `events`
        self._last: Event | None = None  # the newest of them, and its place
        self._last_at = 0

    def set_peer_limit(self, max_datagram_frame_size: int) -> None:
        """Take the peer's transport parameter, 0 when it sent none."""
        self._peer_limit = max_datagram_frame_size

    # -- sending ---------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        """Whether `take` may have something."""
        return bool(self.outgoing)

    def max_size(self, room: int) -> int | None:
        """Give the largest datagram for a packet with `room` bytes of payload.

        None when the peer takes none.
        """
        if self._peer_limit <= OVERHEAD:
            return None
        return max(0, min(room, self._peer_limit) - OVERHEAD)

    def space(self) -> int:
        """Bytes of one datagram that could be queued without dropping another."""
        return max(0, self._send_size - self._used - COST)

    def send(self, data: bytes, room: int) -> None:
        """Queue one; the oldest give way. room: as for `max_size`.

        Raises DatagramUnsupported, DatagramTooLarge.
        """
        limit = self.max_size(room)
        if limit is None:
            raise DatagramUnsupported("datagrams not supported by peer")
        if len(data) > min(limit, self._send_size - COST):
            raise DatagramTooLarge("datagram too large")
        self.outgoing.append(bytes(data))
        self._used += len(data) + COST
        while self._used > self._send_size:
            self._pop()
            self.dropped_sent += 1

    def take_run(self, count: int, room: int) -> list[bytes]:
        """Take the payloads of up to `count` packets with `room` bytes each, the oldest first.

        All have one size, but the last may be smaller. What fits no packet is left to `take`.
        """
        payloads: list[bytes] = []
        while len(payloads) < count:
            number, used = self._fitting(room)
            if not number or (payloads and used > len(payloads[0])):
                break
            frames = [encode_datagram(self._pop()) for _ in range(number)]
            payloads.append(frames[0] if number == 1 else b"".join(frames))
            if used < len(payloads[0]):
                break
        return payloads

    def _fitting(self, room: int) -> tuple[int, int]:
        """How many of the oldest fit into one packet, and the bytes of their frames."""
        number = used = 0
        for data in self.outgoing:
            needed = frame_size(len(data))
            if used + needed > room:
                break
            number += 1
            used += needed
        return number, used

    def take(self, room: int, largest: int) -> bytes | None:
        """Take the oldest datagram if it fits into `room` bytes of payload, else None.

        largest: the room of an empty packet. What would not even fit there, because the path or
        the connection id has changed since, is dropped.
        """
        while self.outgoing:
            needed = len(self.outgoing[0]) + OVERHEAD
            if needed <= room:
                return self._pop()
            if needed <= largest:
                return None
            self._pop()
            self.dropped_sent += 1
        return None

    # -- receiving -------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take a DATAGRAM frame; the oldest give way. Raises PeerError when we take none."""
        if not self._receive_size:
            raise PeerError(PROTOCOL_VIOLATION, "we take no datagrams", 0x30)
        events = self._events
        at = self._last_at
        if len(events) <= at or events[at] is not self._last:
            self._received = 0  # drained since
        cost = len(data) + COST
        if cost > self._receive_size:
            self.dropped_received += 1
            return
        self._received += cost
        while self._received > self._receive_size:
            self._drop_oldest()
        self._last = DatagramReceived(data)
        self._last_at = len(events)
        events.append(self._last)

    # -- inside ----------------------------------------------------------------------------------

    def _drop_oldest(self) -> None:
        events = self._events
        for at, event in enumerate(events):
            if type(event) is DatagramReceived:
                del events[at]
                self._received -= len(event.data) + COST
                self.dropped_received += 1
                return

    def _pop(self) -> bytes:
        data = self.outgoing.popleft()
        self._used -= len(data) + COST
        return data
