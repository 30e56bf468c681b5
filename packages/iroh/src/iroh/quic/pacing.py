"""Pacing: a token bucket that spreads a congestion window over its round trip (RFC 9002 7.7).

The bucket fills at 1.25 windows per RTT and holds about 2 ms of that traffic, but 10 to 256
packets, and never more than 10 ms (noq `connection/pacing.rs`). A sender empties it in one burst,
so that a batch stays a batch.
"""

BURST_SECONDS = 0.002
"""noq TARGET_BURST_INTERVAL."""
MAX_BURST_SECONDS = 0.010
"""noq MAX_BURST_INTERVAL: the bound that matters on slow paths."""
MIN_BURST_PACKETS = 10
"""noq MIN_BURST_SIZE."""
MAX_BURST_PACKETS = 256
"""noq MAX_BURST_SIZE."""
GAIN = 1.25
"""N of RFC 9002 section 7.7: a little faster than one window per RTT, so ACKs stay the limit."""
UNLIMITED = 1 << 40
"""What `available` says when there is no RTT to pace by, bytes."""


class Pacer:
    """How many bytes may leave now, on one path. Times are those of the `now` arguments."""

    __slots__ = ("_capacity", "_full", "_key", "_rate", "_tokens", "_when")

    def __init__(self) -> None:
        self._key = (-1, -1.0, -1)
        self._rate = 0.0  # bytes per second that come in
        self._capacity = 0  # bytes the bucket holds
        self._tokens = 0.0  # may go below 0: a probe or an ACK is sent without asking
        self._when = 0.0
        self._full = True  # the first burst finds a full bucket

    def _measure(self, cwnd: int, rtt: float, mtu: int) -> None:
        rate = cwnd / rtt
        least, most = MIN_BURST_PACKETS * mtu, MAX_BURST_PACKETS * mtu
        target = min(max(rate * BURST_SECONDS, least), most)
        self._capacity = int(min(target, max(rate * MAX_BURST_SECONDS, mtu)))
        self._rate = rate * GAIN

    def available(self, now: float, cwnd: int, rtt: float, mtu: int) -> int:
        """Give the bytes that may be sent now (0 when none), for a path as it is at present."""
        if rtt <= 0.0:
            return UNLIMITED
        key = (cwnd, rtt, mtu)
        if key != self._key:
            self._key = key
            self._measure(cwnd, rtt, mtu)
        capacity = self._capacity
        if self._full:
            self._full = False
            self._tokens = capacity
            self._when = now
        else:
            elapsed = now - self._when
            if elapsed > 0.0:
                self._tokens += elapsed * self._rate
                self._when = now
            if self._tokens > capacity:
                self._tokens = capacity
        tokens = int(self._tokens)
        return tokens if tokens > 0 else 0

    def sent(self, size: int, now: float) -> None:
        """Take what was sent, bytes, out of the bucket. `now` is that of `available`."""
        self._tokens -= size
        # A debt is bounded: packets that ask nobody must not silence the path for long.
        if self._tokens < -self._capacity:
            self._tokens = -float(self._capacity)

    def next(self, now: float) -> float:
        """Give the time at which a burst is worth while again; `now` when it is already.

        That is at half a bucket: timers of an event loop come up to a millisecond late, and what
        flows into a full bucket is lost.
        """
        lacking = max(self._capacity // 2, min(self._capacity, self._key[2])) - self._tokens
        if lacking <= 0.0 or self._rate <= 0.0:
            return now
        # A microsecond more, so that rounding cannot leave the bucket a hair short at that time.
        due = self._when + lacking / self._rate + 1e-6
        return due if due > now else now
