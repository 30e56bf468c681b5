"""Loss detection (RFC 9002) in one packet-number space, per run of packets.

    PathRecovery   what the packet-number spaces of one path share: RTT, congestion window, MTU,
      |            probe timer, bytes in flight, counters
      +-- Recovery   one packet-number space: what was sent in it, what of it was acknowledged

Path 0 has a Recovery each for Initial, Handshake and 1-RTT (0-RTT shares the last); any other path
has one. A packet is lost when one sent 3 packets later was acknowledged, or one sent later was and
9/8 RTT passed since (section 6.1).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.mtud import BASE_MTU
from iroh.quic.path_recovery import PROBES, PathRecovery
from iroh.quic.reordering import Reordering, covers
from iroh.quic.sent import Part, SentRun, Slice, StreamSink, Token, tell

if TYPE_CHECKING:
    from iroh.quic.qlog import PacketLog

__all__ = ["Part", "PathRecovery", "Recovery", "SentRun", "Slice", "StreamSink", "Token"]

MAX_SILENT = 128
"""Packets kept that elicit no ACK; nobody promises to acknowledge them (noq keeps 1000)."""
FIRST_SKIP_BITS = 6
"""The first packet number left out is one of 0..63 (noq PacketNumberFilter)."""
NEVER = float("inf")

Ranges = Sequence[tuple[int, int]]
EcnCounts = tuple[int, int, int]
_UNSENT = "unsent packet acked"


class Recovery:
    """One packet-number space of a path.

    path: what it shares with the other spaces.
    data: it is the 1-RTT space: packets are skipped, the peer's ACK delay counts.
    next: the next packet number, before any skip. largest_acked: -1 before the first ACK.
    reordering: how patient loss detection is.
    loss_time: when a packet that was overtaken is lost at the latest.
    probes: packets to send that the congestion window does not hold back; the sender counts down.
    pto_allowed: False for the 1-RTT space until the handshake is confirmed (section 6.2.1).
    log: told what happens, None for nobody.
    """

    __slots__ = (
        "_ce_told",
        "_ect_told",
        "_firsts",
        "_in_flight",
        "_last_eliciting",
        "_next_skip",
        "_rng",
        "_runs",
        "_silent",
        "_skip_bits",
        "_skipped",
        "data",
        "largest_acked",
        "log",
        "loss_time",
        "next",
        "path",
        "probes",
        "pto_allowed",
        "reordering",
    )

    def __init__(
        self,
        path: PathRecovery | None = None,
        *,
        data: bool = True,
        rng: Callable[[int], bytes] | None = None,
    ) -> None:
        """Join a path. rng: where skipped packet numbers come from; None skips nothing."""
        self.path: PathRecovery = path or PathRecovery()
        self.path.spaces.append(self)
        self.data: bool = data
        self.next: int = 0
        self.largest_acked: int = -1
        self.reordering: Reordering = Reordering(self.path.packet_threshold)
        self.loss_time: float = NEVER
        self.probes: int = 0
        self.pto_allowed: bool = True
        self.log: PacketLog | None = None
        self._runs: list[SentRun] = []  # outstanding, ascending, disjoint
        self._firsts: list[int] = []  # their first packet numbers, for bisect
        self._in_flight = 0
        self._silent = 0  # outstanding packets that elicit no ACK
        self._last_eliciting = 0.0
        self._ect_told = self._ce_told = 0  # the peer's ECN counts
        self._rng = rng
        self._skipped: list[int] = []  # at most 62: they lie ever farther apart
        self._skip_bits = FIRST_SKIP_BITS
        self._next_skip = -1 if rng is None else self._random(FIRST_SKIP_BITS)

    # -- sending ---------------------------------------------------------------------------------

    def next_pn(self, count: int = 1) -> int:
        """Give the first of `count` consecutive packet numbers, and use them up.

        Now and then one number before them is left out: a peer that acknowledges it acknowledges
        what it never saw (RFC 9000 section 21.4).
        """
        first = self.next
        if first <= self._next_skip < first + count:
            self._skipped.append(first)
            self._next_skip = (1 << self._skip_bits) + self._random(self._skip_bits)
            self._skip_bits += 1
            if self._next_skip <= first + count:  # a run went over the whole interval
                self._next_skip = first + count + 1
            first += 1
        self.next = first + count
        return first

    def _random(self, bits: int) -> int:
        return int.from_bytes(self._rng(8) if self._rng else bytes(8)) & ((1 << bits) - 1)

    def on_sent(self, run: SentRun) -> None:
        """Note packets that were just sent, under numbers of `next_pn`, in their order."""
        self._runs.append(run)
        self._firsts.append(run.first)
        path = self.path
        if run.eliciting:
            size = (run.last - run.first) * run.size + run.last_size
            self._in_flight += size
            path.bytes_in_flight += size
            self._last_eliciting = path.last_activity = run.time
        else:
            self._silent += run.last - run.first + 1
            if self._silent > MAX_SILENT:
                self._forget_silent()

    def _forget_silent(self) -> None:
        """Forget the older half of the packets that elicit no ACK."""
        spare = self._silent // 2
        keep = []
        for run in self._runs:
            if run.eliciting or not spare:
                keep.append(run)
                continue
            count = run.last - run.first + 1
            spare = max(spare - count, 0)
            self._silent -= count
            tell((run,), True)
        self._runs = keep
        self._firsts = [run.first for run in keep]

    # -- acknowledgements ------------------------------------------------------------------------

    def on_ack(self, ranges: Ranges, delay: float, now: float, ecn: EcnCounts | None = None) -> int:
        """Take an ACK frame; give the number of packets that are newly acknowledged.

        ranges: (first, last), largest first. delay: the peer's, in seconds, decoded. Owners of what
        arrived and of what turns out lost are told. Raises PeerError for a packet never sent.
        """
        largest = ranges[0][1]
        skipped = self._skipped
        if largest >= self.next or (
            skipped and ranges[-1][0] <= skipped[-1] and covers(ranges, skipped[-1]) >= 0
        ):
            raise PeerError(PROTOCOL_VIOLATION, _UNSENT)
        advanced = largest > self.largest_acked
        if advanced:
            self.largest_acked = largest
        path = self.path
        if self.reordering.suspects:
            since = now - 2 * path.pto()  # older ones are lost (msquic's bound)
            if self.reordering.check(ranges, self.largest_acked, since):
                path.congestion.on_spurious()
        batch = self._take_acked(ranges)
        if not batch:
            return 0
        newest = batch[-1]
        packets, eliciting, marked = self._settle(batch, now, advanced, delay)
        if path.ecn and advanced and marked:
            self._check_ecn(marked, ecn, newest.time, now)
        if self._runs and self._firsts[0] < self.largest_acked:
            self.detect_losses(now, True)
        else:
            self.loss_time = NEVER
        if eliciting:
            path.last_activity = now
        if path.peer_validated:
            path.pto_count = 0
        if self.log is not None:
            self.log.metrics(path, now)
        return packets

    def _take_acked(self, ranges: Ranges) -> list[SentRun]:
        """Take what `ranges` cover out of the outstanding runs; ascending. Cuts runs at edges."""
        runs, firsts, skipped = self._runs, self._firsts, self._skipped
        batch: list[SentRun] = []
        for first, last in ranges:
            if not runs or last < firsts[0]:
                break  # and so are all that follow
            if skipped:
                at = bisect_left(skipped, first)
                if at < len(skipped) and skipped[at] <= last:
                    raise PeerError(PROTOCOL_VIOLATION, _UNSENT)
            high = bisect_right(firsts, last)
            low = bisect_right(firsts, first, 0, high) - 1
            if low < 0 or runs[low].last < first:
                low += 1
            if low >= high:
                continue
            group = runs[low:high]
            keep: list[SentRun] = []
            head = group[0]
            if head.first < first:
                keep.append(head)
                group[0] = head.split(first)
            tail = group[-1]
            if tail.last > last:
                keep.append(tail.split(last + 1))
            runs[low:high] = keep
            firsts[low:high] = [run.first for run in keep]
            batch = group + batch if batch else group
        return batch

    def _settle(
        self, batch: list[SentRun], now: float, advanced: bool, delay: float
    ) -> tuple[int, bool, int]:
        """Account for acknowledged runs and tell their owners.

        Gives (packets, whether any was ack-eliciting, packets that were marked ECT(0)).
        """
        path = self.path
        congestion = path.congestion
        since = congestion.recovery_start
        packets = size = fresh = marked = 0
        for run in batch:
            count = run.last - run.first + 1
            packets += count
            if run.eliciting:
                run_size = (count - 1) * run.size + run.last_size
                size += run_size
                if run.time > since:
                    fresh += run_size
            else:
                self._silent -= count
            if run.ecn:
                marked += count
        self._in_flight -= size
        path.bytes_in_flight -= size
        newest = batch[-1]
        rtt = path.rtt
        if advanced and size and newest.last == self.largest_acked:
            if not rtt.sampled:
                path.first_sample = now
            if not self.data:
                delay = 0.0
            elif delay > path.peer_max_ack_delay:
                delay = path.peer_max_ack_delay
            rtt.update(now - newest.time, delay)
        if fresh:
            congestion.on_ack(fresh, newest.time, now, rtt, path.app_limited)
        if self.data:
            self._note_sizes(batch)
        tell(batch, False)
        return packets, size > 0, marked

    def _note_sizes(self, batch: list[SentRun]) -> None:
        """Tell MTU discovery which sizes arrived; of the usual one only the newest matters."""
        mtud = self.path.mtud
        newest = batch[-1]
        if newest.size == mtud.mtu and not newest.mtu_probe:
            mtud.on_acked(newest.last, newest.size)
        for run in batch:
            if run.mtu_probe:
                mtud.on_probe_acked(run.last)
                self.path.congestion.on_mtu(mtud.mtu)
            elif run.size >= BASE_MTU and (run.size != mtud.mtu or newest.size != mtud.mtu):
                mtud.on_acked(run.last, run.size)

    def _check_ecn(self, marked: int, ecn: EcnCounts | None, sent: float, now: float) -> None:
        """Compare the peer's ECN counts with what was marked (RFC 9000 section 13.4.2.1)."""
        path = self.path
        if ecn is None:
            path.ecn = False
            return
        ect0, ect1, ce = ecn
        new_ect, new_ce = ect0 - self._ect_told, ce - self._ce_told
        if new_ect < 0 or new_ce < 0 or ect1 or new_ect + new_ce < marked:
            path.ecn = False
            return
        self._ect_told, self._ce_told = ect0, ce
        path.ecn_unproven = 0
        if new_ce and path.congestion.on_congestion(sent, now, True):
            path.congestion_events += 1
            self.reordering.settle()

    # -- losses ----------------------------------------------------------------------------------

    def detect_losses(self, now: float, by_ack: bool) -> None:
        """Find, take out and report what is lost; set `loss_time` for what may be soon."""
        runs = self._runs
        largest = self.largest_acked
        behind = largest - self.reordering.packet_threshold
        delay = self.path.rtt.loss_delay() * self.reordering.patience
        count = 0
        self.loss_time = NEVER
        for run in runs:
            if run.first > largest:
                break
            due = run.time + delay
            if run.last > behind and due > now:
                self.loss_time = due
                if run.first <= behind:  # the front of the run is lost
                    runs.insert(count + 1, run.split(behind + 1))
                    self._firsts.insert(count + 1, behind + 1)
                    count += 1
                break
            count += 1
        if count:
            lost = runs[:count]
            del runs[:count], self._firsts[:count]
            self._lose(lost, now, by_ack)

    def _lose(self, lost: list[SentRun], now: float, by_ack: bool) -> None:
        """Account for lost runs, ascending, react to the congestion, and tell their owners."""
        path = self.path
        size = self._count_lost(lost)
        path.bytes_in_flight -= size
        self._in_flight -= size
        congested = [run for run in lost if run.eliciting and not run.mtu_probe]
        if congested:
            if path.congestion.on_congestion(congested[-1].time, now):
                path.congestion_events += 1
                self.reordering.begin()
            self.reordering.add(congested)
            if by_ack and self._persistent(lost):
                path.congestion.on_persistent_congestion()
                path.rtt.forget_minimum()
                self.reordering.reset()
        if self.data and path.mtud.check_black_hole(now):
            path.congestion.on_mtu(path.mtud.mtu)
        if self.log is not None:
            self.log.lost(lost, path, now)
        tell(lost, True)

    def _count_lost(self, lost: list[SentRun]) -> int:
        """Count lost runs, and tell MTU discovery of them; gives their bytes in flight."""
        path = self.path
        in_flight = 0
        for run in lost:
            size = (run.last - run.first) * run.size + run.last_size
            path.lost_packets += run.last - run.first + 1
            path.lost_bytes += size
            if run.eliciting:
                in_flight += size
            else:
                self._silent -= run.last - run.first + 1
            if run.ecn:
                path.marked_lost(run.last - run.first + 1)
            if run.mtu_probe:
                path.mtud.on_probe_lost()
            elif self.data:
                path.mtud.on_lost(run.first, run.last, min(run.size, run.last_size))
        return in_flight

    def _persistent(self, lost: list[SentRun]) -> bool:
        """Whether nothing arrived for so long that the path must have changed (section 7.6)."""
        path = self.path
        period = path.persistent_periods * path.pto()
        start = expected = -1.0
        for run in lost:
            if run.first != expected:
                start = -1.0  # something between them arrived
            expected = run.last + 1
            if not run.eliciting or run.mtu_probe or run.time <= path.first_sample:
                continue
            if start < 0.0:
                start = run.time
            elif run.time - start > period:
                return True
        return False

    # -- timers and the end ----------------------------------------------------------------------

    def probe_timeout(self) -> float:
        """Give when this space wants a probe, infinity for never."""
        if not self._in_flight or not self.pto_allowed:
            return NEVER
        path = self.path
        base = path.rtt.timeout + (path.peer_max_ack_delay if self.data else 0.0)
        return self._last_eliciting + (path.backed_off(base) if path.pto_count else base)

    def next_timeout(self) -> float:
        """Give when the path's `on_timeout` is due, infinity for never."""
        return self.path.next_timeout()

    def on_timeout(self, now: float) -> str:
        """Do what is due on the path: "loss", "pto" (see `probes` of each space), or ""."""
        fired = self.path.on_timeout(now)
        return fired[0] if fired else ""

    def requeue_oldest(self, packets: int = PROBES) -> bool:
        """Report the data of the oldest packets as lost, so that a probe can carry it again.

        The packets stay in flight, without owners. False when nothing outstanding has any data.
        """
        for at, run in enumerate(self._runs):
            if not run.eliciting or not (run.stream or run.tokens or run.more):
                continue
            if run.last - run.first >= packets:
                rest = run.split(run.first + packets)
                self._runs.insert(at + 1, rest)
                self._firsts.insert(at + 1, rest.first)
            tell((run,), True)
            run.stream = None
            run.tokens = run.more = ()
            return True
        return False

    def requeue_all(self) -> None:
        """Report everything outstanding as lost, without blaming the network.

        For a path that is abandoned, rejected 0-RTT and Retry.
        """
        runs = self._runs
        if any(run.mtu_probe for run in runs):
            self.path.mtud.on_probe_lost()
        self._clear()
        tell(runs, True)

    def discard(self) -> None:
        """Forget the space: its keys are gone (section 6.4). Owners are not told."""
        self._clear()
        self.path.pto_count = 0
        if self in self.path.spaces:
            self.path.spaces.remove(self)

    def _clear(self) -> None:
        self.path.bytes_in_flight -= self._in_flight
        self._in_flight = self._silent = self.probes = 0
        self._runs, self._firsts = [], []
        self.reordering.settle()
        self.loss_time = NEVER

    def outstanding(self) -> int:
        """Give the number of packets that are neither acknowledged nor lost."""
        return sum(run.last - run.first + 1 for run in self._runs)
