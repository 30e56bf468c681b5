"""Losses that were none: packets that are acknowledged after they were given up.

While everything that a congestion event was blamed on may still arrive, it is remembered here. When
all of it did, the event is undone, as noq does. And each one that arrives makes loss detection more
patient on this path (RFC 9002 section 6.1.1 allows it; Linux TCP does it), up to bounds. Simulated
at 100 Mbit/s, 20 ms and 8 ms of jitter that gave 65 Mbit/s instead of 8.
"""

from collections.abc import Iterable, Sequence

from iroh.quic.sent import SentRun

PACKET_THRESHOLD = 3
"""kPacketThreshold (RFC 9002 section 6.1.1)."""
MAX_PACKET_THRESHOLD = 128
"""How far it grows, unless it began above."""
LATE_STEP, MAX_LATE = 0.125, 2.0
"""How the time threshold grows, in 9/8 RTT (Linux RACK: by steps, up to one RTT more)."""
MAX_SUSPECTS = 64
"""Runs remembered; with more than that given up, the loss was real."""

Ranges = Sequence[tuple[int, int]]


class Reordering:
    """How patient loss detection is in one space, and what it may have given up too early.

    start: the packet_threshold to begin with.
    packet_threshold: how many packets may overtake one before it is lost.
    patience: and for how long, in units of 9/8 RTT.
    suspects: (first, last, time sent) of what was given up in this congestion event, oldest first.
    """

    __slots__ = ("_judging", "_start", "packet_threshold", "patience", "suspects")

    def __init__(self, start: int = PACKET_THRESHOLD) -> None:
        self._start = start
        self.packet_threshold: int = start
        self.patience: float = 1.0
        self.suspects: list[tuple[int, int, float]] = []
        self._judging = False

    def begin(self) -> None:
        """Start over: a congestion event reduced the window."""
        self._judging = True
        self.suspects.clear()

    def settle(self) -> None:
        """Forget the suspects: the event was real."""
        self._judging = False
        self.suspects.clear()

    def reset(self) -> None:
        """Become as impatient as at the start: the path seems to be another one."""
        self.settle()
        self.packet_threshold = self._start
        self.patience = 1.0

    def add(self, lost: Iterable[SentRun]) -> None:
        """Remember what was given up in this congestion event."""
        if not self._judging:
            return
        self.suspects.extend((run.first, run.last, run.time) for run in lost)
        if len(self.suspects) > MAX_SUSPECTS:
            self.settle()

    def check(self, ranges: Ranges, largest: int, oldest_time: float) -> bool:
        """Take an ACK's ranges; True when with them all suspects arrived.

        largest: acknowledged so far. oldest_time: what was sent before is lost indeed. Looks at the
        oldest suspect only, until that one arrived, so an ACK costs one search.
        """
        suspects = self.suspects
        if suspects[0][2] < oldest_time:
            self.settle()
            return False
        while suspects:
            first, last, time = suspects[0]
            covered = covers(ranges, first)
            if covered < 0:
                return False
            self._tolerate(largest - first + 1)
            if covered < last:
                suspects[0] = (covered + 1, last, time)
            else:
                del suspects[0]
        self._judging = False
        return True

    def _tolerate(self, distance: int) -> None:
        """Wait longer from now on: a packet that `distance` others overtook was not lost."""
        if distance > self.packet_threshold:
            self.packet_threshold = max(min(distance, MAX_PACKET_THRESHOLD), self._start)
        else:
            self.patience = min(self.patience + LATE_STEP, MAX_LATE)


def covers(ranges: Ranges, pn: int) -> int:
    """Give the end of the range that `pn` is in, -1 for none. Ranges are largest first."""
    low, high = 0, len(ranges)
    while low < high:
        middle = (low + high) // 2
        if ranges[middle][0] <= pn:
            high = middle
        else:
            low = middle + 1
    return ranges[low][1] if low < len(ranges) and ranges[low][1] >= pn else -1
