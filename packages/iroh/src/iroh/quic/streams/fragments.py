"""Out-of-order pieces of one stream, in little memory and without quadratic time.

    received    |====|    |==|==|        |=|
                ^ next    pieces, each a bytearray that grows at its end

Memory follows the bytes that arrived, not the offsets that were claimed. An honest peer needs one
piece per hole; an attacker who sends every second byte meets the bound (spec: RFC 9000 section
21.7 leaves the defence to us, and has no error code of its own for it).
"""

from bisect import bisect_left, bisect_right

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError

MAX_HOLES = 1024
"""noq MAX_CHUNKS. A window of 1.25 MB in 1200-byte packets has at most about 550 holes."""
MAX_PIECES = 2 * MAX_HOLES
"""noq COMPACT_THRESHOLD. Touching pieces are joined when there are this many; as at least half of
them then disappear, or the connection ends, joining costs little per frame."""

Buffer = bytes | bytearray | memoryview


class Fragments:
    """Disjoint pieces of a stream behind a hole."""

    __slots__ = ("_pieces", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[bytearray] = []

    def __len__(self) -> int:
        """How many pieces."""
        return len(self._starts)

    def add(self, offset: int, data: Buffer) -> None:
        """Keep what of `data` is new. Raises PeerError when there are too many holes."""
        starts, pieces = self._starts, self._pieces
        stop = offset + len(data)
        at = bisect_right(starts, offset)
        before = starts[at - 1] + len(pieces[at - 1]) if at else -1
        if before > offset:
            if before >= stop:
                return
            data = data[before - offset :]
            offset = before
        end = bisect_left(starts, stop, at)
        if end > at and starts[end - 1] + len(pieces[end - 1]) >= stop:
            end -= 1  # it reaches behind the data: keep it, it may be big
            data = data[: starts[end] - offset]
        if not data:
            return
        # What lies wholly within the data is replaced by it, so that each frame costs at most one
        # piece, however small those are that came before.
        if end > at:
            del starts[at:end], pieces[at:end]
        if before == offset:
            pieces[at - 1] += data
            return
        starts.insert(at, offset)
        pieces.insert(at, bytearray(data))
        if len(starts) > MAX_PIECES:
            self._join()

    def release(self, offset: int) -> list[bytearray]:
        """Give and forget the pieces that go on from `offset` without a hole."""
        ready: list[bytearray] = []
        count = 0
        for start, piece in zip(self._starts, self._pieces, strict=True):
            if start > offset:
                break
            count += 1
            stop = start + len(piece)
            if stop > offset:
                ready.append(piece[offset - start :] if start < offset else piece)
                offset = stop
        del self._starts[:count], self._pieces[:count]
        return ready

    def clear(self) -> None:
        """Forget everything."""
        self._starts.clear()
        self._pieces.clear()

    def _join(self) -> None:
        """Join touching pieces. Raises PeerError when too many holes remain."""
        starts: list[int] = []
        pieces: list[bytearray] = []
        stop = -1
        for start, piece in zip(self._starts, self._pieces, strict=True):
            if start == stop:
                pieces[-1] += piece
            else:
                starts.append(start)
                pieces.append(piece)
            stop = start + len(piece)
        self._starts, self._pieces = starts, pieces
        if len(starts) > MAX_HOLES:
            raise PeerError(PROTOCOL_VIOLATION, "too many stream fragments out of order", 0x08)
