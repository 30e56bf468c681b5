"""The bytes of a stream that wait to be sent or acknowledged, in the chunks they were written in.

    _starts[i]            _starts[i+1]                                  stop
    |---- _chunks[i] ----|---- _chunks[i+1] ----| ...  |---- _tail ----|

Chunks are immutable and never move: acknowledging drops whole chunks, sending cuts views of them.
So at most one chunk more than the bytes in question is held.
Small writes gather in the tail, which becomes a chunk when it is full or wanted.
"""

from bisect import bisect_right

SMALL = 4096
"""Writes below this are gathered; bigger ones are kept as they are."""
BLOCK = 65_536
"""A tail of this size becomes a chunk."""

Piece = bytes | memoryview
_NO_VIEW = memoryview(b"")
_NO_CHUNKS: list[bytes] = []
_NO_STARTS: list[int] = []
"""Of all buffers that hold nothing but a tail, as those of small streams do; never added to."""


class SendBuffer:
    """A queue of bytes addressed by stream offset. `stop` is the offset behind the last byte."""

    __slots__ = (
        "_chunks",
        "_head",
        "_starts",
        "_tail",
        "_view",
        "_view_start",
        "_view_stop",
        "stop",
    )

    def __init__(self) -> None:
        self.stop: int = 0
        self._chunks = _NO_CHUNKS
        self._starts = _NO_STARTS
        self._head = 0  # chunks before it are released; deleted many at a time
        self._tail = bytearray()
        self._view = _NO_VIEW  # of the chunk that was cut last
        self._view_start = self._view_stop = 0

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes. A big `bytes` object is kept, everything else is copied."""
        size = len(data)
        if size < SMALL:
            self._tail += data
            self.stop += size
            if len(self._tail) >= BLOCK:
                self._seal()
            return
        if self._tail:
            self._seal()
        self._keep(self.stop, bytes(data))
        self.stop += size

    def cut(self, start: int, stop: int, size: int) -> list[Piece]:
        """Give start..stop in pieces of `size`, the last perhaps shorter. All of it is held."""
        tail = self._tail
        if tail and stop - start <= size:
            at = start - self.stop + len(tail)
            if at >= 0:  # small writes that fit one packet need not become a chunk
                return [bytes(tail[at : at + stop - start])]
        pieces: list[Piece] = []
        while start < stop:
            if not self._view_start <= start < self._view_stop:
                self._seek(start)
            base = self._view_start
            edge = self._view_stop
            whole = ((stop if stop < edge else edge) - start) // size * size
            if whole:
                view = self._view
                at = start - base
                pieces += [view[i : i + size] for i in range(at, at + whole, size)]
                start += whole
            if start < stop and start < edge:
                end = min(start + size, stop)
                pieces.append(self._piece(start, end))
                start = end
        return pieces

    def release(self, offset: int) -> None:
        """Forget chunks that end at or before `offset`."""
        if offset >= self.stop and self._tail:
            self._tail.clear()
        if not self._starts:
            return
        starts, head = self._starts, self._head
        count = len(starts)
        while head + 1 < count and starts[head + 1] <= offset:
            self._chunks[head] = b""
            head += 1
        if head < count and starts[head] + len(self._chunks[head]) <= offset:
            self._chunks[head] = b""
            head += 1
        if head > 64 or head == count:
            del starts[:head], self._chunks[:head]
            head = 0
        self._head = head
        if self._view_stop <= offset:
            self._view = _NO_VIEW
            self._view_start = self._view_stop = 0

    def clear(self) -> None:
        """Forget everything; `stop` stays."""
        self._chunks.clear()
        self._starts.clear()
        self._head = 0
        self._tail.clear()
        self._view = _NO_VIEW
        self._view_start = self._view_stop = 0

    def _seal(self) -> None:
        self._keep(self.stop - len(self._tail), bytes(self._tail))
        self._tail.clear()

    def _keep(self, start: int, chunk: bytes) -> None:
        if self._starts is _NO_STARTS:
            self._starts, self._chunks = [], []
        self._starts.append(start)
        self._chunks.append(chunk)

    def _seek(self, offset: int) -> None:
        """Make `_view` the chunk that holds `offset`."""
        if self._tail and offset >= self.stop - len(self._tail):
            self._seal()
        at = bisect_right(self._starts, offset) - 1
        chunk = self._chunks[at]
        self._view = memoryview(chunk)
        self._view_start = self._starts[at]
        self._view_stop = self._view_start + len(chunk)

    def _piece(self, start: int, stop: int) -> Piece:
        """Give start..stop in one piece: a view, or a copy when it crosses chunks."""
        parts: list[Piece] = []
        while start < stop:
            if not self._view_start <= start < self._view_stop:
                self._seek(start)
            base = self._view_start
            end = min(stop, self._view_stop)
            parts.append(self._view[start - base : end - base])
            start = end
        return parts[0] if len(parts) == 1 else b"".join(parts)
