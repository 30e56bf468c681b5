"""What must be true of two ends that use their streams at random: the model of the random test.

Every command goes through the model. It knows which answers are right, so that an engine that
refuses what it should do, or does what it should refuse, is found as well as one that loses bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from iroh.quic import events as ev
from iroh.quic.config import TransportConfig
from iroh.quic.errors import (
    NO_VIABLE_PATH,
    ApplicationClosed,
    CloseReason,
    ConnectionClosed,
    ConnectionGone,
    LocallyClosed,
    StreamGone,
    StreamReset,
    StreamStopped,
    TransportError,
)

from .host import End
from .pair import Pair
from .traffic import content

IDLE_SLACK = 0.001


@dataclass(slots=True)
class HalfStream:
    """One direction of one stream, as both applications see it. `sender`: 0 client, 1 server."""

    stream_id: int
    sender: int
    written: int = 0
    finished: bool = False
    acknowledged: bool = False
    """The sender was told that the peer has everything."""
    reset_code: int | None = None
    told_stop: int | None = None
    """The code with which the sender was told to stop."""
    read: int = 0
    stop_code: int | None = None
    end_given: bool = False
    reset_given: bool = False

    @property
    def key(self) -> object:
        """What its content follows from."""
        return (self.stream_id, self.sender)

    @property
    def is_writable(self) -> bool:
        """Whether `write` must take bytes, if there is room."""
        return not self.finished and self.reset_code is None and self.told_stop is None

    @property
    def is_readable(self) -> bool:
        """Whether `read` must give bytes, "none yet", or the end."""
        return self.stop_code is None and not self.end_given and not self.reset_given

    def check(self, *, stopped: int | None = None, reset: int | None = None) -> None:
        """Check the code that an engine raised against what the other application said."""
        if stopped is not None:
            assert self.told_stop == stopped, self
        if reset is not None:
            assert self.is_readable, self
            assert self.reset_code == reset, self

    @property
    def is_over(self) -> bool:
        """Whether neither side has anything more to do or to hear."""
        sender_knows = self.acknowledged or self.told_stop is not None
        return not self.is_readable and (sender_knows or self.reset_code is not None)


@dataclass(slots=True)
class Side:
    """What one side knows. sent, got: numbers of datagrams."""

    known: list[int] = field(default_factory=list)
    """Streams that it opened, or was told of."""
    opened: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    wants: set[bool] = field(default_factory=set)
    """Kinds of streams that could not be opened."""
    may_open: set[bool] = field(default_factory=set)
    """Kinds it was told about afterwards."""
    sent: int = 0
    got: set[int] = field(default_factory=set)
    closed_with: tuple[int, bytes] | None = None
    gave_up_path: bool = False
    """It closed a path. When the other's was idle at that time, none is left that both have."""


class Model:
    """The two ends, and what is true of them."""

    def __init__(self, pair: Pair, config: TransportConfig) -> None:
        self.pair = pair
        self.config = config
        self.ends: tuple[End, End] = (pair.client, pair.server)
        self.sides = (Side(), Side())
        self.halves: dict[tuple[int, int], HalfStream] = {}
        self.on_event: Callable[[int, ev.Event], None] | None = None
        for number, end in enumerate(self.ends):
            end.listeners.append(lambda event, number=number: self._listen(number, event))

    @property
    def is_open(self) -> bool:
        """Whether both ends are."""
        return all(end.closed is None for end in self.ends)

    def sending(self, side: int) -> list[HalfStream]:
        """List the halves on which a side sends, as far as it knows the streams."""
        known = self.sides[side].known
        return [self.halves[key] for key in ((i, side) for i in known) if key in self.halves]

    def receiving(self, side: int) -> list[HalfStream]:
        """List the halves that a side reads."""
        known = self.sides[side].known
        return [self.halves[key] for key in ((i, 1 - side) for i in known) if key in self.halves]

    # -- commands ------------------------------------------------------------------------------

    def open(self, side: int, bidirectional: bool) -> int | None:
        """Open a stream. It may only fail at the peer's limit."""
        mine = self.sides[side]
        try:
            stream_id = self.ends[side].open_stream(bidirectional)
        except ConnectionGone:
            self._must_be_closed(side)
            return None
        config = self.config
        bidi, uni = config.max_concurrent_bidi_streams, config.max_concurrent_uni_streams
        if stream_id is None:
            assert mine.opened[bidirectional] >= (bidi if bidirectional else uni)
            mine.wants.add(bidirectional)
            mine.may_open.discard(bidirectional)
            return None
        assert stream_id == mine.opened[bidirectional] * 4 + (0 if bidirectional else 2) + side
        mine.opened[bidirectional] += 1
        mine.wants.discard(bidirectional)
        mine.known.append(stream_id)
        self.halves[stream_id, side] = HalfStream(stream_id, side)
        if bidirectional:
            self.halves[stream_id, 1 - side] = HalfStream(stream_id, 1 - side)
        return stream_id

    def write(self, half: HalfStream, size: int) -> int:
        """Write `size` bytes and say how many were taken."""
        data = content(half.key, half.written, size)
        taken = 0

        def write() -> None:
            nonlocal taken
            taken = self.ends[half.sender].write(half.stream_id, data)

        if self._as_sender(half, write, may=half.is_writable):
            half.written += taken
        return taken

    def finish(self, half: HalfStream) -> None:
        """Send the end."""
        end = self.ends[half.sender]
        if self._as_sender(half, lambda: end.finish(half.stream_id), may=half.is_writable):
            half.finished = True

    def reset(self, half: HalfStream, code: int) -> None:
        """Abandon sending. Allowed until it is known that all was received."""
        end = self.ends[half.sender]
        may = half.reset_code is None and half.told_stop is None and not half.acknowledged
        if self._as_sender(half, lambda: end.reset(half.stream_id, code), may=may):
            half.reset_code = code

    def _as_sender(self, half: HalfStream, act: Callable[[], None], may: bool) -> bool:
        try:
            act()
        except StreamStopped as error:
            half.check(stopped=error.code)
        except StreamGone:
            assert not may, f"refused: {half}"
        except ConnectionGone:
            self._must_be_closed(half.sender)
        else:
            assert may, f"not refused: {half}"
            return True
        return False

    def read(self, half: HalfStream, limit: int) -> int:
        """Read up to `limit` bytes, and say how many came."""
        side = 1 - half.sender
        try:
            data = self.ends[side].read(half.stream_id, limit)
        except StreamReset as error:
            half.check(reset=error.code)
            half.reset_given = True
        except StreamGone:
            assert not half.is_readable, f"refused: {half}"
        except ConnectionGone:
            self._must_be_closed(side)
        else:
            assert half.is_readable, f"not refused: {half}"
            if data is None:
                assert half.finished, half
                assert half.read == half.written, half
                half.end_given = True
            else:
                assert data == content(half.key, half.read, len(data)), f"other bytes: {half}"
                half.read += len(data)
                assert half.read <= half.written
                return len(data)
        return 0

    def stop(self, half: HalfStream, code: int) -> None:
        """Ask the peer to stop sending."""
        side = 1 - half.sender
        try:
            self.ends[side].stop(half.stream_id, code)
        except StreamGone:
            # A reset that arrived and was not read may have ended the half already.
            assert not half.is_readable or half.reset_code is not None, f"refused: {half}"
        except ConnectionGone:
            self._must_be_closed(side)
        else:
            assert half.is_readable, f"not refused: {half}"
            half.stop_code = code

    def set_priority(self, half: HalfStream, priority: int) -> None:
        """Let it go before others. Allowed until it is known that all was received."""
        end = self.ends[half.sender]
        try:
            end.connection.set_priority(half.stream_id, priority)
        except StreamGone:
            assert half.acknowledged or not half.is_writable, f"refused: {half}"
        except ConnectionGone:
            self._must_be_closed(half.sender)

    def send_datagram(self, side: int, size: int) -> None:
        """Send a datagram of at least 4 bytes, cut to what fits; none when nothing does."""
        end, mine = self.ends[side], self.sides[side]
        limit = end.connection.max_datagram_size()
        if limit is None or limit < 4:
            return  # closed, or without a path at this moment
        size = max(4, min(size, limit))
        data = mine.sent.to_bytes(4, "big") + content((side, mine.sent), 0, size - 4)
        try:
            end.send_datagram(data)
        except ConnectionGone:
            self._must_be_closed(side)
        else:
            mine.sent += 1

    def close(self, side: int, code: int) -> None:
        """Close one side."""
        reason = b"x" * (code % 50)
        if self.ends[side].closed is None:
            self.sides[side].closed_with = (code, reason)
        self.ends[side].close(code, reason)

    def _must_be_closed(self, side: int) -> None:
        end = self.ends[side]
        assert end.connection.close_reason is not None, f"{end} refuses, but is not closed"

    # -- events --------------------------------------------------------------------------------

    def _listen(self, side: int, event: ev.Event) -> None:
        action = _ACTIONS.get(type(event))
        if action is not None:
            action(self, side, event)
        if self.on_event is not None:
            self.on_event(side, event)

    def _on_opened(self, side: int, event: ev.StreamOpened) -> None:
        assert (event.stream_id, 1 - side) in self.halves, f"{event}: nobody opened it"
        self.sides[side].known.append(event.stream_id)

    def _on_readable(self, side: int, event: ev.StreamReadable) -> None:
        assert (event.stream_id, 1 - side) in self.halves, event
        assert event.stream_id in self.sides[side].known, f"{event} before StreamOpened"

    def _on_writable(self, side: int, event: ev.StreamWritable) -> None:
        assert (event.stream_id, side) in self.halves, event

    def _on_finished(self, side: int, event: ev.StreamFinished) -> None:
        half = self.halves[event.stream_id, side]
        assert half.finished, f"{event}: {half}"
        half.acknowledged = True

    def _on_stopped(self, side: int, event: ev.StreamStoppedByPeer) -> None:
        half = self.halves[event.stream_id, side]
        assert half.stop_code == event.code, f"{event}: {half}"
        half.told_stop = event.code

    def _on_streams(self, side: int, event: ev.StreamsAvailable) -> None:
        self.sides[side].may_open.add(event.bidirectional)

    def _on_datagram(self, side: int, event: ev.DatagramReceived) -> None:
        theirs, mine = self.sides[1 - side], self.sides[side]
        number = int.from_bytes(event.data[:4], "big")
        assert number < theirs.sent, f"datagram {number} was never sent"
        assert number not in mine.got, f"datagram {number} comes twice"
        mine.got.add(number)
        assert event.data[4:] == content((1 - side, number), 0, len(event.data) - 4)

    # -- what holds at any time ------------------------------------------------------------------

    def check_memory(self) -> None:
        """Nobody holds more than the windows allow."""
        config = self.config
        for number, (end, engine) in enumerate(self.pair.sides):
            held = 0
            for half in self.halves.values():
                if half.sender == number and half.is_readable and half.is_writable:
                    ahead = half.written - half.read
                    assert ahead <= config.send_window + config.stream_receive_window, half
                    held += ahead
            assert held <= config.send_window + config.receive_window
            if engine.can.held is not None and end.closed is None:
                assert engine.can.held(end.connection) <= config.send_window

    def check_closed(self) -> None:
        """Each end that closed says why, and it is true."""
        for side, end in enumerate(self.ends):
            if end.closed is not None:
                self._check_reason(side, end.closed)

    def _check_reason(self, side: int, reason: CloseReason) -> None:
        mine, theirs = self.sides[side], self.sides[1 - side]
        if isinstance(reason, LocallyClosed):
            assert mine.closed_with == (reason.code, reason.reason)
        elif isinstance(reason, ApplicationClosed):
            assert theirs.closed_with == (reason.code, reason.reason)
        elif isinstance(reason, TransportError) and reason.code == NO_VIABLE_PATH:
            assert mine.gave_up_path or theirs.gave_up_path
        elif isinstance(reason, ConnectionClosed) and reason.code == NO_VIABLE_PATH:
            assert isinstance(self.ends[1 - side].closed, TransportError)
        elif reason.kind == "Reset":
            assert self.ends[1 - side].closed is not None
        else:
            assert reason.kind == "TimedOut", f"{self.ends[side]}\n{self.pair.sim.story()}"
            at = self.ends[side].closed_at
            heard = self.pair.sim.network.heard.get(self.ends[side].host.name, 0.0)
            assert at is not None
            quiet = at - min(heard, at)
            late = self.ends[1 - side].closed is not None
            assert late or quiet >= self.config.max_idle_timeout - IDLE_SLACK, (
                f"timed out after {quiet} s of silence"
            )


_ACTIONS: dict[type[ev.Event], Callable[..., None]] = {
    ev.StreamOpened: Model._on_opened,
    ev.StreamReadable: Model._on_readable,
    ev.StreamWritable: Model._on_writable,
    ev.StreamFinished: Model._on_finished,
    ev.StreamStoppedByPeer: Model._on_stopped,
    ev.StreamsAvailable: Model._on_streams,
    ev.DatagramReceived: Model._on_datagram,
}
