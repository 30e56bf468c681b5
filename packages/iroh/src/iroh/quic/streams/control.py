"""The control frames of streams: what waits to be sent, what was sent, what was lost.

          want                 take                  on_acked
    ----------------> wanted ---------> in flight ----------------> settled
                        ^                   |
                        +------ on_lost ----+      unless it has become pointless

Only the name (kind, stream or direction) waits; the frame is made with the values of the moment
when it is taken. What was sent is named by its token (kind, stream or direction, value): a lost
frame is repeated only if no newer one of its name was sent since.
"""

from collections import deque
from collections.abc import Callable
from typing import ClassVar

from iroh.quic.frames import (
    DataBlocked,
    Frame,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    StreamDataBlocked,
    StreamsBlocked,
)
from iroh.quic.streams import recv, send
from iroh.quic.streams.ids import LocalIds, RemoteIds
from iroh.quic.streams.intake import Intake
from iroh.quic.streams.outlet import Outlet
from iroh.quic.streams.recv import RecvHalf
from iroh.quic.streams.send import BY_STREAM, SendHalf

RESET, STOP, MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS = range(5)
DATA_BLOCKED, STREAM_DATA_BLOCKED, STREAMS_BLOCKED = range(5, 8)

SIZES = (25, 17, 9, 17, 9, 9, 17, 9)
"""The largest encoding of each kind: one byte of type and varints of up to 8 bytes."""

Token = tuple[int, int, int]
"""(kind, stream id, or 1 for unidirectional, or 0; value): handed to recovery and back."""


class Control:
    """The control frames of one connection's streams.

    senders, receivers: the halves that live, by stream id; shared with Streams.
    local, remote: the ids of both directions, bidirectional first.
    """

    __slots__ = (
        "_stops",
        "_wanted",
        "intake",
        "local",
        "order",
        "outlet",
        "receivers",
        "remote",
        "senders",
    )

    def __init__(
        self,
        senders: dict[int, SendHalf],
        receivers: dict[int, RecvHalf],
        outlet: Outlet,
        intake: Intake,
        local: tuple[LocalIds, LocalIds],
        remote: tuple[RemoteIds, RemoteIds],
    ) -> None:
        self.senders: dict[int, SendHalf] = senders
        self.receivers: dict[int, RecvHalf] = receivers
        self.outlet: Outlet = outlet
        self.intake: Intake = intake
        self.local: tuple[LocalIds, LocalIds] = local
        self.remote: tuple[RemoteIds, RemoteIds] = remote
        self.order: deque[tuple[int, int]] = deque()
        self._wanted: set[tuple[int, int]] = set()
        self._stops: dict[int, int] = {}  # codes of the STOP_SENDING that wait

    def __len__(self) -> int:
        """How many frames may be waiting."""
        return len(self.order)

    def want(self, kind: int, which: int = 0) -> None:
        """Queue a frame, unless it waits already."""
        name = (kind, which)
        if name not in self._wanted:
            self._wanted.add(name)
            self.order.append(name)

    def want_stop(self, stream_id: int, code: int) -> None:
        """Queue STOP_SENDING; the half may be over and gone before it is sent."""
        self._stops[stream_id] = code
        self.want(STOP, stream_id)

    def take(self, budget: int) -> list[tuple[Frame, Token]]:
        """Give frames of at most `budget` bytes together, oldest first."""
        taken: list[tuple[Frame, Token]] = []
        order = self.order
        while order and budget >= SIZES[order[0][0]]:
            name = order.popleft()
            self._wanted.discard(name)
            made = self._MAKERS[name[0]](self, name[1])
            if made is not None:
                frame, value = made
                budget -= len(frame.encode())
                taken.append((frame, (*name, value)))
        return taken

    def on_lost(self, token: Token) -> None:
        """Want it again, if it still says something that nothing newer does."""
        kind, which, value = token
        if self._IS_LATEST[kind](self, which, value):
            if kind == STOP:
                self._stops[which] = value
            self.want(kind, which)

    def repeat(self, initial_max_data: int, initial_streams: tuple[int, int]) -> None:
        """Want everything again that the transport parameters did not say."""
        for half in self.senders.values():
            if half.state == send.RESET_SENT:
                self.want(RESET, half.stream_id)
        for receiver in self.receivers.values():
            if receiver.state == recv.STOPPED:
                self.want_stop(receiver.stream_id, receiver.stop_code)
        if self.intake.announced > initial_max_data:
            self.want(MAX_DATA)
        for which, ids in enumerate(self.remote):
            if ids.announced > initial_streams[which]:
                self.want(MAX_STREAMS, which)

    # -- one pair of methods for each kind: make the frame, tell whether a lost one matters --------

    def _reset(self, stream_id: int) -> tuple[Frame, int] | None:
        half = self.senders.get(stream_id)
        if half is None or half.state != send.RESET_SENT or half.max_data < 0:
            return None
        return ResetStream(stream_id, half.reset_code, half.next), 0

    def _is_reset(self, stream_id: int, _value: int) -> bool:
        half = self.senders.get(stream_id)
        return half is not None and half.state == send.RESET_SENT

    def _stop(self, stream_id: int) -> tuple[Frame, int] | None:
        sender = self.senders.get(stream_id)
        if sender is not None and sender.max_data < 0:
            return None
        code = self._stops.pop(stream_id, None)
        return None if code is None else (StopSending(stream_id, code), code)

    def _is_stopped(self, stream_id: int, _value: int) -> bool:
        half = self.receivers.get(stream_id)
        return half is not None and half.state == recv.STOPPED

    def _max_data(self, _which: int) -> tuple[Frame, int] | None:
        limit = self.intake.announced = self.intake.limit()
        return MaxData(limit), limit

    def _is_max_data(self, _which: int, value: int) -> bool:
        return self.intake.announced == value

    def _max_stream_data(self, stream_id: int) -> tuple[Frame, int] | None:
        half = self.receivers.get(stream_id)
        if half is None or half.state != recv.RECV:
            return None
        limit = half.announced = max(half.announced, half.limit())
        return MaxStreamData(stream_id, limit), limit

    def _is_max_stream_data(self, stream_id: int, value: int) -> bool:
        half = self.receivers.get(stream_id)
        return half is not None and half.announced == value

    def _max_streams(self, which: int) -> tuple[Frame, int] | None:
        ids = self.remote[which]
        ids.announced = ids.granted
        return MaxStreams(not which, ids.announced), ids.announced

    def _is_max_streams(self, which: int, value: int) -> bool:
        return self.remote[which].announced == value

    def _data_blocked(self, _which: int) -> tuple[Frame, int] | None:
        limit = self.outlet.limit
        return (DataBlocked(limit), limit) if self.outlet.is_blocked() else None

    def _is_data_blocked(self, _which: int, value: int) -> bool:
        return self.outlet.limit == value

    def _stream_data_blocked(self, stream_id: int) -> tuple[Frame, int] | None:
        half = self.senders.get(stream_id)
        if half is None or half.held_back() != BY_STREAM:
            return None
        return StreamDataBlocked(stream_id, half.max_data), half.max_data

    def _is_stream_data_blocked(self, stream_id: int, value: int) -> bool:
        half = self.senders.get(stream_id)
        return half is not None and half.max_data == value

    def _streams_blocked(self, which: int) -> tuple[Frame, int] | None:
        ids = self.local[which]
        return (StreamsBlocked(not which, ids.limit), ids.limit) if ids.wanted else None

    def _is_streams_blocked(self, which: int, value: int) -> bool:
        return self.local[which].limit == value

    _MAKERS: ClassVar[tuple[Callable[..., tuple[Frame, int] | None], ...]] = (
        _reset,
        _stop,
        _max_data,
        _max_stream_data,
        _max_streams,
        _data_blocked,
        _stream_data_blocked,
        _streams_blocked,
    )
    _IS_LATEST: ClassVar[tuple[Callable[..., bool], ...]] = (
        _is_reset,
        _is_stopped,
        _is_max_data,
        _is_max_stream_data,
        _is_max_streams,
        _is_data_blocked,
        _is_stream_data_blocked,
        _is_streams_blocked,
    )
