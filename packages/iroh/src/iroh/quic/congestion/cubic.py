"""CUBIC (RFC 9438, and RFC 8312 where noq follows that), with HyStart++ (RFC 9406) in slow start.

window
  |                     :  /   the cubic: slow around the window of the last loss (w_max),
  | w_max - - - - .-----'-'    fast far from it
  |  |         .-'
  |  |  .----'
  |  |.'                       time since the epoch began
"""

from iroh.quic.congestion.base import INITIAL_WINDOW, NOT_YET, Controller
from iroh.quic.congestion.hystart import HyStart
from iroh.quic.rtt import RttEstimator

BETA = 0.7
"""beta_cubic: what a loss leaves of the window (RFC 9438 section 4.6)."""
C = 0.4
"""Packets per second cubed (RFC 9438 section 5)."""
ALPHA = 3.0 * (1.0 - BETA) / (1.0 + BETA)
"""alpha_cubic: growth per round trip that is fair to Reno at BETA (RFC 9438 section 4.3)."""


class Cubic(Controller):
    """The controller that Rust iroh uses by default.

    hystart: whether slow start also ends when the RTT grows.
    """

    __slots__ = (
        "_before",
        "_credit",
        "_epoch",
        "_hystart",
        "_k",
        "_last",
        "_start",
        "_top",
    )
    window: int
    ssthresh: int
    recovery_start: float

    def __init__(
        self, mtu: int = 1200, window: int = INITIAL_WINDOW, *, hystart: bool = True
    ) -> None:
        super().__init__(mtu, window)
        self._hystart = HyStart() if hystart else None
        self._epoch = NOT_YET  # when this congestion avoidance began
        self._last = NOT_YET  # time of the last ACK
        self._top = 0.0  # w_max
        self._k = 0.0  # seconds from the epoch until the cubic reaches w_max
        self._start = 0.0  # the window when the epoch began
        self._credit = 0.0  # growth below one byte
        self._before: tuple[int, int, float, float, float, float, float] | None = None

    def on_ack(
        self, acked: int, sent: float, now: float, rtt: RttEstimator, app_limited: bool
    ) -> None:
        """Grow: HyStart++ in slow start, along the cubic or Reno's line after it."""
        if app_limited:
            self._pause(now)
            return
        self._last = now
        if self.window >= self.ssthresh:
            self._avoid(acked, now, rtt.smoothed)
        elif self._hystart is None:
            self.window += acked
        else:
            self.window += self._hystart.growth(acked, sent, now, rtt.latest)
            if self._hystart.done:
                self.ssthresh = self.window

    def _pause(self, now: float) -> None:
        """Leave out the time that the application let pass (RFC 9438 section 5.8)."""
        if self.window >= self.ssthresh:
            if self._epoch == NOT_YET:
                self._start_epoch(now)
            if self._last > NOT_YET:
                self._epoch = min(self._epoch + now - self._last, now)
        self._last = now

    def _avoid(self, acked: int, now: float, rtt: float) -> None:
        window, mtu = self.window, self.mtu
        if self._epoch == NOT_YET:
            self._start_epoch(now)
        t = now - self._epoch
        # Where Reno would be by now. By time, as RFC 8312 section 4.2 and noq have it, not by what
        # was acknowledged, as RFC 9438 has it: at 8 Mbit/s, 40 ms and 20 % loss (simulated) that
        # gave 0.32 Mbit/s, this 0.57.
        reno = self._start + ALPHA * mtu * t / rtt if rtt > 0.0 else 0.0
        if C * (t - self._k) ** 3 * mtu + self._top < reno:
            growth = reno - window
        else:
            target = C * (t + rtt - self._k) ** 3 * mtu + self._top
            # At most half as much again per round trip (RFC 9438 section 4.4).
            growth = (min(target, 1.5 * window) - window) / window * acked
        if growth <= 0.0:
            return
        growth = min(growth, acked) + self._credit
        grown = int(growth)
        self._credit = growth - grown
        self.window = window + grown

    def _start_epoch(self, now: float) -> None:
        """Begin congestion avoidance: at the last congestion event, or now without one."""
        window = float(self.window)
        self._epoch = self.recovery_start if self.recovery_start > NOT_YET else now
        self._credit = 0.0
        self._start = window
        if self._top <= window:
            self._top = window
            self._k = 0.0
        else:
            self._k = ((self._top - window) / self.mtu / C) ** (1 / 3)

    def _reduce(self, ecn: bool) -> None:
        window = self.window
        # The marks of CE are no guess, so nothing of them can turn out spurious.
        self._before = (
            None
            if ecn
            else (
                window,
                self.ssthresh,
                self.recovery_start,
                self._epoch,
                self._top,
                self._k,
                self._start,
            )
        )
        # Fast convergence: a shrinking share makes room for others (section 4.7).
        self._top = window * (1 + BETA) / 2 if window < self._top else float(window)
        self.window = self.ssthresh = max(int(window * BETA), self.minimum)
        self._epoch = NOT_YET

    def on_persistent_congestion(self) -> None:
        """Start again in slow start up to 0.7 of the window (RFC 9438 section 4.8)."""
        self._top = float(self.window)
        self.ssthresh = max(int(self.window * BETA), self.minimum)
        self._epoch = NOT_YET
        self._before = None
        super().on_persistent_congestion()

    def on_spurious(self) -> None:
        """Take the state before the last loss again (RFC 9438 section 4.9)."""
        before, self._before = self._before, None
        if before is None or self.window >= before[0]:
            return
        (
            self.window,
            self.ssthresh,
            self.recovery_start,
            self._epoch,
            self._top,
            self._k,
            self._start,
        ) = before
