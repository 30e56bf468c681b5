"""NewReno (RFC 9002 section 7): half the window per loss, one packet more per round trip."""

from iroh.quic.congestion.base import INITIAL_WINDOW, Controller
from iroh.quic.rtt import RttEstimator

LOSS_REDUCTION = 0.5
"""kLossReductionFactor (RFC 9002 appendix B.1)."""


class NewReno(Controller):
    """The plain controller of RFC 9002, with appropriate byte counting (RFC 3465)."""

    __slots__ = ("_before", "_counted")
    window: int
    ssthresh: int

    def __init__(self, mtu: int = 1200, window: int = INITIAL_WINDOW) -> None:
        super().__init__(mtu, window)
        self._counted = 0  # acknowledged bytes that did not grow the window yet
        self._before: tuple[int, int] | None = None

    def on_ack(
        self, acked: int, sent: float, now: float, rtt: RttEstimator, app_limited: bool
    ) -> None:
        """Grow: by what was acknowledged in slow start, by an MTU per window after it."""
        if app_limited:
            return
        if self.window < self.ssthresh:
            self.window += acked
            if self.window >= self.ssthresh:
                self._counted = self.window - self.ssthresh
            return
        self._counted += acked
        grown, self._counted = divmod(self._counted, self.window)
        self.window += grown * self.mtu

    def _reduce(self, ecn: bool) -> None:
        self._before = None if ecn else (self.window, self.ssthresh)
        self.window = self.ssthresh = max(int(self.window * LOSS_REDUCTION), self.minimum)
        self._counted = 0

    def on_spurious(self) -> None:
        """Take the window before the last loss again."""
        if self._before is not None and self.window < self._before[0]:
            self.window, self.ssthresh = self._before
        self._before = None
