"""HyStart++ (RFC 9406): leaves slow start when the round-trip time grows, before packets are lost.

    slow start  --RTT grew-->  conservative slow start (CSS)  --5 rounds-->  done
        ^                              |
        +---- RTT is down again -------+

A round lasts until a packet that was sent in it is acknowledged; RTTs of a round are compared by
their minimum, with those of the round before.
"""

MIN_THRESHOLD = 0.004
MAX_THRESHOLD = 0.016
"""MIN_RTT_THRESH, MAX_RTT_THRESH, seconds: how much growth counts."""
DIVISOR = 8
"""MIN_RTT_DIVISOR: an eighth of the RTT counts, within those bounds."""
SAMPLES = 8
"""N_RTT_SAMPLE: a round with fewer samples says nothing."""
CSS_GROWTH = 4
"""CSS_GROWTH_DIVISOR: growth in CSS is a quarter of that in slow start."""
CSS_ROUNDS = 5
"""CSS_ROUNDS: after so many rounds the growth was no accident."""
_NONE = float("inf")


class HyStart:
    """The state of one slow start. `done` says that it should end."""

    __slots__ = ("_baseline", "_css", "_last_min", "_min", "_round_start", "_samples", "done")

    def __init__(self) -> None:
        self.done: bool = False
        self._round_start = float("-inf")
        self._last_min = self._min = self._baseline = _NONE
        self._samples = 0
        self._css = 0  # rounds in CSS, 0 outside

    def growth(self, acked: int, sent: float, now: float, rtt: float) -> int:
        """Take one ACK, and give by how many bytes the window grows.

        sent: when the newest packet it acknowledges was sent. rtt: its sample.
        """
        if sent >= self._round_start:
            self._next_round(now)
        self._samples += 1
        if rtt < self._min:
            self._min = rtt
        if self._samples >= SAMPLES:
            self._judge()
        return acked // CSS_GROWTH if self._css else acked

    def _next_round(self, now: float) -> None:
        self._round_start = now
        self._last_min, self._min = self._min, _NONE
        self._samples = 0
        if self._css:
            self._css += 1
            self.done = self._css > CSS_ROUNDS

    def _judge(self) -> None:
        if self._css:
            if self._min < self._baseline:
                self._css, self._baseline = 0, _NONE
        elif self._last_min < _NONE:
            threshold = min(max(self._last_min / DIVISOR, MIN_THRESHOLD), MAX_THRESHOLD)
            if self._min >= self._last_min + threshold:
                self._css, self._baseline = 1, self._min
