"""How many new connections a listener takes per second; those beyond are dropped at once.

Rust's relay has the two keys for it (`limits.accept_conn_limit`, `accept_conn_burst`) and does not
use them. A client that is dropped here dials again after its backoff.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["AcceptBucket", "AcceptLimit", "limited"]


@dataclass(frozen=True, slots=True)
class AcceptLimit:
    """New connections per second, and how many at once after a quiet time."""

    per_second: float
    burst: int


class AcceptBucket:
    """A token bucket. Times are seconds of any one clock."""

    __slots__ = ("_burst", "_last", "_rate", "_tokens")

    def __init__(self, limit: AcceptLimit, now: float) -> None:
        self._rate = limit.per_second
        self._burst = self._tokens = float(limit.burst)
        self._last = now

    def take(self, now: float) -> bool:
        """Whether one more connection may come in."""
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class _Refused(asyncio.Protocol):
    """A connection that is not wanted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Drop it."""
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def limited(
    factory: Callable[[], asyncio.BaseProtocol], may_enter: Callable[[], bool]
) -> Callable[[], asyncio.BaseProtocol]:
    """What `create_server` shall make: `factory()`, or a refusal."""
    return lambda: factory() if may_enter() else _Refused()
