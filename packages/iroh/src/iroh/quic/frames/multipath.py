"""Paths (draft-ietf-quic-multipath sections 4.2 to 4.7, as noq 1.4 speaks them).

PATH_ABANDON           0x3e75 | path id | error code
PATH_STATUS_BACKUP     0x3e76 | path id | status seq
PATH_STATUS_AVAILABLE  0x3e77 | path id | status seq
MAX_PATH_ID            0x3e7a | path id
PATHS_BLOCKED          0x3e7b | path id
PATH_CIDS_BLOCKED      0x3e7c | path id | next seq
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import Frame, encode_fields
from iroh.quic.frames.cid import decode_path_id
from iroh.quic.varint import Buffer

# Error codes of PATH_ABANDON.
APPLICATION_ABANDON = 0x3E
RESOURCE_LIMIT_REACHED = 0x3E75
UNSTABLE_OR_POOR = 0x3E76
NO_CID_AVAILABLE = 0x3E77


class PathAbandon(Frame):
    """The sender gives a path up; the receiver answers with the same."""

    __slots__ = ("code", "path_id")
    TYPES: ClassVar[tuple[int, ...]] = (0x3E75,)

    def __init__(self, path_id: int, code: int) -> None:
        self.path_id: int = path_id
        self.code: int = code

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(0x3E75, self.path_id, self.code)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        path_id, at = decode_path_id(buf, at, kind)
        code, at = varint.decode(buf, at)
        return cls(path_id, code), at


class PathStatus(Frame):
    """Whether the sender would like the path to be used, or kept as a backup."""

    __slots__ = ("available", "path_id", "seq")
    TYPES: ClassVar[tuple[int, ...]] = (0x3E76, 0x3E77)

    def __init__(self, path_id: int, seq: int, available: bool) -> None:
        self.path_id: int = path_id
        self.seq: int = seq
        self.available: bool = available

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(self.TYPES[self.available], self.path_id, self.seq)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        path_id, at = decode_path_id(buf, at, kind)
        seq, at = varint.decode(buf, at)
        return cls(path_id, seq, kind == cls.TYPES[1]), at


class _PathLimit(Frame):
    """A frame with one path id."""

    __slots__ = ("path_id",)

    def __init__(self, path_id: int) -> None:
        self.path_id: int = path_id

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(self.TYPES[0], self.path_id)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        path_id, at = decode_path_id(buf, at, kind)
        return cls(path_id), at


class MaxPathId(_PathLimit):
    """The largest path id that may be opened."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x3E7A,)


class PathsBlocked(_PathLimit):
    """The limit of path ids holds the opener back."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x3E7B,)


class PathCidsBlocked(Frame):
    """The lack of connection ids for a path holds the opener back."""

    __slots__ = ("next_seq", "path_id")
    TYPES: ClassVar[tuple[int, ...]] = (0x3E7C,)

    def __init__(self, path_id: int, next_seq: int) -> None:
        self.path_id: int = path_id
        self.next_seq: int = next_seq

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(0x3E7C, self.path_id, self.next_seq)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        path_id, at = decode_path_id(buf, at, kind)
        next_seq, at = varint.decode(buf, at)
        return cls(path_id, next_seq), at
