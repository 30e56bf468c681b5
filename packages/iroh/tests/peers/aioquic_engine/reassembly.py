"""Out-of-order pieces of one stream, in little memory and without quadratic time.

    received    |====|    |==|==|        |=|
                ^ next    fragments, each a bytearray that grows at its end

Memory follows the bytes that arrived, not the offsets that were claimed, and the number of
fragments is bounded: an honest peer needs one per hole, an attacker who sends every second byte
meets the bound (spec/reliability.md B3.3).
"""

from bisect import bisect_right
from collections.abc import Iterator

MAX_FRAGMENTS = 1024
"""An honest window of 1.25 MB in 1200-byte packets has at most about 550 holes."""


class TooManyFragments(Exception):
    """The peer keeps more holes open than anybody needs."""


class Fragments:
    """Disjoint pieces of a stream behind a hole."""

    __slots__ = ("_chunks", "_limit", "_starts")

    def __init__(self, limit: int = MAX_FRAGMENTS) -> None:
        self._limit = limit
        self._starts: list[int] = []
        self._chunks: list[bytearray] = []

    def add(self, offset: int, data: bytes) -> None:
        """Keep what of `data` is new. Raises TooManyFragments."""
        starts, chunks = self._starts, self._chunks
        rest = memoryview(data)
        while rest:
            at = bisect_right(starts, offset)
            end_before = starts[at - 1] + len(chunks[at - 1]) if at else -1
            if end_before > offset:
                skip = min(end_before - offset, len(rest))
                rest, offset = rest[skip:], offset + skip
                continue
            piece = rest[: starts[at] - offset] if at < len(starts) else rest
            if end_before == offset:
                chunks[at - 1] += piece
            elif len(starts) >= self._limit:
                raise TooManyFragments
            else:
                starts.insert(at, offset)
                chunks.insert(at, bytearray(piece))
            rest, offset = rest[len(piece) :], offset + len(piece)

    def take(self, offset: int) -> Iterator[bytearray]:
        """Give and forget the pieces that follow `offset` without a hole."""
        count = 0
        for start, chunk in zip(self._starts, self._chunks, strict=True):
            if start != offset:
                break
            offset += len(chunk)
            count += 1
        ready = self._chunks[:count]
        del self._starts[:count], self._chunks[:count]
        return iter(ready)

    def clear(self) -> None:
        """Forget everything."""
        self._starts.clear()
        self._chunks.clear()

    def __len__(self) -> int:
        """How many pieces."""
        return len(self._starts)
