"""One outstanding ping per connection and the time its pong may take.

Only the latest ping counts. Its pong may take `MAX_PING_TIMEOUT` until a round trip has been
measured, and afterwards three round trips, but at least `MIN_PING_TIMEOUT`, at most the maximum.

Source: iroh-relay `ping_tracker.rs`. Times are seconds of one monotonic clock, passed in.
"""

import os
from collections.abc import Callable
from typing import Final

from .frames.control import PING_LEN

__all__ = ["MAX_PING_TIMEOUT", "MIN_PING_TIMEOUT", "PingTracker"]

MAX_PING_TIMEOUT: Final = 5.0
"""Seconds a pong may take at most (`PING_TIMEOUT`)."""
MIN_PING_TIMEOUT: Final = 0.5
"""Seconds a pong may always take (`MIN_HEALTH_CHECK_TIMEOUT`)."""
_RTT_FACTOR: Final = 3


class PingTracker:
    """The ping that waits for its pong, and the last round trip."""

    __slots__ = ("_data", "_max_timeout", "_rng", "_sent_at", "deadline", "last_rtt")

    def __init__(
        self,
        max_timeout: float = MAX_PING_TIMEOUT,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._max_timeout = max_timeout
        self._rng = rng
        self._data = b""
        self._sent_at = 0.0
        self.deadline: float | None = None
        """When the connection counts as dead; None while no pong is owed."""
        self.last_rtt: float | None = None
        """Seconds the last answered ping took."""

    @property
    def timeout(self) -> float:
        """Seconds that the next ping's pong may take."""
        if self.last_rtt is None:
            return self._max_timeout
        wanted = max(_RTT_FACTOR * self.last_rtt, MIN_PING_TIMEOUT)
        return min(wanted, self._max_timeout)

    def new_ping(self, now: float, timeout: float | None = None) -> bytes:
        """The 8 bytes to send in a Ping; an older ping is forgotten.

        `timeout` overrides the measured one for this ping.
        """
        self._data = self._rng(PING_LEN)
        self._sent_at = now
        self.deadline = now + (self.timeout if timeout is None else timeout)
        return self._data

    def pong_received(self, data: bytes, now: float) -> float | None:
        """Take a pong. Returns the round trip if it answers the latest ping, else None."""
        if self.deadline is None or data != self._data:
            return None
        self.deadline = None
        self.last_rtt = max(0.0, now - self._sent_at)
        return self.last_rtt

    def forgive(self) -> None:
        """Expect no pong any more, because we do not read for a while."""
        self.deadline = None

    def timed_out(self, now: float) -> bool:
        """True once the owed pong is too late; the ping is forgotten then."""
        if self.deadline is None or now < self.deadline:
            return False
        self.deadline = None
        return True
