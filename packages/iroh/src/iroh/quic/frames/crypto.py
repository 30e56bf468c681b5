"""CRYPTO (RFC 9000 section 19.6).

0x06 | offset | length | TLS handshake bytes
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_NOT_0RTT, Frame, malformed, take
from iroh.quic.varint import Buffer


class Crypto(Frame):
    """Bytes of the TLS handshake, of the packet's encryption level."""

    __slots__ = ("data", "offset")
    TYPES: ClassVar[tuple[int, ...]] = (0x06,)
    SPACES = SPACES_NOT_0RTT

    def __init__(self, offset: int, data: bytes) -> None:
        self.offset: int = offset
        self.data: bytes = data

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return b"".join(
            (b"\x06", varint.encode(self.offset), varint.encode(len(self.data)), self.data)
        )

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        offset, at = varint.decode(buf, at)
        length, at = varint.decode(buf, at)
        data, at = take(buf, at, length, end, kind)
        if offset + length > varint.MAX:
            raise malformed("CRYPTO data beyond 2**62 - 1", kind)
        return cls(offset, data), at
