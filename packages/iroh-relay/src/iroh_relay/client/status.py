"""What a relay client shows of itself: a status to watch, and counters.

The state machine, drawn from the table below:

                     DIALLING
               +------------------+
               v                  |
         CONNECTING --FAILED--> DISCONNECTED <--+
               |                                |
               +----UP----> CONNECTED ---LOST---+         STOPPED: from each to DISCONNECTED

A client starts as CONNECTING (as in Rust) and, unless it is stopped, is never for long in
DISCONNECTED: it waits there for its next attempt.
"""

import enum
from dataclasses import dataclass

__all__ = ["Event", "RelayState", "RelayStats", "RelayStatus", "next_state"]


class RelayState(enum.StrEnum):
    """How things stand with the relay."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


class Event(enum.Enum):
    """What can happen to a client."""

    DIALLING = enum.auto()
    """An attempt begins."""
    FAILED = enum.auto()
    """The attempt failed, or the relay denied us."""
    UP = enum.auto()
    """The handshake is done."""
    LOST = enum.auto()
    """The connection ended, whoever ended it."""
    STOPPED = enum.auto()
    """The client was closed or became idle."""


_S, _E = RelayState, Event
_TRANSITIONS = {
    (_S.CONNECTING, _E.DIALLING): _S.CONNECTING,
    (_S.CONNECTING, _E.FAILED): _S.DISCONNECTED,
    (_S.CONNECTING, _E.UP): _S.CONNECTED,
    (_S.CONNECTING, _E.STOPPED): _S.DISCONNECTED,
    (_S.CONNECTED, _E.LOST): _S.DISCONNECTED,
    (_S.CONNECTED, _E.STOPPED): _S.DISCONNECTED,
    (_S.DISCONNECTED, _E.DIALLING): _S.CONNECTING,
    (_S.DISCONNECTED, _E.STOPPED): _S.DISCONNECTED,
}


def next_state(state: RelayState, event: Event) -> RelayState:
    """Where `event` leads. A pair that the table does not have is a bug: `KeyError`."""
    return _TRANSITIONS[state, event]


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """A relay client's state at one moment.

    `last_error` says why the last attempt failed or the last connection ended; it stays while the
    client dials again and is None from the moment it is connected. `auth_denied_reason` is the
    relay's own text if that is why: the client tries again and again, with the same credentials.
    """

    url: str
    state: RelayState = RelayState.CONNECTING
    last_error: str | None = None
    auth_denied_reason: str | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the relay is there for us."""
        return self.state is RelayState.CONNECTED


@dataclass(slots=True)
class RelayStats:
    """Counters of one relay client since it was made; bytes are datagram contents only."""

    frames_sent: int = 0
    """Datagram frames handed to the transport; one may hold a batch of datagrams."""
    bytes_sent: int = 0
    frames_received: int = 0
    """Datagram frames received."""
    bytes_received: int = 0
    frames_dropped: int = 0
    """Datagram frames not sent: queue full, flushed while dialling, illegal, or client closed."""
    pings_sent: int = 0
    pongs_received: int = 0
    """Pongs that answered our latest ping."""
    pings_answered: int = 0
    conns_success: int = 0
    """Connections that came up."""
    conns_failed: int = 0
    """Attempts that did not lead to a connection, denials included."""
    conns_closed: int = 0
    """Connections that ended."""
    conns_ratelimited: int = 0
    """Times that the relay said it reads more slowly than we send."""
    rtt: float | None = None
    """Seconds that the last answered ping took."""
