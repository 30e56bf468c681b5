"""DATAGRAM (RFC 9221 section 4).

0x30 | data, to the packet's end        0x31 | length | data
"""

from typing import Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_APP, Frame, take
from iroh.quic.varint import Buffer


class Datagram(Frame):
    """Bytes that are delivered once or not at all."""

    __slots__ = ("data",)
    TYPES = (0x30, 0x31)
    SPACES = SPACES_APP

    def __init__(self, data: bytes) -> None:
        self.data = data

    def encode(self) -> bytes:
        """Return the frame's bytes, with a length (noq sends no other form)."""
        return b"".join((b"\x31", varint.encode(len(self.data)), self.data))

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        length = end - at
        if kind == cls.TYPES[1]:
            length, at = varint.decode(buf, at)
        data, at = take(buf, at, length, end, kind)
        return cls(data), at
