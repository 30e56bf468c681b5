"""aioquic's connection with our own streams, windows and datagram queues.

aioquic grows every window by what the peer *claims* and hands stream data out in unbounded events.
Here the windows follow what the application has read (`Stream.advance_window`, `Intake`), and the
data stays in the stream until it is read.

Names with an underscore override aioquic 1.7.2 or are read from it; tests/quic/test_seams.py
asserts that each of them exists.
"""

from typing import Any

from aioquic._buffer import Buffer
from aioquic.buffer import UINT_VAR_MAX
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    QuicConnection,
    QuicConnectionError,
    QuicReceiveContext,
    stream_is_client_initiated,
    stream_is_unidirectional,
)
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.stream import StreamFinishedError

from aioquic_engine.receiving import Intake, ReceiveHalf
from aioquic_engine.sending import HIGH_WATER, LOW_WATER, SendBudget, SendHalf
from aioquic_engine.signals import Signals
from aioquic_engine.streams import WINDOW_STEP, Stream, StreamLimit
from iroh.quic.config import TransportConfig
from iroh.quic.events import (
    StreamOpened,
    StreamsAvailable,
    StreamStoppedByPeer,
    StreamWritable,
)

MAX_STOPPED = 1024
"""Stop codes remembered for streams that are gone already, so that a late writer learns them."""
DATAGRAM_OVERHEAD = 3
"""Frame type and a two-byte length (RFC 9221 section 4)."""
SHORT_HEADER = 3
"""First byte and a two-byte packet number (RFC 9000 section 17.3), without the connection id."""
AEAD_TAG = 16


class StreamCore(QuicConnection):
    """The streams and datagrams of one connection."""

    _sorts = False  # whether a priority was ever set; a class attribute: __init__ needs it early

    def __init__(
        self,
        configuration: QuicConfiguration,
        transport: TransportConfig,
        signals: Signals,
        **arguments: Any,
    ) -> None:
        super().__init__(configuration=configuration, **arguments)
        self.signals = signals
        self.intake = Intake()
        self.budget = SendBudget(transport.send_window)
        self._transport = transport
        self._receive_window = transport.receive_window
        self._blocked: dict[int, SendHalf] = {}
        self._wanted: set[bool] = set()
        self._stopped: dict[int, int] = {}
        self._datagram_bytes = 0
        bidi: Any = StreamLimit(
            QuicFrameType.MAX_STREAMS_BIDI, "bidi", transport.max_concurrent_bidi_streams
        )
        uni: Any = StreamLimit(
            QuicFrameType.MAX_STREAMS_UNI, "uni", transport.max_concurrent_uni_streams
        )
        self._local_max_streams_bidi = bidi
        self._local_max_streams_uni = uni

    # -- commands ------------------------------------------------------------------------------

    def open_stream(self, bidirectional: bool) -> int | None:
        """Open a stream, None when the peer's limit is reached."""
        stream_id = self.get_next_available_stream_id(is_unidirectional=not bidirectional)
        if bidirectional:
            limit, window = self._remote_max_streams_bidi, self._remote_max_stream_data_bidi_remote
        else:
            limit, window = self._remote_max_streams_uni, self._remote_max_stream_data_uni
        if not self._handshake_complete or stream_id // 4 >= limit:
            self._wanted.add(bidirectional)
            return None
        self._add_stream(stream_id, readable=bidirectional, writable=True, remote_window=window)
        if bidirectional:
            self._local_next_stream_id_bidi = stream_id + 4
        else:
            self._local_next_stream_id_uni = stream_id + 4
        return stream_id

    def find_stream(self, stream_id: int) -> Stream | None:
        """Give a stream that is not over."""
        stream: Any = self._streams.get(stream_id)
        found: Stream | None = stream
        return found

    def stopped_code(self, stream_id: int) -> int | None:
        """Give the code with which the peer stopped a stream, as long as it is remembered."""
        return self._stopped.get(stream_id)

    def write_stream(self, stream: Stream, data: bytes) -> int:
        """Queue as much as the marks allow and say how much that was."""
        sender = stream.sender
        taken = min(self.budget.room, max(0, HIGH_WATER - sender.held), len(data))
        if taken:
            sender.write(data if taken == len(data) else data[:taken])
        if taken < len(data):
            self._blocked[stream.stream_id] = sender
        return taken

    def set_priority(self, stream: Stream, priority: int) -> None:
        """Let this stream go before those of a lower priority."""
        stream.priority = priority
        self._sorts = True

    def set_stream_count(self, bidirectional: bool, count: int) -> None:
        """Change how many streams the peer may hold open."""
        limit: Any = self._local_max_streams_bidi if bidirectional else self._local_max_streams_uni
        limit.set_count(count)

    def set_receive_window(self, size: int) -> None:
        """Change the connection's window."""
        self._receive_window = size

    def wake_writers(self) -> None:
        """Say StreamWritable for the streams that were held back and have drained."""
        if not self._blocked or not self.budget.is_low:
            return
        for stream_id, sender in list(self._blocked.items()):
            if not sender.is_open:
                del self._blocked[stream_id]
            elif sender.held <= LOW_WATER:
                del self._blocked[stream_id]
                self.signals.push(StreamWritable(stream_id))

    # -- datagrams -----------------------------------------------------------------------------

    def max_datagram_payload(self) -> int | None:
        """Give the largest datagram that fits into a packet; None when the peer takes none."""
        limit = self._remote_max_datagram_frame_size
        if not self._handshake_complete or not limit or limit <= DATAGRAM_OVERHEAD:
            return None
        packet = self._max_datagram_size - SHORT_HEADER - len(self._peer_cid.cid) - AEAD_TAG
        return min(packet, limit) - DATAGRAM_OVERHEAD

    @property
    def datagram_room(self) -> int:
        """Bytes of datagrams that can be queued without dropping."""
        return max(0, self._transport.datagram_send_buffer_size - self._datagram_bytes)

    def queue_datagram(self, data: bytes) -> None:
        """Queue a datagram; the oldest give way."""
        self._datagrams_pending.append(data)
        self._datagram_bytes += len(data)
        while self._datagram_bytes > self._transport.datagram_send_buffer_size:
            self._datagram_bytes -= len(self._datagrams_pending.popleft())

    def _write_datagram_frame(
        self, builder: QuicPacketBuilder, data: bytes, frame_type: QuicFrameType
    ) -> bool:
        # A peer that changes to a longer connection id may leave no room for what was queued.
        if len(data) <= (self.max_datagram_payload() or 0):
            super()._write_datagram_frame(builder, data, frame_type)
        self._datagram_bytes -= len(data)
        return True

    def _handle_datagram_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        with_length = frame_type == QuicFrameType.DATAGRAM_WITH_LENGTH
        length = buf.pull_uint_var() if with_length else buf.capacity - buf.tell()
        data = buf.pull_bytes(length)
        if not self._transport.datagram_receive_buffer_size:
            raise QuicConnectionError(
                error_code=QuicErrorCode.PROTOCOL_VIOLATION,
                frame_type=frame_type,
                reason_phrase="Unexpected DATAGRAM frame",
            )
        self.signals.datagram(data)

    # -- streams, from aioquic -----------------------------------------------------------------

    @property
    def _streams_queue(self) -> Any:
        """The streams in the order in which they are served; aioquic rotates and rebuilds it."""
        if self._sorts:
            self._queue.sort(key=lambda stream: -stream.priority)  # stable
        return self._queue

    @_streams_queue.setter
    def _streams_queue(self, streams: Any) -> None:
        self._queue = streams

    def _add_stream(
        self, stream_id: int, *, readable: bool, writable: bool, remote_window: int
    ) -> Stream:
        stream = Stream(
            stream_id,
            ReceiveHalf(stream_id, self.intake, self.signals, readable),
            SendHalf(stream_id, self.budget, self.signals, writable),
            self._transport.stream_receive_window if readable else 0,
            remote_window,
        )
        entry: Any = stream
        self._streams[stream_id] = entry
        self._streams_queue.append(entry)
        return stream

    def _get_or_create_stream(self, frame_type: int, stream_id: int) -> Any:
        if self._stream_is_discarded(stream_id):
            raise StreamFinishedError
        stream = self.find_stream(stream_id)
        if stream is not None:
            return stream
        if stream_is_client_initiated(stream_id) == self._is_client:
            raise QuicConnectionError(
                error_code=QuicErrorCode.STREAM_STATE_ERROR,
                frame_type=frame_type,
                reason_phrase="Wrong stream initiator",
            )
        limit = self._stream_limit(stream_id)
        count = stream_id // 4 + 1
        if count > limit.value:
            raise QuicConnectionError(
                error_code=QuicErrorCode.STREAM_LIMIT_ERROR,
                frame_type=frame_type,
                reason_phrase="Too many streams open",
            )
        writable = not stream_is_unidirectional(stream_id)
        window = self._remote_max_stream_data_bidi_local if writable else 0
        # Lower streams of the same kind are opened along with it (RFC 9000 section 2.1).
        for new_id in range(limit.used * 4 + stream_id % 4, stream_id + 4, 4):
            stream = self._add_stream(
                new_id, readable=True, writable=writable, remote_window=window
            )
            self.signals.push(StreamOpened(new_id))
        limit.used = count
        return stream

    def _handle_stop_sending_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        stream_id = buf.pull_uint_var()
        code = buf.pull_uint_var()
        self._assert_stream_can_send(frame_type, stream_id)
        sender = self._get_or_create_stream(frame_type, stream_id).sender
        if sender.is_finished or sender.is_reset:
            return
        sender.stopped_code = code
        sender.reset(code)
        self._stopped[stream_id] = code
        if len(self._stopped) > MAX_STOPPED:
            del self._stopped[next(iter(self._stopped))]
        self.signals.push(StreamStoppedByPeer(stream_id, code))

    def _unblock_streams(self, is_unidirectional: bool) -> None:
        bidirectional = not is_unidirectional
        if bidirectional in self._wanted:
            self._wanted.discard(bidirectional)
            self.signals.push(StreamsAvailable(bidirectional))

    # -- windows -------------------------------------------------------------------------------

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: Any) -> None:
        data = self._local_max_data
        granted = min(self.intake.consumed + self._receive_window, UINT_VAR_MAX)
        data.value = max(data.value, granted)
        if data.value - data.sent >= max(1, self._receive_window // WINDOW_STEP):
            self._write_limit(builder, data)
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            streams: Any = limit
            if streams.is_due:
                self._write_limit(builder, streams)

    def _write_limit(self, builder: QuicPacketBuilder, limit: Any) -> None:
        buf = builder.start_frame(
            limit.frame_type,
            capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
            handler=self._on_connection_limit_delivery,
            handler_args=(limit,),
        )
        buf.push_uint_var(limit.value)
        limit.sent = limit.value

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: Any, stream: Any) -> None:
        if not stream.window_is_due:
            return
        buf = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        buf.push_uint_var(stream.stream_id)
        buf.push_uint_var(stream.max_stream_data_local)
        stream.max_stream_data_local_sent = stream.max_stream_data_local
