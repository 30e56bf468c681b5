"""Round-trip time of one path (RFC 9002 section 5). Seconds everywhere; no clock of its own."""

INITIAL_RTT = 0.333
"""kInitialRtt (RFC 9002 section 6.2.2; noq `TransportConfig::initial_rtt`)."""
GRANULARITY = 0.001
"""kGranularity: no timer is finer than this (RFC 9002 section 6.1.2)."""
TIME_THRESHOLD = 9 / 8
"""kTimeThreshold (RFC 9002 section 6.1.2)."""


class RttEstimator:
    """Smoothed RTT, its variation and its minimum.

    smoothed: the best estimate now; the initial guess until the first sample.
    variation: mean deviation of the samples from `smoothed`.
    latest: the last sample. minimum: the smallest one; both are the guess before any sample.
    sampled: whether any sample was taken yet.
    timeout: the probe timeout without the peer's max_ack_delay (section 6.2.1).
    time_threshold: how many RTTs a packet may be overtaken.
    """

    __slots__ = (
        *("latest", "minimum", "sampled", "smoothed", "time_threshold", "timeout", "variation"),
    )

    def __init__(
        self, initial: float = INITIAL_RTT, time_threshold: float = TIME_THRESHOLD
    ) -> None:
        self.time_threshold: float = time_threshold
        self.sampled: bool = False
        self._guess(initial)

    def _guess(self, initial: float) -> None:
        self.smoothed: float = initial
        self.latest: float = initial
        self.minimum: float = initial
        self.variation: float = initial / 2
        self._measure()

    def _measure(self) -> None:
        spread = 4 * self.variation
        self.timeout: float = self.smoothed + (spread if spread > GRANULARITY else GRANULARITY)

    def set_initial(self, initial: float) -> None:
        """Use a better first guess (a PATH_CHALLENGE's round trip); ignored after a sample."""
        if not self.sampled:
            self._guess(initial)

    def update(self, sample: float, ack_delay: float) -> None:
        """Take a sample. ack_delay: what the peer says it waited, already capped."""
        if sample < 0.0:
            sample = 0.0  # a clock that went backwards must not make timers negative
        self.latest = sample
        if not self.sampled:
            self.sampled = True
            self.smoothed = self.minimum = sample
            self.variation = sample / 2
            self._measure()
            return
        if sample < self.minimum:
            self.minimum = sample
        # The delay counts only as far as it leaves a plausible RTT (section 5.3).
        if self.minimum + ack_delay <= sample:
            sample -= ack_delay
        self.variation += (abs(self.smoothed - sample) - self.variation) / 4
        self.smoothed += (sample - self.smoothed) / 8
        self._measure()

    def forget_minimum(self) -> None:
        """Take the latest sample for the minimum: persistent congestion (section 5.2)."""
        self.minimum = self.latest

    def loss_delay(self) -> float:
        """Give how long a packet may be overtaken before it is lost (section 6.1.2)."""
        longest = self.latest if self.latest > self.smoothed else self.smoothed
        delay = longest * self.time_threshold
        return delay if delay > GRANULARITY else GRANULARITY
