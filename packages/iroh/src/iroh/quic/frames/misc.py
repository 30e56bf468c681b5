"""Frames of few words: PADDING, PING, NEW_TOKEN, HANDSHAKE_DONE, IMMEDIATE_ACK.

PADDING 0x00         PING 0x01        HANDSHAKE_DONE 0x1e        IMMEDIATE_ACK 0x1f
NEW_TOKEN 0x07 | length | token                                       (RFC 9000 19.7)
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_ALL, SPACES_APP, Frame, malformed, take
from iroh.quic.varint import Buffer


class _Bare(Frame):
    """A frame that is its type."""

    __slots__ = ()

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return varint.encode(self.TYPES[0])

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type: nothing."""
        return cls(), at


class Padding(Frame):
    """A run of PADDING bytes (RFC 9000 section 19.1)."""

    __slots__ = ("length",)
    TYPES: ClassVar[tuple[int, ...]] = (0x00,)
    ACK_ELICITING: ClassVar[bool] = False
    PROBING: ClassVar[bool] = True
    SPACES = SPACES_ALL

    def __init__(self, length: int = 1) -> None:
        self.length: int = length

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return bytes(self.length)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Swallow the whole run."""
        rest = bytes(buf[at:end])
        length = len(rest) - len(rest.lstrip(b"\x00"))
        return cls(length + 1), at + length


class Ping(_Bare):
    """Elicits an acknowledgement (RFC 9000 section 19.2)."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x01,)
    SPACES = SPACES_ALL


class HandshakeDone(_Bare):
    """The server confirms the handshake (RFC 9000 section 19.20)."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x1E,)


class ImmediateAck(_Bare):
    """Asks for an acknowledgement without delay (draft-ietf-quic-ack-frequency section 5)."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x1F,)
    SPACES = SPACES_APP


class NewToken(Frame):
    """A token for a later connection's Initial."""

    __slots__ = ("token",)
    TYPES: ClassVar[tuple[int, ...]] = (0x07,)

    def __init__(self, token: bytes) -> None:
        self.token: bytes = token

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return b"\x07" + varint.encode(len(self.token)) + self.token

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        length, at = varint.decode(buf, at)
        if not length:
            raise malformed("NEW_TOKEN with an empty token", kind)
        token, at = take(buf, at, length, end, kind)
        return cls(token), at
