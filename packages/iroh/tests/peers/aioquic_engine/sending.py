"""The sending half of a stream, in the shape that aioquic's QuicConnection drives.

    0 ....... _start ........... highest_offset ........... _stop
      acknowledged   sent, some lost      written, not sent
                     |---- _buffer, counted in SendBudget.held ----|

`write` takes bytes only below two marks: SendBudget.window for all streams of the connection
together and HIGH_WATER for one stream, so that a writer that is faster than the network waits.
"""

from aioquic.quic.packet import QuicResetStreamFrame, QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState

from aioquic_engine.ranges import Ranges
from aioquic_engine.signals import Signals
from iroh.quic.events import StreamFinished

HIGH_WATER = 1_250_000
"""Bytes one stream holds: noq's STREAM_RWND, as much as a Rust peer lets us have in flight."""
LOW_WATER = HIGH_WATER // 2
"""A writer that met the mark is woken below this, not for every packet."""


class SendBudget:
    """Bytes held for all streams of a connection: written and not yet acknowledged."""

    __slots__ = ("held", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.held = 0

    @property
    def room(self) -> int:
        """Bytes that may still be written."""
        return max(0, self.window - self.held)

    @property
    def is_low(self) -> bool:
        """Whether enough has drained to wake writers."""
        return self.held <= self.window // 2


class SendHalf:
    """Holds written bytes until they are acknowledged.

    writable: False for the missing half of the peer's unidirectional streams.
    budget, signals: None for CRYPTO data, which is not limited.
    """

    __slots__ = (
        "_acked",
        "_budget",
        "_buffer",
        "_fin",
        "_fin_acked",
        "_fin_pending",
        "_pending",
        "_reset_code",
        "_signals",
        "_start",
        "_stop",
        "_stream_id",
        "buffer_is_empty",
        "highest_offset",
        "is_finished",
        "reset_pending",
        "stopped_code",
    )

    def __init__(
        self,
        stream_id: int,
        budget: SendBudget | None,
        signals: Signals | None,
        writable: bool = True,
    ) -> None:
        self.buffer_is_empty = True
        self.highest_offset = 0
        self.is_finished = not writable
        self.reset_pending = False
        self.stopped_code: int | None = None
        """The code of the peer's STOP_SENDING."""
        self._acked = Ranges()
        self._buffer = bytearray()
        self._budget = budget
        self._fin: int | None = None
        self._fin_acked = False
        self._fin_pending = False
        self._pending = Ranges()
        self._reset_code: int | None = None
        self._signals = signals
        self._start = 0
        self._stop = 0
        self._stream_id = stream_id

    @property
    def is_open(self) -> bool:
        """Whether bytes can be written: neither finished nor reset."""
        return not self.is_finished and self._fin is None and self._reset_code is None

    @property
    def is_reset(self) -> bool:
        """Whether the stream was reset, by us or by the peer's STOP_SENDING."""
        return self._reset_code is not None

    @property
    def held(self) -> int:
        """Bytes written and not acknowledged."""
        return len(self._buffer)

    # -- from the writer -----------------------------------------------------------------------

    def write(self, data: bytes, end_stream: bool = False) -> None:
        """Queue bytes and perhaps the end. The caller has checked `is_open` and the marks."""
        size = len(data)
        if size:
            self.buffer_is_empty = False
            self._pending.add(self._stop, self._stop + size)
            self._buffer += data
            self._stop += size
            if self._budget is not None:
                self._budget.held += size
        if end_stream:
            self.buffer_is_empty = False
            self._fin = self._stop
            self._fin_pending = True

    def reset(self, error_code: int) -> None:
        """Abandon the stream. Without effect when it is reset or acknowledged already."""
        if self._reset_code is not None or self.is_finished:
            return
        self._reset_code = error_code
        self.reset_pending = True
        self.buffer_is_empty = True
        self._release(len(self._buffer))
        self._buffer = bytearray()

    # -- from aioquic --------------------------------------------------------------------------

    @property
    def next_offset(self) -> int:
        """Where the next frame starts."""
        first = self._pending.first()
        return self._stop if first is None else first[0]

    def get_frame(self, max_size: int, max_offset: int | None = None) -> QuicStreamFrame | None:
        """Give the next frame of at most `max_size` bytes that ends at most at `max_offset`."""
        if max_size < 0:
            return None
        first = self._pending.first()
        if first is None:
            if self._fin_pending:
                self._fin_pending = False
                return QuicStreamFrame(fin=True, offset=self._stop)
            self.buffer_is_empty = True
            return None
        start, stop = first[0], min(first[1], first[0] + max_size)
        if max_offset is not None:
            stop = min(stop, max_offset)
        if stop <= start:
            return None
        data = bytes(self._buffer[start - self._start : stop - self._start])
        self._pending.subtract(start, stop)
        self.highest_offset = max(self.highest_offset, stop)
        fin = stop == self._fin
        if fin:
            self._fin_pending = False
        return QuicStreamFrame(data=data, offset=start, fin=fin)

    def get_reset_frame(self) -> QuicResetStreamFrame:
        """Give the RESET_STREAM that is due."""
        self.reset_pending = False
        assert self._reset_code is not None
        return QuicResetStreamFrame(
            error_code=self._reset_code, final_size=self.highest_offset, stream_id=self._stream_id
        )

    def on_data_delivery(
        self, delivery: QuicDeliveryState, start: int, stop: int, fin: bool
    ) -> None:
        """A frame was acknowledged or lost."""
        if self._reset_code is not None:
            return
        if delivery == QuicDeliveryState.ACKED:
            self._on_acked(start, stop, fin)
            return
        self.buffer_is_empty = False
        if stop > start:
            self._pending.add(start, stop)
        if fin:
            self._fin_pending = True

    def on_reset_delivery(self, delivery: QuicDeliveryState) -> None:
        """RESET_STREAM was acknowledged or lost."""
        if delivery == QuicDeliveryState.ACKED:
            self.is_finished = True
        else:
            self.reset_pending = True

    # -- inside --------------------------------------------------------------------------------

    def _on_acked(self, start: int, stop: int, fin: bool) -> None:
        if stop > start:
            self._acked.add(start, stop)
            first = self._acked.first()
            if first is not None and first[0] == self._start:
                self._acked.drop_first()
                self._release(first[1] - first[0])
                del self._buffer[: first[1] - first[0]]
                self._start = first[1]
        self._fin_acked = self._fin_acked or fin
        if self._fin_acked and self._start == self._fin and not self.is_finished:
            self.is_finished = True
            if self._signals is not None:
                self._signals.push(StreamFinished(self._stream_id))

    def _release(self, count: int) -> None:
        if self._budget is not None:
            self._budget.held -= count
