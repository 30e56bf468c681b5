"""What can go wrong between a relay client and its relay; none of it ends the client.

IrohError
 +- RelayClientError   RELAY
     +- RelayDialError     no connection could be made: DNS, TCP, TLS, upgrade, handshake
     +- StreamClosedError  the connection is over: by the peer, by us, or by the network
     +- RelayProbeError    a latency probe got no good answer
     +- ClientClosedError  the client was closed and will not dial any more
"""

from iroh_base.errors import IrohError, IrohErrorKind

__all__ = [
    "ClientClosedError",
    "RelayClientError",
    "RelayDialError",
    "RelayProbeError",
    "StreamClosedError",
]


class RelayClientError(IrohError):
    """Root of what this package raises."""

    default_kind = IrohErrorKind.RELAY


class RelayDialError(RelayClientError):
    """The relay could not be reached, or did not want us."""


class StreamClosedError(RelayClientError):
    """The connection to the relay is over."""


class RelayProbeError(RelayClientError):
    """A latency probe got no answer, or not the right one."""


class ClientClosedError(RelayClientError):
    """This client does not dial any more."""

    default_kind = IrohErrorKind.CLOSED
