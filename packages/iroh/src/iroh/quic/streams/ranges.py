"""Sets of byte offsets as sorted disjoint ranges [start, stop)."""

from bisect import bisect_left, bisect_right


class Ranges:
    """Finding a place costs O(log n); adding at the end and in order O(1)."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._starts)

    def __repr__(self) -> str:
        return f"Ranges({self.pairs()})"

    def pairs(self) -> list[tuple[int, int]]:
        """Give all ranges in order."""
        return list(zip(self._starts, self._stops, strict=True))

    def first(self) -> tuple[int, int]:
        """Give the lowest range; there must be one."""
        return self._starts[0], self._stops[0]

    def clear(self) -> None:
        """Forget everything."""
        self._starts.clear()
        self._stops.clear()

    def add(self, start: int, stop: int) -> None:
        """Add start..stop; start < stop."""
        starts, stops = self._starts, self._stops
        if not starts or start > stops[-1]:
            starts.append(start)
            stops.append(stop)
            return
        if start == stops[-1]:
            stops[-1] = stop
            return
        at = bisect_left(stops, start)  # the first that touches
        end = bisect_right(starts, stop)  # behind the last that touches
        if at == end:
            starts.insert(at, start)
            stops.insert(at, stop)
            return
        starts[at] = min(starts[at], start)
        stops[at] = max(stops[end - 1], stop)
        del starts[at + 1 : end], stops[at + 1 : end]

    def subtract(self, start: int, stop: int) -> None:
        """Take start..stop out; start < stop."""
        starts, stops = self._starts, self._stops
        at = bisect_right(stops, start)  # the first that ends behind start
        end = bisect_left(starts, stop)  # behind the last that begins before stop
        if at >= end:
            return
        left, right = starts[at], stops[end - 1]
        new_starts, new_stops = [], []
        if left < start:
            new_starts.append(left)
            new_stops.append(start)
        if right > stop:
            new_starts.append(stop)
            new_stops.append(right)
        starts[at:end] = new_starts
        stops[at:end] = new_stops

    def gaps(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Give what of start..stop is not in the set."""
        starts, stops = self._starts, self._stops
        gaps = []
        for at in range(bisect_right(stops, start), bisect_left(starts, stop)):
            if starts[at] > start:
                gaps.append((start, starts[at]))
            start = stops[at]
        if start < stop:
            gaps.append((start, stop))
        return gaps
