"""The frames that carry what a relay is for: sealed datagrams, one or a batch of equal ones.

    ClientToRelayDatagram (4), RelayToClientDatagram (6)
    0      1                                33    34
    +------+--------------------------------+-----+------------------------------+
    | type | endpoint id (32)               | ecn | one datagram                 |
    +------+--------------------------------+-----+------------------------------+

    ClientToRelayDatagramBatch (5), RelayToClientDatagramBatch (7)
    0      1                                33    34            36
    +------+--------------------------------+-----+-------------+----------------+
    | type | endpoint id (32)               | ecn | segment u16 | datagrams      |
    +------+--------------------------------+-----+-------------+----------------+

The id is the destination on the way to the relay and the source on the way from it. Of the ECN
byte only the low two bits count: 0 none, 1 ECT(1), 2 ECT(0), 3 CE (RFC 3168). All datagrams of
a batch have `segment` bytes except the last, which may be shorter; a segment size of 0 is read
as "no batch" and sent on as the single form.

Decoding accepts empty contents, as Rust does, but encoding refuses them and everything above
`MAX_PACKET_SIZE`: a Rust writer that is handed such a frame gives up its connection.

Source: iroh-relay `protos/relay.rs` (`Datagrams`), noq-proto `EcnCodepoint`.
"""

from dataclasses import dataclass
from typing import Final

from iroh_base.keys import PublicKey

from ..errors import FrameError, FrameTooLargeError
from .types import (
    CLIENT_TO_RELAY_DATAGRAM,
    CLIENT_TO_RELAY_DATAGRAM_BATCH,
    ID_LEN,
    MAX_PACKET_SIZE,
    RELAY_TO_CLIENT_DATAGRAM,
    RELAY_TO_CLIENT_DATAGRAM_BATCH,
    Buffer,
    frame_name,
    parse_id,
    split_frame,
)

__all__ = [
    "MAX_BATCH_CONTENTS",
    "MAX_SINGLE_CONTENTS",
    "ClientToRelayDatagrams",
    "Datagrams",
    "RelayToClientDatagrams",
    "encode_datagrams",
    "read_datagrams",
]

_HEAD: Final = ID_LEN + 1
_BATCH_HEAD: Final = _HEAD + 2
MAX_SINGLE_CONTENTS: Final = MAX_PACKET_SIZE - 1 - _HEAD
"""Most bytes of a datagram in the single form: 65502."""
MAX_BATCH_CONTENTS: Final = MAX_PACKET_SIZE - 1 - _BATCH_HEAD
"""Most bytes of all datagrams in a batch together: 65500."""
_ECN_MASK: Final = 0b11


@dataclass(frozen=True, slots=True)
class Datagrams:
    """One datagram, or several of equal size back to back.

    `segment_size` is None for a single datagram, else 1 to 65535 bytes. `ecn` is 0 to 3.
    """

    contents: bytes
    ecn: int = 0
    segment_size: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.ecn <= _ECN_MASK:
            raise FrameError(f"ECN must be 0 to 3, not {self.ecn}")
        if self.segment_size is not None and not 0 < self.segment_size <= 0xFFFF:
            raise FrameError(f"segment size must be 1 to 65535, not {self.segment_size}")

    def segments(self) -> list[memoryview]:
        """The datagrams one by one, without copying them."""
        view = memoryview(self.contents)
        size = self.segment_size or max(1, len(view))
        return [view[start : start + size] for start in range(0, len(view), size)]

    def take_segments(self, count: int) -> "tuple[Datagrams, Datagrams]":
        """The first `count` (at least 1) datagrams and the rest, which may be empty.

        What holds one datagram only carries no segment size. A single datagram is taken whole.
        Same cut as Rust's `Datagrams::take_segments`.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        size = self.segment_size
        if size is None:
            return self, Datagrams(b"", self.ecn)
        taken, rest = self.contents[: count * size], self.contents[count * size :]
        return (
            Datagrams(taken, self.ecn, size if len(taken) > size else None),
            Datagrams(rest, self.ecn, size if len(rest) > size else None),
        )


@dataclass(frozen=True, slots=True)
class ClientToRelayDatagrams:
    """Datagrams for the endpoint `dst` (types 4 and 5)."""

    dst: PublicKey
    datagrams: Datagrams

    def encode(self) -> bytes:
        """The frame. Raises `FrameError` on empty, `FrameTooLargeError` on too long contents."""
        return _encode(CLIENT_TO_RELAY_DATAGRAM, self.dst, self.datagrams)

    @classmethod
    def decode(cls, frame: Buffer) -> "ClientToRelayDatagrams":
        """Read a whole frame of type 4 or 5; raises `FrameError`."""
        return cls(*_decode(frame, CLIENT_TO_RELAY_DATAGRAM))


@dataclass(frozen=True, slots=True)
class RelayToClientDatagrams:
    """Datagrams that the endpoint `src` has sent us (types 6 and 7)."""

    src: PublicKey
    datagrams: Datagrams

    def encode(self) -> bytes:
        """The frame. Raises `FrameError` on empty, `FrameTooLargeError` on too long contents."""
        return _encode(RELAY_TO_CLIENT_DATAGRAM, self.src, self.datagrams)

    @classmethod
    def decode(cls, frame: Buffer) -> "RelayToClientDatagrams":
        """Read a whole frame of type 6 or 7; raises `FrameError`."""
        return cls(*_decode(frame, RELAY_TO_CLIENT_DATAGRAM))


def encode_datagrams(
    dst: bytes, contents: Buffer, ecn: int = 0, segment_size: int | None = None
) -> bytes:
    """A ClientToRelay frame without any object in between: the sender's fast path.

    `dst` is the raw id. Raises `FrameError` if `contents` is empty, `FrameTooLargeError` if it is
    longer than `MAX_SINGLE_CONTENTS` or `MAX_BATCH_CONTENTS`.
    """
    if segment_size is None:
        return _join(CLIENT_TO_RELAY_DATAGRAM, dst, bytes((ecn,)), contents)
    tail = bytes((ecn,)) + segment_size.to_bytes(2)
    return _join(CLIENT_TO_RELAY_DATAGRAM_BATCH, dst, tail, contents)


def read_datagrams(frame: Buffer) -> tuple[bytes, int, int | None, memoryview] | None:
    """Source id, ECN, segment size and contents of a RelayToClient frame: the receiver's fast path.

    None if the frame is of another type (or its type is written in a longer form): hand it to
    `decode_relay_to_client` then. The contents are a view of `frame`; the id is *not* checked to
    be a point, so look it up among known ones, or parse it. Raises `FrameError` if it is too
    short, `FrameTooLargeError` if it is too long.
    """
    kind = frame[0] if frame else None
    if kind == RELAY_TO_CLIENT_DATAGRAM_BATCH:
        _check_size(len(frame) - 1, _BATCH_HEAD)
        view = memoryview(frame)
        size = view[34] << 8 | view[35]
        return bytes(view[1:33]), view[33] & _ECN_MASK, size or None, view[36:]
    if kind == RELAY_TO_CLIENT_DATAGRAM:
        _check_size(len(frame) - 1, _HEAD)
        view = memoryview(frame)
        return bytes(view[1:33]), view[33] & _ECN_MASK, None, view[34:]
    return None


def _check_size(payload: int, head: int) -> None:
    if payload < head:
        raise FrameError(f"datagram frame too short: {payload} bytes after the type")
    if payload > MAX_PACKET_SIZE:
        raise FrameTooLargeError(f"frame is too large, has {payload} bytes")


def _join(frame_type: int, endpoint_id: bytes, tail: bytes, contents: Buffer) -> bytes:
    """Put a frame together; refuse what its receiver's next writer would refuse."""
    if not contents:
        raise FrameError("a datagram must not be empty")
    frame = b"".join((bytes((frame_type,)), endpoint_id, tail, contents))
    if len(frame) > MAX_PACKET_SIZE:
        raise FrameTooLargeError(f"frame is too large, has {len(frame)} bytes")
    return frame


def _encode(single: int, endpoint_id: PublicKey, datagrams: Datagrams) -> bytes:
    ecn, size = bytes((datagrams.ecn,)), datagrams.segment_size
    if size is None:
        return _join(single, endpoint_id.to_bytes(), ecn, datagrams.contents)
    return _join(single + 1, endpoint_id.to_bytes(), ecn + size.to_bytes(2), datagrams.contents)


def _decode(frame: Buffer, single: int) -> tuple[PublicKey, Datagrams]:
    """Read the two frames of one direction; the batch form is always `single + 1`."""
    frame_type, payload = split_frame(frame)
    if frame_type not in (single, single + 1):
        raise FrameError(f"{frame_name(frame_type)} where a datagram frame was expected")
    batch = frame_type != single
    _check_size(len(payload), _BATCH_HEAD if batch else _HEAD)
    endpoint_id = parse_id(payload[:ID_LEN])
    ecn = payload[ID_LEN] & _ECN_MASK
    if not batch:
        return endpoint_id, Datagrams(bytes(payload[_HEAD:]), ecn)
    size = int.from_bytes(payload[_HEAD:_BATCH_HEAD])
    return endpoint_id, Datagrams(bytes(payload[_BATCH_HEAD:]), ecn, size or None)
