"""What every congestion controller has and does. Windows are bytes, times are seconds.

    slow start  --loss, CE, growing RTT-->  congestion avoidance
        ^                                        |
        +---------- persistent congestion -------+      (window back at 2 MTU)

A controller is told per ACK frame, not per packet.
"""

from abc import ABC, abstractmethod

from iroh.quic.rtt import RttEstimator

INITIAL_WINDOW = 12_000
"""Ten packets of 1200 (RFC 9002 section 7.2; seen of Rust iroh, spec/quic.md section 7)."""
MIN_PACKETS = 2
"""kMinimumWindow in packets (RFC 9002 section 7.2)."""
NOT_YET = float("-inf")
UNBOUND = 1 << 62
"""The slow start threshold before the first congestion event."""


class Controller(ABC):
    """One path's window.

    window: bytes that may be in flight.
    ssthresh: slow start ends here.
    recovery_start: when the last congestion event was noticed; packets sent before neither grow
        nor shrink the window (RFC 9002 section 7.3.2).
    """

    __slots__ = ("mtu", "recovery_start", "ssthresh", "window")

    def __init__(self, mtu: int = 1200, window: int = INITIAL_WINDOW) -> None:
        self.mtu: int = mtu
        self.window: int = window
        self.ssthresh: int = UNBOUND
        self.recovery_start: float = NOT_YET

    @property
    def minimum(self) -> int:
        """The smallest window."""
        return MIN_PACKETS * self.mtu

    @abstractmethod
    def on_ack(
        self, acked: int, sent: float, now: float, rtt: RttEstimator, app_limited: bool
    ) -> None:
        """Take `acked` bytes, all of packets sent after `recovery_start`, the newest at `sent`.

        app_limited: the sender did not fill the window, so it must not grow.
        """

    @abstractmethod
    def _reduce(self, ecn: bool) -> None:
        """Set window and ssthresh for a congestion event."""

    def on_congestion(self, sent: float, now: float, ecn: bool = False) -> bool:
        """React to loss, or CE marks; the newest lost or marked packet was sent at `sent`.

        False when the window was reduced for that round trip already.
        """
        if sent <= self.recovery_start:
            return False
        self._reduce(ecn)
        self.recovery_start = now
        return True

    def on_persistent_congestion(self) -> None:
        """Start again: everything of a long period was lost (RFC 9002 section 7.6)."""
        self.window = self.minimum
        self.recovery_start = NOT_YET

    @abstractmethod
    def on_spurious(self) -> None:
        """Undo the last reduction: all that was thought lost arrived after all."""

    def on_mtu(self, mtu: int) -> None:
        """Use another packet size."""
        self.mtu = mtu
        if self.window < self.minimum:
            self.window = self.minimum
