"""DATAGRAM (RFC 9221 section 4).

0x30 | data, to the packet's end        0x31 | length | data
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_APP, Frame, take
from iroh.quic.varint import Buffer

_WITH_LENGTH = 0x31


class Datagram(Frame):
    """Bytes that are delivered once or not at all."""

    __slots__ = ("data",)
    TYPES: ClassVar[tuple[int, ...]] = (0x30, _WITH_LENGTH)
    SPACES = SPACES_APP

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data

    def encode(self) -> bytes:
        """Return the frame's bytes, with a length."""
        return encode_datagram(self.data)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        data, at = read_datagram(kind, buf, at, end)
        return cls(data), at


def encode_datagram(data: bytes) -> bytes:
    """Return a frame with a length (noq sends no other form)."""
    return b"1%b%b" % (varint.encode(len(data)), data)  # "1" is 0x31


def frame_size(length: int) -> int:
    """How many bytes `encode_datagram` makes of so many."""
    return 1 + varint.size(length) + length


def read_datagram(kind: int, buf: Buffer, at: int, end: int) -> tuple[bytes, int]:
    """Read what stands behind the type: the data, and the offset behind it. Raises PeerError."""
    length = end - at
    if kind == _WITH_LENGTH:
        length, at = varint.decode(buf, at)
    return take(buf, at, length, end, kind)
