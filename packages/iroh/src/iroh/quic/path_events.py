"""What happened to the paths of a connection, for the layer that chooses among them (magicsock).

    PathEstablished -> PathStatusChanged* / PathMoved* / PathSilent* -> PathAbandoned -> PathClosed

PathAbandoned may be the first event of a path, and PathClosed always follows it. Path 0, over
which the handshake ran, has no PathEstablished: it is there when `Connected` comes.
"""

import enum
from dataclasses import dataclass

from iroh.quic.datagrams import Address
from iroh.quic.events import Event
from iroh_base import SocketAddr


class AbandonReason(enum.Enum):
    """Why a path was given up (noq `PathAbandonReason`); the value is how to say it."""

    APPLICATION = "closed locally"
    TIMED_OUT = "timed out"
    NETWORK_CHANGE = "unusable after a network change"
    PEER = "abandoned by the peer"


@dataclass(frozen=True, slots=True)
class PathEstablished(Event):
    """The peer answered our challenge: the path carries data both ways."""

    path_id: int
    remote: Address


@dataclass(frozen=True, slots=True)
class PathMoved(Event):
    """The peer's address on a path changed: it migrated, or a migration did not hold."""

    path_id: int
    remote: Address


@dataclass(frozen=True, slots=True)
class PathSilent(Event):
    """So many probe timeouts in a row went by on an open path without an answer."""

    path_id: int
    timeouts: int


@dataclass(frozen=True, slots=True)
class PathAbandoned(Event):
    """The path carries nothing any more. code: of the PATH_ABANDON frame."""

    path_id: int
    remote: Address
    reason: AbandonReason
    code: int


@dataclass(frozen=True, slots=True)
class PathClosed(Event):
    """The last trace of an abandoned path is gone."""

    path_id: int
    remote: Address


@dataclass(frozen=True, slots=True)
class PathStatusChanged(Event):
    """The peer says how it would like a path to be used; what we do stays our choice."""

    path_id: int
    available: bool


@dataclass(frozen=True, slots=True)
class RemoteCandidateAdded(Event):
    """The server told of an address it may be reached at (ADD_ADDRESS)."""

    addr: SocketAddr


@dataclass(frozen=True, slots=True)
class RemoteCandidateRemoved(Event):
    """The server took such an address back (REMOVE_ADDRESS)."""

    addr: SocketAddr


@dataclass(frozen=True, slots=True)
class ObservedAddressChanged(Event):
    """The peer says what our address looks like over a path (OBSERVED_ADDRESS)."""

    path_id: int
    addr: SocketAddr
