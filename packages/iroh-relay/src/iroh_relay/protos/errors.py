"""What can be wrong with the bytes of a relay peer: a closed set, all below `RelayProtocolError`.

Every one of them is the *peer's* fault (or a message that we were asked to send and must not),
ends at most the one connection it came from, and never carries bytes of a secret.
"""

from iroh_base.errors import IrohError, IrohErrorKind

__all__ = [
    "AuthDeniedError",
    "ClientAuthHeaderError",
    "FrameError",
    "FrameTooLargeError",
    "HandshakeError",
    "RelayProtocolError",
    "UnknownFrameError",
]


class RelayProtocolError(IrohError):
    """A peer broke the relay protocol, or a message would break it."""

    default_kind = IrohErrorKind.RELAY


class FrameError(RelayProtocolError, ValueError):
    """One frame cannot be decoded, is not allowed here, or must not be encoded."""


class UnknownFrameError(FrameError):
    """The frame type is one that no version of the protocol knows; there is no skipping."""


class FrameTooLargeError(FrameError):
    """The frame is longer than `MAX_PACKET_SIZE`."""


class HandshakeError(RelayProtocolError):
    """The handshake that follows the WebSocket upgrade failed."""


class AuthDeniedError(HandshakeError):
    """The relay said no; `reason` is its text. The message is that of the Rust client."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The relay denied our authentication ({reason})")
        self.reason = reason


class ClientAuthHeaderError(HandshakeError):
    """The `x-iroh-relay-client-auth-v1` header cannot be read at all; Rust drops the client."""
