"""CUBIC (RFC 9438), with HyStart++ (RFC 9406) in slow start.

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
"""alpha_cubic: growth that is fair to Reno at BETA (RFC 9438 section 4.3)."""


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
        "_prior",
        "_reno",
        "_top",
    )

    def __init__(
        self, mtu: int = 1200, window: int = INITIAL_WINDOW, *, hystart: bool = True
    ) -> None:
        super().__init__(mtu, window)
        self._hystart = HyStart() if hystart else None
        self._epoch = NOT_YET  # when this congestion avoidance began
        self._last = NOT_YET  # time of the last ACK
        self._top = 0.0  # w_max
        self._k = 0.0  # seconds from the epoch until the cubic reaches w_max
        self._reno = 0.0  # w_est: where Reno would be
        self._prior = 0  # cwnd_prior: the window before the reduction
        self._credit = 0.0  # growth below one byte
        self._before: tuple[int, int, float, float, float, float, int] | None = None

    def on_ack(
        self, acked: int, sent: float, now: float, rtt: RttEstimator, app_limited: bool
    ) -> None:
        """Grow: HyStart++ in slow start, along the cubic or Reno's line after it."""
        if app_limited:
            # Time that the application let pass does not count (RFC 9438 section 5.8).
            if self._epoch > NOT_YET and now > self._last:
                self._epoch += now - self._last
            self._last = now
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

    def _avoid(self, acked: int, now: float, rtt: float) -> None:
        window, mtu = self.window, self.mtu
        if self._epoch == NOT_YET:
            self._start_epoch(now)
        top, t = self._top, now - self._epoch
        self._reno += (ALPHA if self._reno < self._prior else 1.0) * acked * mtu / window
        if C * (t - self._k) ** 3 * mtu + top < self._reno:
            if self._reno > window:
                self.window = int(self._reno)
            return
        target = C * (t + rtt - self._k) ** 3 * mtu + top
        if target <= window:
            return
        if target > 1.5 * window:
            target = 1.5 * window  # at most half as much again per round trip (section 4.4)
        growth = self._credit + (target - window) / window * acked
        grown = int(growth)
        self._credit = growth - grown
        self.window = window + grown

    def _start_epoch(self, now: float) -> None:
        window = float(self.window)
        self._epoch = now
        self._credit = 0.0
        self._reno = window
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
                self._prior,
            )
        )
        # Fast convergence: a shrinking share makes room for others (section 4.7).
        self._top = window * (1 + BETA) / 2 if window < self._top else float(window)
        self._prior = window
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
            self._prior,
        ) = before
        self._reno = float(self.window)
