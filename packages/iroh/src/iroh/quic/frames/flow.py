"""Flow control (RFC 9000 sections 19.9 to 19.14). Each is its type and varints:

MAX_DATA          0x10 | limit            DATA_BLOCKED         0x14 | limit
MAX_STREAM_DATA   0x11 | id | limit       STREAM_DATA_BLOCKED  0x15 | id | limit
MAX_STREAMS bidi  0x12 | count            STREAMS_BLOCKED bidi 0x16 | count
MAX_STREAMS uni   0x13 | count            STREAMS_BLOCKED uni  0x17 | count
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_APP, Frame, encode_fields, malformed
from iroh.quic.varint import Buffer

MAX_STREAM_COUNT = 2**60  # RFC 9000 section 4.6


class _Limit(Frame):
    """A frame with one number."""

    __slots__ = ("limit",)
    SPACES = SPACES_APP

    def __init__(self, limit: int) -> None:
        self.limit: int = limit

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(self.TYPES[0], self.limit)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        limit, at = varint.decode(buf, at)
        return cls(limit), at


class MaxData(_Limit):
    """How many bytes may be sent on all streams together."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x10,)


class DataBlocked(_Limit):
    """The connection's limit holds the sender back."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x14,)


class _StreamLimit(Frame):
    """A frame with a stream and a number."""

    __slots__ = ("limit", "stream_id")
    SPACES = SPACES_APP

    def __init__(self, stream_id: int, limit: int) -> None:
        self.stream_id: int = stream_id
        self.limit: int = limit

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(self.TYPES[0], self.stream_id, self.limit)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        stream_id, at = varint.decode(buf, at)
        limit, at = varint.decode(buf, at)
        return cls(stream_id, limit), at


class MaxStreamData(_StreamLimit):
    """How many bytes may be sent on one stream."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x11,)


class StreamDataBlocked(_StreamLimit):
    """The stream's limit holds the sender back."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x15,)


class _StreamCount(Frame):
    """A frame with a number of streams of one direction."""

    __slots__ = ("bidirectional", "count")
    SPACES = SPACES_APP

    def __init__(self, bidirectional: bool, count: int) -> None:
        self.bidirectional: bool = bidirectional
        self.count: int = count

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(self.TYPES[not self.bidirectional], self.count)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        count, at = varint.decode(buf, at)
        if count > MAX_STREAM_COUNT:
            raise malformed("more than 2**60 streams", kind)
        return cls(kind == cls.TYPES[0], count), at


class MaxStreams(_StreamCount):
    """How many streams the peer may open in all."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x12, 0x13)


class StreamsBlocked(_StreamCount):
    """The limit of streams holds the opener back."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x16, 0x17)
