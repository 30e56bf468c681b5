"""What the packet-number spaces of one path share for loss recovery (RFC 9002), and its timer.

The probe timer (section 6.2) backs off as noq's does: it doubles, but its interval grows by at
most 1 s a step when the idle timeout is short, else 2 s; or by 1.5 RTT on slow paths. Seen of Rust
iroh 1.4.1: Initials at 0, 1, 3, 6.1, 10.1, 15.1 s.
"""

from typing import TYPE_CHECKING

from iroh.quic.congestion import Controller, Cubic
from iroh.quic.mtud import MtuDiscovery
from iroh.quic.reordering import PACKET_THRESHOLD
from iroh.quic.rtt import RttEstimator

if TYPE_CHECKING:
    from iroh.quic.recovery import Recovery

PROBES = 2
"""Packets sent per probe timeout (RFC 9002 section 6.2.4)."""
ECN_TESTS = 10
"""Marked packets of which one must arrive (RFC 9000 appendix A.4)."""
MAX_BACKOFF = 16
"""Doublings of the probe timeout (noq MAX_BACKOFF_EXPONENT)."""
SHORT_IDLE = 25.0
"""Idle timeouts up to this use FAST_GROWTH (noq MIN_IDLE_FOR_FAST_PTO)."""
FAST_GROWTH, SLOW_GROWTH = 1.0, 2.0
"""Most that the interval grows per step (noq MAX_PTO_FAST_INTERVAL, MAX_PTO_INTERVAL)."""
SLOW_RTT = SLOW_GROWTH * 2 / 3
"""Above it the interval may grow by 1.5 RTT (noq SLOW_RTT_THRESHOLD)."""
PERSISTENT_PERIODS = 3
"""kPersistentCongestionThreshold, in probe timeouts (RFC 9002 section 7.6.1)."""
NEVER = float("inf")


class PathRecovery:
    """What the spaces of one path share. The connection sets the attributes of the second block.

    bytes_in_flight: of all spaces; sending stops at `congestion.window`.
    pto_count: probe timeouts since an ACK arrived.
    ecn: whether packets are to be marked ECT(0); False once the path proved not to carry marks.
    ecn_unproven: how many marked packets may yet be lost, as some routers drop them; 0 once one
        arrived, or none is marked any more (RFC 9000 section 13.4.2).
    lost_packets, lost_bytes, congestion_events: totals.
    packet_threshold: how many packets may overtake one before it is lost, to begin with.
    persistent_periods: probe timeouts of nothing but losses after which the window starts over.

    app_limited: set after each transmit: there was nothing more to send, though the window and
        the pacer had room. The window does not grow then.
    idle_timeout: of the path, seconds; None without.
    peer_max_ack_delay: the peer's transport parameter, seconds.
    peer_validated: False for a client until the server proved that it knows our address (any
        Handshake ACK, or the handshake is confirmed): such a client probes with nothing in flight.
    blocked: the anti-amplification limit is reached: probes could not leave.
    """

    __slots__ = (
        "app_limited",
        "blocked",
        "bytes_in_flight",
        "congestion",
        "congestion_events",
        "ecn",
        "ecn_unproven",
        "first_sample",
        "idle_timeout",
        "last_activity",
        "lost_bytes",
        "lost_packets",
        "mtud",
        "packet_threshold",
        "peer_max_ack_delay",
        "peer_validated",
        "persistent_periods",
        "pto_count",
        "rtt",
        "spaces",
    )

    def __init__(
        self,
        congestion: Controller | None = None,
        rtt: RttEstimator | None = None,
        mtud: MtuDiscovery | None = None,
        *,
        packet_threshold: int = PACKET_THRESHOLD,
        persistent_periods: int = PERSISTENT_PERIODS,
    ) -> None:
        self.packet_threshold: int = packet_threshold
        self.persistent_periods: int = persistent_periods
        self.rtt: RttEstimator = rtt or RttEstimator()
        self.mtud: MtuDiscovery = mtud or MtuDiscovery()
        self.congestion: Controller = congestion or Cubic(self.mtud.mtu)
        self.spaces: list[Recovery] = []  # in the order Initial, Handshake, 1-RTT
        self.bytes_in_flight: int = 0
        self.pto_count: int = 0
        self.ecn: bool = True
        self.ecn_unproven: int = ECN_TESTS
        self.lost_packets: int = 0
        self.lost_bytes: int = 0
        self.congestion_events: int = 0
        self.first_sample: float = NEVER  # when the RTT was sampled first
        self.last_activity: float = 0.0  # last packet sent, ACK taken or probe timeout

        self.app_limited: bool = False
        self.idle_timeout: float | None = None
        self.peer_max_ack_delay: float = 0.025
        self.peer_validated: bool = True
        self.blocked: bool = False

    def marked_lost(self, count: int) -> None:
        """Marked packets were lost: with too many of the first ones, ECN is given up."""
        if self.ecn_unproven:
            self.ecn_unproven = max(0, self.ecn_unproven - count)
            self.ecn = self.ecn_unproven > 0

    def room(self) -> int:
        """Give the bytes that the congestion window lets leave now."""
        room = self.congestion.window - self.bytes_in_flight
        return room if room > 0 else 0

    def pto(self, data: bool = True) -> float:
        """Give the probe timeout without backoff; data: of the 1-RTT space."""
        return self.rtt.timeout + (self.peer_max_ack_delay if data else 0.0)

    def backed_off(self, base: float) -> float:
        """Give the interval until the next probe, for a timeout of `base` that fires first."""
        if not self.pto_count:
            return base
        growth = self._growth()
        interval = base
        for step in range(1, min(self.pto_count, 64) + 1):
            doubled = base * (1 << min(step, MAX_BACKOFF))
            interval = min(doubled, interval + growth)
        return interval

    def _growth(self) -> float:
        rtt = self.rtt.smoothed
        if rtt > SLOW_RTT:
            return rtt * 1.5
        idle = self.idle_timeout
        return FAST_GROWTH if idle is not None and idle <= SHORT_IDLE else SLOW_GROWTH

    # -- the timer of the path -------------------------------------------------------------------

    def next_timeout(self) -> float:
        """Give when `on_timeout` is due: a loss, or a probe; infinity for never."""
        due = NEVER
        for space in self.spaces:
            if space.loss_time < due:
                due = space.loss_time
        if due < NEVER:
            return due
        if self.bytes_in_flight or not self.peer_validated:
            return self._probe_timeout()[0]
        return NEVER

    def _probe_timeout(self) -> tuple[float, "Recovery | None"]:
        best, which = NEVER, None
        if self.blocked:
            return best, which
        for space in self.spaces:
            due = space.probe_timeout()
            if due < best:
                best, which = due, space
        if which is None and not self.peer_validated:
            # The server may be unable to send: it needs more bytes of ours (section 6.2.2.1).
            handshake = [space for space in self.spaces if not space.data]
            if handshake:
                interval = min(
                    self.rtt.timeout * (1 << min(self.pto_count, MAX_BACKOFF)), self._growth()
                )
                return self.last_activity + interval, handshake[-1]
        return best, which

    def on_timeout(self, now: float) -> "tuple[str, Recovery] | None":
        """Do what is due: ("loss", space) was detected and reported, or ("pto", space).

        After "pto" send `space.probes` packets without asking the congestion window. None when it
        was called early.
        """
        fired = None
        for space in self.spaces:
            if space.loss_time <= now:
                space.detect_losses(now, False)
                fired = space
        if fired is not None:
            return "loss", fired
        due, which = self._probe_timeout()
        if which is None or due > now:
            return None
        self.pto_count += 1
        self.last_activity = now
        which.probes += PROBES if self.bytes_in_flight else 1
        return "pto", which
