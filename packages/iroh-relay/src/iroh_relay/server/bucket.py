"""How many bytes a client may send us: a bucket that fills with time. No clock.

    |~~~~~~~~| max_burst       starts full; every 100 ms a tenth of a second's worth comes in
    |~~~~    | fill            each read takes its bytes out, even more than there are
    |--------| 0               as long as it is not above 0, the client is not read from

What was read is always delivered; it is the next read that waits, so that the sender's TCP feels
it. Source: iroh-relay `server/streams.rs` (`Bucket`, `RateLimited`).
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["Bucket", "RxLimit", "wire_size"]

REFILL_PERIOD: Final = 0.1
"""Seconds between two refills (`Bucket::new`)."""
_PERIODS: Final = 10
_ROUNDING: Final = 1e-6
"""Of a period: who comes exactly when told to must not be a rounding error too early."""
_MASK: Final = 4
_SHORT, _MEDIUM = 126, 65536


@dataclass(frozen=True, slots=True)
class RxLimit:
    """`limits.client.rx` of the configuration: bytes per second, and how many of them at once.

    max_burst_bytes None means a tenth of a second's worth. Raises ValueError for less than ten
    bytes a second, which would never let anything through.
    """

    bytes_per_second: int
    max_burst_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.bytes_per_second < _PERIODS:
            raise ValueError(f"bytes_per_second must be at least {_PERIODS}")
        if self.max_burst_bytes is not None and self.max_burst_bytes <= 0:
            raise ValueError("max_burst_bytes must be more than 0")

    @property
    def burst(self) -> int:
        """What a full bucket holds, bytes."""
        return self.max_burst_bytes or self.bytes_per_second // _PERIODS


class Bucket:
    """The allowance of one connection. Times are seconds of any one clock."""

    __slots__ = ("_fill", "_max", "_period", "_refill", "_start")

    def __init__(self, limit: RxLimit, now: float) -> None:
        self._max = limit.burst
        self._refill = limit.bytes_per_second // _PERIODS
        self._fill = self._max
        self._start = now
        self._period = 0  # whole periods since the start that were filled in

    def consume(self, count: int, now: float) -> float | None:
        """Take out the bytes of one read. None: go on; else the time before which not to read."""
        period = int((now - self._start) / REFILL_PERIOD + _ROUNDING)
        if period > self._period:
            self._fill = min(self._max, self._fill + (period - self._period) * self._refill)
            self._period = period
        self._fill -= count
        if self._fill > 0:
            return None
        wait = -self._fill // self._refill + 1
        return self._start + (self._period + wait) * REFILL_PERIOD


def wire_size(payload: int) -> int:
    """The bytes a client's WebSocket message takes: payload, header and mask (RFC 6455 5.2)."""
    header = 2 if payload < _SHORT else 4 if payload < _MEDIUM else 10
    return payload + header + _MASK
