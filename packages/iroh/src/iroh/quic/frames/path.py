"""Path validation (RFC 9000 sections 19.17, 19.18).

PATH_CHALLENGE 0x1a | 8 bytes        PATH_RESPONSE 0x1b | the same 8 bytes
"""

from typing import ClassVar, Self

from iroh.quic.frames.base import SPACES_1RTT, SPACES_APP, Frame, take
from iroh.quic.varint import Buffer


class _PathProof(Frame):
    """Eight bytes that nobody can guess."""

    __slots__ = ("data",)
    PROBING: ClassVar[bool] = True

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return bytes((self.TYPES[0],)) + self.data

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        data, at = take(buf, at, 8, end, kind)
        return cls(data), at


class PathChallenge(_PathProof):
    """Is somebody there?"""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x1A,)
    SPACES = SPACES_APP


class PathResponse(_PathProof):
    """Somebody is."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x1B,)
    SPACES = SPACES_1RTT
