"""The receiving half of a stream, in the shape that aioquic's QuicConnection drives.

    0 ......... read_offset ......... _next ......... highest_offset
      given to      ready, in order      holes and
      the reader                         fragments

                 handle_frame                      read gives the end
    receiving ------------------> size known -----------------------> finished
        |  \\                                                            ^
        |   \\-- handle_reset --> reset --- read raises StreamReset -----|
        \\------ stop -----------> stopped --- size known ---------------/

Unlike aioquic's receiver it is finished only when the *reader* has seen the end, so a stream that
nobody reads counts against the peer's stream limit and its bytes against the windows.
"""

from collections import deque

from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicStopSendingFrame,
    QuicStreamFrame,
)
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import FinalSizeError

from aioquic_engine.reassembly import Fragments, TooManyFragments
from aioquic_engine.signals import Signals
from iroh.quic.errors import StreamGone, StreamReset

MAX_CRYPTO_AHEAD = 16384
"""Out-of-order CRYPTO bytes held (noq TransportConfig::crypto_buffer_size)."""

_SMALL = 256
_JOINED = 4096
"""Pieces below _SMALL are joined up to _JOINED, or a peer's tiny frames would cost 50 times their
size as Python objects."""


class Intake:
    """How many stream bytes of a connection are out of the way: read, or given up."""

    __slots__ = ("consumed",)

    def __init__(self) -> None:
        self.consumed = 0


class ReceiveHalf:
    """Puts frames in order and holds what the reader has not taken.

    readable: False for the missing half of our own unidirectional streams.
    """

    __slots__ = (
        "_fragments",
        "_head",
        "_intake",
        "_next",
        "_ready",
        "_reset_code",
        "_signals",
        "_stop_code",
        "_stream_id",
        "final_size",
        "highest_offset",
        "is_finished",
        "read_offset",
        "stop_pending",
        "stopped",
    )

    def __init__(
        self, stream_id: int, intake: Intake, signals: Signals | None, readable: bool = True
    ) -> None:
        self.final_size: int | None = None
        self.highest_offset = 0
        self.is_finished = not readable
        self.read_offset = 0
        self.stop_pending = False
        self.stopped = False
        self._fragments = Fragments()
        self._head = 0  # bytes of _ready[0] that were given already
        self._intake = intake
        self._next = 0
        self._ready: deque[bytes | bytearray] = deque()
        self._reset_code: int | None = None
        self._signals = signals
        self._stop_code = 0
        self._stream_id = stream_id

    # -- from aioquic --------------------------------------------------------------------------

    def starting_offset(self) -> int:
        """The first offset that is still missing."""
        return self._next

    def handle_frame(self, frame: QuicStreamFrame) -> StreamDataReceived | None:
        """Take a STREAM frame. Raises FinalSizeError, QuicConnectionError; never gives an event."""
        end = frame.offset + len(frame.data)
        self._check_size(end, frame.fin)
        grown = max(0, end - self.highest_offset)
        self.highest_offset += grown
        if self.stopped:
            self._give_up(grown)
            self.is_finished = self.final_size is not None
        elif not self.is_finished and self._reset_code is None:
            before = self._next
            self._store(frame)
            if self._next > before or self._next == self.final_size:
                self._notify()
        return None

    def handle_reset(self, *, final_size: int, error_code: int = 0) -> None:
        """Take RESET_STREAM. Raises FinalSizeError; never gives an event."""
        if self.final_size is not None and final_size != self.final_size:
            raise FinalSizeError("Cannot change final size")
        if final_size < self.highest_offset:
            raise FinalSizeError("Data received beyond final size")
        complete = self._next == self.final_size
        self.highest_offset = self.final_size = final_size
        if self.is_finished or complete or self._reset_code is not None:
            return  # what has arrived completely is not lost by a late reset
        self._discard()
        if self.stopped:
            self.is_finished = True
        else:
            self._reset_code = error_code
            self._notify()

    def get_stop_frame(self) -> QuicStopSendingFrame:
        """Give the STOP_SENDING that is due."""
        self.stop_pending = False
        return QuicStopSendingFrame(error_code=self._stop_code, stream_id=self._stream_id)

    def on_stop_sending_delivery(self, delivery: QuicDeliveryState) -> None:
        """Send a lost STOP_SENDING again, if the peer still needs it."""
        if delivery != QuicDeliveryState.ACKED and self.final_size is None:
            self.stop_pending = True

    # -- from the reader -----------------------------------------------------------------------

    def read(self, limit: int) -> bytes | None:
        """Take up to `limit` bytes; b"" for none yet, None at the end.

        Raises StreamReset once after a reset, StreamGone when there is nothing more to come.
        """
        if self.is_finished or self.stopped:
            raise StreamGone(f"stream {self._stream_id}: receiving is over")
        if self._reset_code is not None:
            self.is_finished = True
            raise StreamReset(self._reset_code)
        if self._ready and limit > 0:
            data = self._take(limit)
            self.read_offset += len(data)
            self._intake.consumed += len(data)
            return data
        if self._next == self.final_size and not self._ready:
            self.is_finished = True
            return None
        return b""

    def stop(self, error_code: int) -> None:
        """Ask for STOP_SENDING and drop what comes. Raises StreamGone."""
        if self.is_finished or self.stopped:
            raise StreamGone(f"stream {self._stream_id}: receiving is over")
        self.stopped = True
        self._stop_code = error_code
        self._discard()
        if self.final_size is None:
            self.stop_pending = True
        else:
            self.is_finished = True

    # -- inside --------------------------------------------------------------------------------

    def _check_size(self, end: int, fin: bool) -> None:
        """RFC 9000 section 4.5."""
        if self.final_size is not None and (
            end > self.final_size or (fin and end != self.final_size)
        ):
            raise FinalSizeError("Data received beyond final size")
        if fin:
            if end < self.highest_offset:
                raise FinalSizeError("Data received beyond final size")
            self.final_size = end

    def _store(self, frame: QuicStreamFrame) -> None:
        offset, data = frame.offset, frame.data
        if offset < self._next:
            data = data[self._next - offset :]
            offset = self._next
        if not data:
            return
        if offset == self._next and not self._fragments:
            self._append(data)
            return
        try:
            self._fragments.add(offset, data)
        except TooManyFragments:
            raise QuicConnectionError(
                error_code=QuicErrorCode.PROTOCOL_VIOLATION,
                frame_type=QuicFrameType.STREAM_BASE,
                reason_phrase="too many stream fragments out of order",
            ) from None
        for chunk in self._fragments.take(self._next):
            self._append(chunk)

    def _append(self, data: bytes | bytearray) -> None:
        self._next += len(data)
        if len(data) >= _SMALL:
            self._ready.append(data)
            return
        last = self._ready[-1] if self._ready else None
        if isinstance(last, bytearray) and len(last) < _JOINED:
            last += data
        else:
            self._ready.append(bytearray(data))

    def _take(self, limit: int) -> bytes:
        ready = self._ready
        if not self._head and len(ready) == 1 and len(ready[0]) <= limit:
            return bytes(ready.popleft())  # no copy when it is a bytes object
        parts = []
        while limit and ready:
            chunk = ready[0]
            piece = chunk[self._head : self._head + limit]
            parts.append(piece)
            limit -= len(piece)
            self._head += len(piece)
            if self._head == len(chunk):
                ready.popleft()
                self._head = 0
        return b"".join(parts)

    def _discard(self) -> None:
        """Forget what is held and count all that is known as read, so the windows move on."""
        self._ready.clear()
        self._head = 0
        self._fragments.clear()
        self._give_up(self.highest_offset - self.read_offset)

    def _give_up(self, count: int) -> None:
        self.read_offset += count
        self._intake.consumed += count

    def _notify(self) -> None:
        if self._signals is not None:
            self._signals.readable(self._stream_id)


class CryptoReceiver(ReceiveHalf):
    """The same for CRYPTO frames, which aioquic wants handed on at once."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(-1, Intake(), None)

    def handle_frame(self, frame: QuicStreamFrame) -> StreamDataReceived | None:
        """Give what is in order now, None when there is nothing new. Raises QuicConnectionError."""
        if frame.offset + len(frame.data) - self._next > MAX_CRYPTO_AHEAD:
            raise QuicConnectionError(
                error_code=QuicErrorCode.CRYPTO_BUFFER_EXCEEDED,
                frame_type=QuicFrameType.CRYPTO,
                reason_phrase="too much handshake data out of order",
            )
        super().handle_frame(frame)
        data = self.read(self._next)
        if not data:
            return None
        return StreamDataReceived(data=data, end_stream=False, stream_id=-1)
