"""STREAM, RESET_STREAM, STOP_SENDING (RFC 9000 sections 19.8, 19.4, 19.5).

STREAM        0x08 | OFF 0x04 | LEN 0x02 | FIN 0x01
              | stream id | [offset] | [length] | data (to the packet's end without LEN)
RESET_STREAM  0x04 | stream id | error code | final size
STOP_SENDING  0x05 | stream id | error code
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_APP, Frame, encode_fields, malformed
from iroh.quic.varint import Buffer

OFF, LEN, FIN = 0x04, 0x02, 0x01


class Stream(Frame):
    """Bytes of a stream. data is a slice of the packet, not a copy."""

    __slots__ = ("data", "fin", "offset", "stream_id")
    TYPES = tuple(range(0x08, 0x10))
    SPACES = SPACES_APP

    def __init__(self, stream_id: int, offset: int, data: Buffer, fin: bool) -> None:
        self.stream_id: int = stream_id
        self.offset: int = offset
        self.data: Buffer = data
        self.fin: bool = fin

    def encode(self) -> bytes:
        """Return the frame's bytes, with a length."""
        return stream_header(self.stream_id, self.offset, len(self.data), self.fin) + self.data

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        stream_id, at = varint.decode(buf, at)
        offset = 0
        if kind & OFF:
            offset, at = varint.decode(buf, at)
        stop = end
        if kind & LEN:
            length, at = varint.decode(buf, at)
            stop = at + length
        if stop > end:
            raise malformed("STREAM data is cut short", kind)
        if offset + stop - at > varint.MAX:
            raise malformed("a stream has at most 2**62 - 1 bytes", kind)
        return cls(stream_id, offset, buf[at:stop], bool(kind & FIN)), stop


def stream_header(stream_id: int, offset: int, length: int, fin: bool) -> bytes:
    """Encode what stands before the data of a STREAM frame with a length."""
    encode = varint.encode
    if offset:
        kind = 0x0E | fin
        return b"%c%b%b%b" % (kind, encode(stream_id), encode(offset), encode(length))
    return b"%c%b%b" % (0x0A | fin, encode(stream_id), encode(length))


class ResetStream(Frame):
    """The sender abandons the stream."""

    __slots__ = ("code", "final_size", "stream_id")
    TYPES: ClassVar[tuple[int, ...]] = (0x04,)
    SPACES = SPACES_APP

    def __init__(self, stream_id: int, code: int, final_size: int) -> None:
        self.stream_id: int = stream_id
        self.code: int = code
        self.final_size: int = final_size

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(0x04, self.stream_id, self.code, self.final_size)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        stream_id, at = varint.decode(buf, at)
        code, at = varint.decode(buf, at)
        final_size, at = varint.decode(buf, at)
        return cls(stream_id, code, final_size), at


class StopSending(Frame):
    """The receiver wants no more of the stream."""

    __slots__ = ("code", "stream_id")
    TYPES: ClassVar[tuple[int, ...]] = (0x05,)
    SPACES = SPACES_APP

    def __init__(self, stream_id: int, code: int) -> None:
        self.stream_id: int = stream_id
        self.code: int = code

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(0x05, self.stream_id, self.code)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        stream_id, at = varint.decode(buf, at)
        code, at = varint.decode(buf, at)
        return cls(stream_id, code), at
