"""What we received and owe an acknowledgement for, in one packet-number space.

When an ACK is due (RFC 9000 section 13.2, draft-ietf-quic-ack-frequency):

    cause                                                  | when
    -------------------------------------------------------+--------------------------------
    `threshold` ack-eliciting packets since the last ACK   | at once
    a packet out of order, or one behind a new gap         | at once
    a packet marked CE                                     | at once
    IMMEDIATE_ACK, a handshake space (max_ack_delay 0)     | at once
    2 or more ack-eliciting packets, below the threshold   | `short_delay` after the second
    1 ack-eliciting packet                                 | `max_ack_delay` after it
    only packets that elicit no ACK                        | never; 11 of them ride along (*)

(*) noq LAZY_ACK_THRESHOLD: lets the peer forget what it acknowledged to us.
"""

from bisect import bisect_left, bisect_right
from itertools import islice

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError

MAX_RANGES = 64
"""Ranges kept; above it the oldest is forgotten (noq MAX_ACK_BLOCKS)."""
MAX_REPORTED = 32
"""Ranges told in one ACK, newest first: each one is told many times before it falls out."""
THRESHOLD = 10
"""Packets per ACK in 1-RTT: perf.md section 0, about one per batch of a Rust sender."""
START_THRESHOLD = 2
"""The same for the first packets, while the peer's window is small (RFC 9000 section 13.2.2)."""
START_PACKETS = 100
"""Packets that count as the start; the figure of Chromium's ACK decimation."""
MAX_ACK_DELAY = 0.025
"""Default of the max_ack_delay transport parameter (RFC 9000 section 18.2), seconds."""
SHORT_DELAY = 0.002
"""Patience with a batch below the threshold, seconds: a small window must not wait 25 ms."""
HANDSHAKE_THRESHOLD, HANDSHAKE_DELAY = 2, 0.0
"""Initial and Handshake packets are acknowledged at once (RFC 9000 section 13.2.1)."""
LAZY_THRESHOLD = 10
"""Packets without need of an ACK that get one when something is sent anyway (noq)."""
MIN_REQUESTED_DELAY_US = 1000
"""Our min_ack_delay: a peer may not ask for less (draft-ietf-quic-ack-frequency section 3)."""
NEVER = float("inf")

CE = 3
"""The ECN bits "congestion experienced" (RFC 3168)."""

Ranges = list[tuple[int, int]]
"""(first, last) inclusive, largest first: the order of an ACK frame."""


class RangeSet:
    """Integers as sorted, disjoint, inclusive ranges. Bisects; O(1) at the top.

    At most `limit` ranges: the lowest is forgotten above that, and `floor` is then the lowest
    number that the set still knows about.
    """

    __slots__ = ("_limit", "firsts", "floor", "lasts")

    def __init__(self, limit: int = MAX_RANGES) -> None:
        self._limit = limit
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.floor: int = 0

    def __len__(self) -> int:
        return len(self.firsts)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.firsts, number) - 1
        return at >= 0 and number <= self.lasts[at]

    def __repr__(self) -> str:
        return f"RangeSet({list(zip(self.firsts, self.lasts, strict=True))})"

    def add(self, first: int, last: int) -> None:
        """Add first..last; joins what touches."""
        firsts, lasts = self.firsts, self.lasts
        if lasts and lasts[-1] == first - 1:
            lasts[-1] = last  # by far the most usual case: packets come in order
            return
        low = bisect_left(lasts, first - 1)
        high = bisect_right(firsts, last + 1)
        if low < high:
            first = min(first, firsts[low])
            last = max(last, lasts[high - 1])
        firsts[low:high] = [first]
        lasts[low:high] = [last]
        if len(firsts) > self._limit:
            self.floor = lasts[0] + 1
            del firsts[0], lasts[0]

    def largest(self) -> int:
        """Give the largest number, -1 when empty."""
        return self.lasts[-1] if self.lasts else -1

    def missing(self, first: int, last: int) -> Ranges:
        """Give what of first..last is not in the set, ascending; below `floor` all counts as in."""
        first = max(first, self.floor)
        gaps: Ranges = []
        at = bisect_left(self.lasts, first)
        while first <= last:
            if at >= len(self.firsts) or self.firsts[at] > last:
                gaps.append((first, last))
                break
            if self.firsts[at] > first:
                gaps.append((first, self.firsts[at] - 1))
            first = self.lasts[at] + 1
            at += 1
        return gaps

    def newest(self, above: int, count: int) -> Ranges:
        """Give at most `count` ranges above the number `above`, largest first."""
        firsts, lasts = self.firsts, self.lasts
        if len(lasts) == 1 or (lasts and lasts[-2] <= above):  # nearly always
            first, last = firsts[-1], lasts[-1]
            if last <= above:
                return []
            return [(first if first > above else above + 1, last)]
        newest = list(islice(zip(reversed(firsts), reversed(lasts), strict=True), count))
        if newest and newest[-1][0] <= above:  # only when the last of them reaches below
            newest = [(max(first, above + 1), last) for first, last in newest if last > above]
        return newest


class AckTracker:
    """The received packets of one space, and when they want to be acknowledged.

    ranges: every packet number seen; also the guard against duplicates.
    short_delay: see the table; an eighth of the RTT is a good value, capped at max_ack_delay.
    max_ack_delay: what our transport parameter says, or what the peer asked for.
    Is a `Part` of a sent packet: its token is the largest number that the sent ACK told.
    """

    __slots__ = (
        "_ce",
        "_due",
        "_ect0",
        "_ect1",
        "_eliciting",
        "_fresh_from",
        "_largest_told",
        "_largest_when",
        "_lazy",
        "_reordering",
        "_told_floor",
        "_until_usual",
        "deadline",
        "max_ack_delay",
        "ranges",
        "short_delay",
        "threshold",
    )

    def __init__(self, threshold: int = THRESHOLD, max_ack_delay: float = MAX_ACK_DELAY) -> None:
        self.ranges: RangeSet = RangeSet()
        self.threshold: int = threshold
        self.max_ack_delay: float = max_ack_delay
        self.short_delay: float = min(SHORT_DELAY, max_ack_delay)
        self.deadline: float = NEVER
        """When an ACK is due at the latest; NEVER, or in the past when it is due at once."""
        self._until_usual = START_PACKETS if max_ack_delay else 0
        self._reordering = 1  # reordering threshold of ACK_FREQUENCY; 1 is RFC 9000
        self._due = False
        self._eliciting = 0  # since the last ACK
        self._lazy = 0  # packets that elicit no ACK since then
        self._largest_when = 0.0  # arrival of the largest number
        self._largest_told = -1
        self._fresh_from = 0  # ACKs with a smaller largest number do not tell of all that we have
        self._told_floor = -1  # the peer knows that we have what we have up to here
        self._ect0 = self._ect1 = self._ce = 0

    def is_duplicate(self, pn: int) -> bool:
        """Whether the packet came before, or is too old to tell."""
        ranges = self.ranges
        lasts = ranges.lasts
        if not lasts or pn > lasts[-1]:
            return pn < ranges.floor
        return pn < ranges.floor or pn in ranges

    def received(self, first: int, last: int, eliciting: int, now: float, ecn: int = 0) -> None:
        """Note new packets first..last, `eliciting` of them ack-eliciting, all with these ECN bits.

        Only for packets that authenticated and are no duplicates.
        """
        ranges = self.ranges
        top = ranges.lasts[-1] if ranges.lasts else first - 1
        ranges.add(first, last)
        count = last - first + 1
        if last > top:
            self._largest_when = now
        if first <= self._largest_told:
            # Late. ACKs sent so far do not tell of it, so that they arrive proves nothing any more.
            self._fresh_from = self._largest_told + 1
            if first <= self._told_floor:
                self._told_floor = first - 1
        if ecn:
            self._count_ecn(ecn, count)
        if not eliciting:
            self._lazy += count
            return
        if first != top + 1 and self._reorders(last):
            self._due = True
        self._arm(eliciting, count, now)

    def _arm(self, eliciting: int, count: int, now: float) -> None:
        """Apply the counting rows of the table."""
        before = self._eliciting
        self._eliciting = after = before + eliciting
        threshold = self.threshold
        if self._until_usual > 0:
            self._until_usual -= count
            threshold = min(threshold, START_THRESHOLD)
        if self._due or after >= threshold:
            self._due = True
            self.deadline = now
        elif before == 0 or (before == 1 and after > 1):
            due = now + (self.short_delay if after > 1 else self.max_ack_delay)
            if due < self.deadline:
                self.deadline = due

    def _count_ecn(self, ecn: int, count: int) -> None:
        if ecn == 2:
            self._ect0 += count
        elif ecn == 1:
            self._ect1 += count
        elif ecn == CE:
            self._ce += count
            self._due = True

    def _reorders(self, last: int) -> bool:
        """Whether a packet out of sequence wants an ACK at once (ack-frequency section 6.1)."""
        if self._reordering <= 1:
            return self._reordering == 1
        told = self._largest_told
        gaps = self.ranges.missing(max(told - self._reordering + 1, 0), self.ranges.largest())
        return bool(gaps) and self.ranges.largest() - gaps[0][0] >= self._reordering

    def want_ack(self, now: float) -> None:
        """Acknowledge at once: the peer sent IMMEDIATE_ACK."""
        if self.ranges.lasts:
            self._due = True
            self.deadline = now

    def set_frequency(self, threshold: int, max_ack_delay_us: int, reordering: int) -> None:
        """Heed an ACK_FREQUENCY frame (that is not older than the last one).

        threshold: its ack-eliciting threshold: an ACK is due when it is exceeded. Raises
        PeerError when the delay is below our min_ack_delay.
        """
        if max_ack_delay_us < MIN_REQUESTED_DELAY_US:
            raise PeerError(PROTOCOL_VIOLATION, "requested max ack delay below min_ack_delay", 0xAF)
        self.threshold = threshold + 1
        self.max_ack_delay = self.short_delay = max_ack_delay_us / 1e6
        self._reordering = reordering
        self._until_usual = 0

    def ack_due(self, now: float) -> bool:
        """Whether an ACK must be sent even if nothing else is."""
        return now >= self.deadline

    def is_owed(self) -> bool:
        """Whether `take` gives something that the peer waits for."""
        return self._due or self._eliciting > 0

    def take(self, now: float) -> tuple[Ranges, int, tuple[int, int, int] | None] | None:
        """Give (ranges, delay in microseconds, ECN counts or None) for a packet sent now.

        None when there is nothing to tell. What it gives counts as told: put it in a packet.
        """
        if not (self._eliciting or self._due or self._lazy > LAZY_THRESHOLD):
            return None
        ranges = self.ranges.newest(self._told_floor, MAX_REPORTED)
        self.deadline = NEVER
        self._due = False
        self._eliciting = self._lazy = 0
        if not ranges:
            return None  # `want_ack` with all told
        self._largest_told = ranges[0][1]
        delay = int((now - self._largest_when) * 1e6)
        counts = None
        if self._ect0 or self._ce or self._ect1:
            counts = (self._ect0, self._ect1, self._ce)
        return ranges, delay if delay > 0 else 0, counts

    def crowded(self) -> bool:
        """Whether ACKs grew long because the peer acknowledges none of ours.

        Then a PING beside an ACK, at most one per RTT, makes it do so (RFC 9000 section 13.2.4).
        """
        firsts = self.ranges.firsts
        return len(firsts) >= 16 and firsts[-16] > self._told_floor

    def on_ack_of_ack(self, largest: int) -> None:
        """Stop telling of packets up to `largest`: the peer has an ACK that told of them."""
        if largest > self._told_floor and largest >= self._fresh_from:
            self._told_floor = largest

    def on_acked(self, largest: int) -> None:
        """The sent packet that carried our ACK arrived."""
        self.on_ack_of_ack(largest)

    def on_lost(self, largest: int) -> None:
        """An ACK is never sent again: the next one tells the same and more."""
