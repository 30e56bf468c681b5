"""The bytes of one encryption level's CRYPTO frames, both directions (RFC 9000 section 19.6).

    in    CRYPTO frames in any order --> receive(offset, data) --> bytes in order, for Handshake
    out   bytes of Handshake.take --> write --> take_frame --> (offset, data) of a CRYPTO frame

    sending   0 ......... base ......................... next ........... end
              acknowledged    acknowledged, lost, on its way    not yet sent

Lost ranges go first. CRYPTO is not flow controlled, so the bound on what arrives out of order is
here.
"""

from bisect import bisect_left, bisect_right

from iroh.quic import varint
from iroh.quic.errors import CRYPTO_BUFFER_EXCEEDED, PeerError

MAX_BUFFERED = 16384
"""Bytes ahead of what was read (noq `crypto_buffer_size`; RFC 9000 7.5 asks for 4096)."""
CRYPTO = 0x06  # RFC 9000 section 19.6
_TYPE_AND_LENGTH = 3
"""Bytes of a CRYPTO frame for its type and a length below 2**14."""
_MAX_DATA = (1 << 14) - 1


class Spans:
    """A sorted list of disjoint half-open ranges (start, end) that do not touch."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    def first(self) -> tuple[int, int]:
        """Give the lowest range. There must be one."""
        return self._starts[0], self._ends[0]

    def add(self, start: int, end: int) -> None:
        """Add a range, and merge it with those that it meets."""
        if start >= end:
            return
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def remove(self, start: int, end: int) -> None:
        """Take a range out."""
        low = bisect_right(self._ends, start)
        high = bisect_left(self._starts, end)
        if start >= end or low >= high:
            return
        left, right = self._starts[low], self._ends[high - 1]
        kept = [(left, start)] if left < start else []
        if end < right:
            kept.append((end, right))
        self._starts[low:high] = [span[0] for span in kept]
        self._ends[low:high] = [span[1] for span in kept]

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """Give what of a range is not in here."""
        gaps = []
        for index in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[index] >= end:
                break
            if start < self._starts[index]:
                gaps.append((start, self._starts[index]))
            start = self._ends[index]
        if start < end:
            gaps.append((start, end))
        return gaps


_NONE = Spans()
"""Stands for one that was never added to: mostly nothing is lost, or comes out of order."""


class CryptoStream:
    """One encryption level's CRYPTO data, in and out.

    As the owner of sent frames (`sent.Part`) its info is (offset, length).
    limit: bytes that may come ahead of what was read.
    out: what was written and has not arrived yet.
    """

    __slots__ = (
        *("_acked", "_base", "_held", "_limit", "_lost", "_next", "_read", "_received", "out"),
    )

    def __init__(self, limit: int = MAX_BUFFERED) -> None:
        self._limit = limit
        self._read = 0
        self._held = bytearray()  # from offset _read on; zeroes where nothing came yet
        self._received = _NONE
        self.out: bytearray = bytearray()  # from offset _base on
        self._base = self._next = 0
        self._lost = self._acked = _NONE

    # -- in ------------------------------------------------------------------------------------

    def receive(self, offset: int, data: bytes | memoryview) -> bytes:
        """Take a frame's data: give what is in order now, b"" for nothing yet.

        Raises PeerError CRYPTO_BUFFER_EXCEEDED for data too far ahead.
        """
        end = offset + len(data)
        if end <= self._read or not data:
            return b""
        if offset <= self._read and not self._received:
            fresh = bytes(data[self._read - offset :])
            self._read = end
            return fresh
        if end - self._read > self._limit:
            raise PeerError(CRYPTO_BUFFER_EXCEEDED, "too much CRYPTO data out of order", CRYPTO)
        if offset < self._read:
            data, offset = data[self._read - offset :], self._read
        at = offset - self._read
        if len(self._held) < at + len(data):
            self._held.extend(bytes(at + len(data) - len(self._held)))
        self._held[at : at + len(data)] = data
        if self._received is _NONE:
            self._received = Spans()
        self._received.add(offset, end)
        return self._release()

    def _release(self) -> bytes:
        start, end = self._received.first() if self._received else (0, 0)
        if start != self._read or end == start:
            return b""
        fresh = bytes(self._held[: end - start])
        del self._held[: end - start]
        self._received.remove(start, end)
        self._read = end
        return fresh

    @property
    def is_gapless(self) -> bool:
        """Whether nothing waits for bytes that are missing."""
        return not self._received

    # -- out -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        self.out += data

    @property
    def wants_to_send(self) -> bool:
        """Whether `take_frame` has something, given enough room."""
        return bool(self._lost) or self._next < self._base + len(self.out)

    @property
    def is_acked(self) -> bool:
        """Whether everything that was written has arrived."""
        return not self.out

    def take_frame(self, limit: int) -> tuple[int, bytes] | None:
        """Give offset and data of a CRYPTO frame that takes at most `limit` bytes in all.

        None when there is nothing to send, or no room for a byte of it.
        """
        if self._lost:
            start, end = self._lost.first()
        else:
            start, end = self._next, self._base + len(self.out)
        room = min(limit - _TYPE_AND_LENGTH - varint.size(start), _MAX_DATA)
        if start >= end or room <= 0:
            return None
        end = min(end, start + room)
        if self._lost:
            self._lost.remove(start, end)
        else:
            self._next = end
        return start, bytes(self.out[start - self._base : end - self._base])

    def on_acked(self, info: tuple[int, int]) -> None:
        """A frame arrived: (offset, length)."""
        start, end = info[0], info[0] + info[1]
        self._lost.remove(start, end)
        if self._acked is _NONE:
            if start <= self._base:  # in order, as it mostly is
                if end > self._base:
                    del self.out[: end - self._base]
                    self._base = end
                return
            self._acked = Spans()
        self._acked.add(max(start, self._base), end)
        if self._acked:
            start, end = self._acked.first()
            if start == self._base:
                del self.out[: end - start]
                self._base = end
                self._acked.remove(start, end)

    def on_lost(self, info: tuple[int, int]) -> None:
        """A frame is lost: (offset, length). What arrived otherwise is not sent again."""
        start, end = max(info[0], self._base), info[0] + info[1]
        for gap in self._acked.missing(start, end):
            if self._lost is _NONE:
                self._lost = Spans()
            self._lost.add(*gap)

    def resend(self) -> None:
        """Send again all that was not acknowledged: for a probe, and after a Retry."""
        self.on_lost((self._base, self._next - self._base))
