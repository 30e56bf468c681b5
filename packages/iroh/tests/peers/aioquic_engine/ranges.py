"""A set of integers kept as sorted, disjoint, half-open ranges. Every operation bisects.

aioquic's own RangeSet scans from the start, which makes a hostile peer's fragments and ACKs cost
quadratic time (spec/reliability.md B3).
"""

from bisect import bisect_left, bisect_right


class Ranges:
    """Half-open ranges [start, stop), joined where they touch."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """Add [start, stop), which is not empty."""
        starts, stops = self._starts, self._stops
        if stops and stops[-1] == start:
            stops[-1] = stop  # by far the most usual case: packets and bytes come in order
            return
        first = bisect_left(stops, start)
        behind = bisect_right(starts, stop)
        if first < behind:
            start = min(start, starts[first])
            stop = max(stop, stops[behind - 1])
        starts[first:behind] = [start]
        stops[first:behind] = [stop]

    def subtract(self, start: int, stop: int) -> None:
        """Take [start, stop) away, as far as it is there."""
        starts, stops = self._starts, self._stops
        first = bisect_right(stops, start)
        behind = bisect_left(starts, stop)
        if first >= behind:
            return
        new_starts, new_stops = [], []
        if starts[first] < start:
            new_starts.append(starts[first])
            new_stops.append(start)
        if stops[behind - 1] > stop:
            new_starts.append(stop)
            new_stops.append(stops[behind - 1])
        starts[first:behind] = new_starts
        stops[first:behind] = new_stops

    def first(self) -> tuple[int, int] | None:
        """Give the lowest range, None when empty."""
        return (self._starts[0], self._stops[0]) if self._starts else None

    def drop_first(self) -> None:
        """Forget the lowest range."""
        del self._starts[0], self._stops[0]

    def covers(self, start: int, stop: int) -> bool:
        """Whether all of [start, stop) is there."""
        at = bisect_right(self._starts, start) - 1
        return at >= 0 and stop <= self._stops[at]

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._starts)
