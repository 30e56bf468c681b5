"""The relay client: `RelayClient` keeps one relay connected, `probe_latency` measures one."""

from .client import RelayClient, RelayConfigLike
from .clock import Clock, LoopClock, TimerHandle
from .errors import (
    ClientClosedError,
    RelayClientError,
    RelayDialError,
    RelayProbeError,
    StreamClosedError,
)
from .probe import probe_latency
from .proxy import proxy_from_env
from .status import RelayState, RelayStats, RelayStatus
from .stream import Dialer, DialRequest, RelayStream, Resolver

__all__ = [
    "ClientClosedError",
    "Clock",
    "DialRequest",
    "Dialer",
    "LoopClock",
    "RelayClient",
    "RelayClientError",
    "RelayConfigLike",
    "RelayDialError",
    "RelayProbeError",
    "RelayState",
    "RelayStats",
    "RelayStatus",
    "RelayStream",
    "Resolver",
    "StreamClosedError",
    "TimerHandle",
    "probe_latency",
    "proxy_from_env",
]
