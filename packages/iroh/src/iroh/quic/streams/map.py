"""All streams of a connection: commands of the application, frames of the peer, things to send.

commands ------> StreamCommands ---+
frames --------> Streams ----------+---> StreamTable and what it holds
events <---------------------------+
packets <------- next_sender, take_control
"""

from iroh.quic.events import StreamReadable, StreamStoppedByPeer
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
from iroh.quic.streams import control
from iroh.quic.streams.commands import StreamCommands
from iroh.quic.streams.control import Token
from iroh.quic.streams.recv import DATA_RECVD, OVER
from iroh.quic.streams.send import SendHalf
from iroh.quic.varint import Buffer


class Streams(StreamCommands):
    """The streams of one connection."""

    # -- frames of the peer: all raise PeerError -------------------------------------------------

    def on_stream(self, stream_id: int, offset: int, data: Buffer, fin: bool) -> None:
        """Take a STREAM frame. data: bytes, or a view of bytes that nobody changes any more."""
        half = self._receivers.get(stream_id)
        if half is None:
            half = self._admit_receiver(stream_id, 0x08)
            if half is None:
                return
        if half.on_data(offset, data, fin):
            if not half.signalled:
                half.signalled = True
                self._events.append(StreamReadable(stream_id))
        elif half.state > DATA_RECVD:  # stopped, or over
            self._check_window()
            if half.state in OVER:
                self._forget_receiver(stream_id)

    def on_reset_stream(self, frame: ResetStream) -> None:
        """Take RESET_STREAM: what was not read is lost."""
        half = self._admit_receiver(frame.stream_id, 0x04)
        if half is None:
            return
        if half.on_reset(frame.code, frame.final_size) and not half.signalled:
            half.signalled = True
            self._events.append(StreamReadable(frame.stream_id))
        self._check_window()
        if half.state in OVER:
            self._forget_receiver(frame.stream_id)

    def on_stop_sending(self, frame: StopSending) -> None:
        """Take STOP_SENDING: our half is reset with the same code (RFC 9000 section 3.5)."""
        stream_id, code = frame.stream_id, frame.code
        half = self._admit_sender(stream_id, 0x05)
        if half is None or not half.reset(code):
            return
        self._remember_stop(stream_id, code)
        self.control.want(control.RESET, stream_id)
        self._events.append(StreamStoppedByPeer(stream_id, code))

    def on_max_data(self, frame: MaxData) -> None:
        """Take MAX_DATA."""
        self.outlet.raise_limit(frame.limit)

    def on_max_stream_data(self, frame: MaxStreamData) -> None:
        """Take MAX_STREAM_DATA."""
        half = self._admit_sender(frame.stream_id, 0x11)
        if half is not None and half.max_data >= 0:
            self._raise_stream(half, frame.limit)

    def on_max_streams(self, frame: MaxStreams) -> None:
        """Take MAX_STREAMS."""
        which = 0 if frame.bidirectional else 1
        if frame.count > self._local[which].limit:
            self._local[which].limit = frame.count
            self._allow(which)

    def on_data_blocked(self, frame: DataBlocked) -> None:
        """Take DATA_BLOCKED: our windows follow the reader, whatever the peer would like."""

    def on_stream_data_blocked(self, frame: StreamDataBlocked) -> None:
        """Take STREAM_DATA_BLOCKED: it opens the stream, and says nothing else we need."""
        self._admit_receiver(frame.stream_id, 0x15)

    def on_streams_blocked(self, frame: StreamsBlocked) -> None:
        """Take STREAMS_BLOCKED: the limit follows what the application has done with streams."""

    # -- sending ---------------------------------------------------------------------------------
    # Who sends packets may look into `outlet` and `control` itself: it asks per packet.

    def has_data(self) -> bool:
        """Whether `next_sender` has something. Ask before `has_control`: it may find a block."""
        return self.outlet.peek() is not None

    def has_control(self) -> bool:
        """Whether `take_control` may have something."""
        return len(self.control) > 0

    def next_sender(self) -> SendHalf | None:
        """Give the half whose turn it is: highest priority, then lost data, then in turn."""
        return self.outlet.next_sender()

    def take_control(self, budget: int) -> list[tuple[Frame, Token]]:
        """Give control frames of at most `budget` bytes together, each with its token."""
        return self.control.take(budget)

    def on_acked(self, info: Token) -> None:
        """A control frame arrived."""
        if info[0] == control.RESET:
            half = self._senders.get(info[1])
            if half is not None:
                half.on_reset_acked()

    def on_lost(self, info: Token) -> None:
        """A control frame was lost."""
        self.control.on_lost(info)
