"""The receiving half of a stream (RFC 9000 section 3.2).

    0 ......... read_offset ......... _next ......... highest
      given to      _ready, in order    holes and
      the reader                        _fragments

          fin               all bytes arrived          the reader has the end
    RECV -------> SIZE_KNOWN ---------------> DATA_RECVD ------------------> DATA_READ
      |                |                                                         ^
      |                +---- stop -----------------------------------------------+
      |                |                   the reader was told                   |
      +----------------+- reset -> RESET_RECVD ----------> RESET_READ            |
      |                                                     ^                    |
      +- stop -> STOPPED ---------- reset ------------------+                    |
                    +-------------- fin -----------------------------------------+

A half is over only when the *reader* has seen the end, so a stream that nobody reads counts against
the peer's limit of streams, and its bytes against the windows. A RESET_STREAM that comes when all
bytes are there already changes nothing.
"""

from iroh.quic.errors import (
    FINAL_SIZE_ERROR,
    FLOW_CONTROL_ERROR,
    PeerError,
    StreamGone,
    StreamReset,
)
from iroh.quic.streams.fragments import Fragments
from iroh.quic.streams.intake import WINDOW_SHARE, Intake
from iroh.quic.varint import MAX, Buffer

RECV, SIZE_KNOWN, DATA_RECVD, DATA_READ, RESET_RECVD, RESET_READ, STOPPED = range(7)
STATES = (
    "RECV",
    "SIZE_KNOWN",
    "DATA_RECVD",
    "DATA_READ",
    "RESET_RECVD",
    "RESET_READ",
    "STOPPED",
)
FIN, COMPLETE, RESET, STOP, TOLD = range(5)

TRANSITIONS = {
    (RECV, FIN): SIZE_KNOWN,
    (RECV, RESET): RESET_RECVD,
    (RECV, STOP): STOPPED,
    (SIZE_KNOWN, COMPLETE): DATA_RECVD,
    (SIZE_KNOWN, RESET): RESET_RECVD,
    (SIZE_KNOWN, STOP): DATA_READ,
    (DATA_RECVD, TOLD): DATA_READ,
    (DATA_RECVD, STOP): DATA_READ,
    (RESET_RECVD, TOLD): RESET_READ,
    (RESET_RECVD, STOP): RESET_READ,
    (STOPPED, FIN): DATA_READ,
    (STOPPED, RESET): RESET_READ,
}
"""What is not here does nothing, or is refused."""

OVER = frozenset((DATA_READ, RESET_READ))
_FIN_AND_COMPLETE = TRANSITIONS[TRANSITIONS[RECV, FIN], COMPLETE]

_KEPT = 512
"""Frames from this size on are kept as they came, as views of their packet. Smaller ones are
copied together up to _JOINED, or tiny frames would hold whole packets and cost 50 times their size
as Python objects."""
_JOINED = 4096


class RecvHalf:
    """Puts frames in order and holds what the reader has not taken.

    announced: the limit the peer knows (initial_max_stream_data_*, MAX_STREAM_DATA).
    window: bytes the peer may send ahead of the reader.
    signalled: StreamReadable was said and the reader has not come since.
    """

    __slots__ = (
        "_fragments",
        "_head",
        "_intake",
        "_next",
        "_plain",
        "_ready",
        "announced",
        "final_size",
        "highest",
        "read_offset",
        "reset_code",
        "signalled",
        "state",
        "stop_code",
        "stream_id",
        "window",
    )

    def __init__(self, stream_id: int, intake: Intake, window: int) -> None:
        self.stream_id: int = stream_id
        self.window: int = window
        self.announced: int = min(window, MAX)
        self.final_size: int = -1
        self.highest: int = 0
        self.read_offset: int = 0
        self.reset_code: int = 0
        self.signalled: bool = False
        self.state: int = RECV
        self.stop_code: int = 0
        self._fragments: Fragments | None = None
        self._head = 0  # bytes of _ready[0] that were given already
        self._intake = intake
        self._next = 0
        self._plain = True  # state is RECV and nothing is known behind _next
        self._ready: list[bytes | bytearray | memoryview] = []

    def __repr__(self) -> str:
        return f"RecvHalf({self.stream_id}, {STATES[self.state]}, {self.read_offset}..{self._next})"

    # -- from the peer ---------------------------------------------------------------------------

    def on_data(self, offset: int, data: Buffer, fin: bool) -> bool:
        """Take a STREAM frame: whether `read` has something new to say.

        data: bytes, or a view of bytes that nobody changes. Raises PeerError.
        """
        size = len(data)
        if self._plain and offset == self._next:
            stop = offset + size
            intake = self._intake
            received = intake.received + size
            if stop <= self.announced and received <= intake.announced:
                intake.received = received
                self._next = self.highest = stop
                if size >= _KEPT:
                    self._ready.append(data)
                elif size:
                    self._join(data)
                if fin:
                    self.final_size = stop
                    self.state = _FIN_AND_COMPLETE
                    self._plain = False
                return fin or size > 0
        return self._on_any_data(offset, data, fin)

    def on_reset(self, code: int, final_size: int) -> bool:
        """Take RESET_STREAM: whether `read` has something new to say. Raises PeerError."""
        if self.final_size >= 0 and final_size != self.final_size:
            raise PeerError(FINAL_SIZE_ERROR, "the final size has changed", 0x04)
        if final_size < self.highest:
            raise PeerError(FINAL_SIZE_ERROR, "more was sent than the final size says", 0x04)
        self._account(final_size, 0x04)
        if not self._move(RESET):
            return False
        self.final_size = final_size
        self.reset_code = code
        self._discard()
        return self.state == RESET_RECVD

    # -- from the reader -------------------------------------------------------------------------

    def read(self, limit: int) -> bytes | None:
        """Take up to `limit` bytes; b"" for none yet, None at the end.

        Raises StreamReset once after a reset, StreamGone when there is nothing more to come.
        """
        self.signalled = False
        available = self._next - self.read_offset
        if available and self.state <= DATA_RECVD:
            if limit <= 0:
                return b""
            data = self._take_all() if limit >= available else self._take(limit)
            self.read_offset += len(data)
            self._intake.consumed += len(data)
            return data
        if self.state <= SIZE_KNOWN:
            return b""
        if not self._move(TOLD):
            raise StreamGone(f"stream {self.stream_id}: receiving is over")
        if self.state == RESET_READ:
            raise StreamReset(self.reset_code)
        return None

    def stop(self, code: int) -> bool:
        """Forget what is there and what comes: whether STOP_SENDING helps. Raises StreamGone."""
        helps = self.state <= SIZE_KNOWN
        if not self._move(STOP):
            raise StreamGone(f"stream {self.stream_id}: receiving is over")
        self.stop_code = code
        self._discard()
        return helps

    # -- flow control ----------------------------------------------------------------------------

    def limit(self) -> int:
        """Give the limit that could be announced now."""
        return min(self.read_offset + self.window, MAX)

    def is_due(self) -> bool:
        """Whether MAX_STREAM_DATA has to be sent: enough was read, and the peer has more."""
        if self.state != RECV:
            return False
        ahead = self.read_offset + self.window - self.announced
        if ahead <= 0 or ahead < self.window // WINDOW_SHARE:
            return False
        return self.limit() > self.announced

    # -- inside ----------------------------------------------------------------------------------

    def _on_any_data(self, offset: int, data: Buffer, fin: bool) -> bool:
        stop = offset + len(data)
        known = self.final_size
        if known >= 0 and (stop > known or (fin and stop != known)):
            raise PeerError(FINAL_SIZE_ERROR, "data behind the final size", 0x08)
        if fin and stop < self.highest:
            raise PeerError(FINAL_SIZE_ERROR, "more was sent than the final size says", 0x08)
        self._account(stop, 0x08)
        self._plain = False
        if fin and known < 0:
            self.final_size = stop
            self._move(FIN)
        if self.state > SIZE_KNOWN:
            if self.state in (STOPPED, DATA_READ):
                self._discard()
            return False
        before = self._next
        self._store(offset, data)
        self._plain = self.state == RECV and self.highest == self._next
        return (self._next == self.final_size and self._move(COMPLETE)) or self._next > before

    def _account(self, stop: int, frame_type: int) -> None:
        """Count bytes up to `stop` as received. Raises PeerError beyond a limit."""
        grown = stop - self.highest
        if grown <= 0:
            return
        intake = self._intake
        if stop > self.announced:
            raise PeerError(FLOW_CONTROL_ERROR, "more than the stream's limit", frame_type)
        if intake.received + grown > intake.announced:
            raise PeerError(FLOW_CONTROL_ERROR, "more than the connection's limit", frame_type)
        intake.received += grown
        self.highest = stop

    def _store(self, offset: int, data: Buffer) -> None:
        following = self._next
        if offset < following:
            data = data[following - offset :]
            offset = following
        if not data:
            return
        fragments = self._fragments
        if offset == following:
            self._append(data)
            if fragments is None:
                return
            before = len(fragments)
            for piece in fragments.release(self._next):
                self._append(piece)
            self._intake.count_pieces(len(fragments) - before)
            if not fragments:
                self._fragments = None
            return
        if fragments is None:
            fragments = self._fragments = Fragments()
        before = len(fragments)
        fragments.add(offset, data)
        self._intake.count_pieces(len(fragments) - before)

    def _append(self, data: Buffer | bytearray) -> None:
        size = len(data)
        self._next += size
        if size >= _KEPT:
            self._ready.append(data)
        else:
            self._join(data)

    def _join(self, data: Buffer | bytearray) -> None:
        """Append a small piece to the one before it, if that is small, too."""
        ready = self._ready
        last = ready[-1] if ready else None
        if type(last) is bytearray and len(last) < _JOINED:
            last += data
        elif type(last) is bytes and len(last) < _KEPT:
            ready[-1] = bytearray(last) + data
        else:
            ready.append(bytes(data))

    def _take_all(self) -> bytes:
        ready = self._ready
        if self._head:
            ready[0] = bytes(ready[0][self._head :])
            self._head = 0
        data = bytes(ready[0]) if len(ready) == 1 else b"".join(ready)
        ready.clear()
        return data

    def _take(self, limit: int) -> bytes:
        ready, head = self._ready, self._head
        parts: list[memoryview] = []
        at = 0
        while limit:
            piece = memoryview(ready[at])[head : head + limit]
            parts.append(piece)
            limit -= len(piece)
            head += len(piece)
            if head == len(ready[at]):
                at += 1
                head = 0
        data = b"".join(parts)
        del ready[:at]
        self._head = head
        return data

    def _discard(self) -> None:
        """Forget what is held and count all that is known as read, so that the windows move on."""
        self._ready.clear()
        self._head = 0
        if self._fragments is not None:
            self._intake.count_pieces(-len(self._fragments))
            self._fragments = None
        self._intake.consumed += self.highest - self.read_offset
        self.read_offset = self._next = self.highest

    def _move(self, what: int) -> bool:
        state = TRANSITIONS.get((self.state, what))
        if state is None:
            return False
        self.state = state
        self._plain = False
        return True
