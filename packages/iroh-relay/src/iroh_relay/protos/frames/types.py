"""Frame types and limits, and the varint in front of every frame.

    +----------------+-----------------------+
    | type (varint)  | payload               |      one binary WebSocket message
    +----------------+-----------------------+

The type is a QUIC varint (RFC 9000 section 16): the top two bits of its first byte say how many
bytes it has (1, 2, 4 or 8), the rest is a big-endian number. All types are below 64, so a sender
writes one byte; a longer form of the same number is legal and accepted.

Source: iroh-relay `protos/common.rs` (`FrameType`), `protos/relay.rs` (limits).
"""

from typing import Final

from iroh_base.errors import KeyParsingError
from iroh_base.keys import PublicKey

from ..errors import FrameError, FrameTooLargeError, UnknownFrameError

__all__ = [
    "CLIENT_AUTH",
    "CLIENT_TO_RELAY_DATAGRAM",
    "CLIENT_TO_RELAY_DATAGRAM_BATCH",
    "ENDPOINT_GONE",
    "FRAME_NAMES",
    "HEALTH",
    "ID_LEN",
    "MAX_FRAME_SIZE",
    "MAX_PACKET_SIZE",
    "PING",
    "PONG",
    "RELAY_TO_CLIENT_DATAGRAM",
    "RELAY_TO_CLIENT_DATAGRAM_BATCH",
    "RESTARTING",
    "SERVER_CHALLENGE",
    "SERVER_CONFIRMS_AUTH",
    "SERVER_DENIES_AUTH",
    "STATUS",
    "Buffer",
    "frame_name",
    "minimal",
    "parse_id",
    "split_frame",
]

Buffer = bytes | bytearray | memoryview
"""What a decoder takes; what it keeps of it, it copies."""

SERVER_CHALLENGE: Final = 0
CLIENT_AUTH: Final = 1
SERVER_CONFIRMS_AUTH: Final = 2
SERVER_DENIES_AUTH: Final = 3
CLIENT_TO_RELAY_DATAGRAM: Final = 4
CLIENT_TO_RELAY_DATAGRAM_BATCH: Final = 5
RELAY_TO_CLIENT_DATAGRAM: Final = 6
RELAY_TO_CLIENT_DATAGRAM_BATCH: Final = 7
ENDPOINT_GONE: Final = 8
PING: Final = 9
PONG: Final = 10
HEALTH: Final = 11
RESTARTING: Final = 12
STATUS: Final = 13

FRAME_NAMES: Final = {
    SERVER_CHALLENGE: "ServerChallenge",
    CLIENT_AUTH: "ClientAuth",
    SERVER_CONFIRMS_AUTH: "ServerConfirmsAuth",
    SERVER_DENIES_AUTH: "ServerDeniesAuth",
    CLIENT_TO_RELAY_DATAGRAM: "ClientToRelayDatagram",
    CLIENT_TO_RELAY_DATAGRAM_BATCH: "ClientToRelayDatagramBatch",
    RELAY_TO_CLIENT_DATAGRAM: "RelayToClientDatagram",
    RELAY_TO_CLIENT_DATAGRAM_BATCH: "RelayToClientDatagramBatch",
    ENDPOINT_GONE: "EndpointGone",
    PING: "Ping",
    PONG: "Pong",
    HEALTH: "Health",
    RESTARTING: "Restarting",
    STATUS: "Status",
}
"""The name of every known type, as Rust writes it."""

ID_LEN: Final = 32
"""Bytes of an endpoint id (an Ed25519 public key)."""
MAX_PACKET_SIZE: Final = 64 * 1024
"""Bytes (`MAX_PACKET_SIZE`). A receiver allows this many *after* the type, a sender must not
exceed it *including* the type: a frame between the two would be refused by its next sender."""
MAX_FRAME_SIZE: Final = 1024 * 1024
"""Largest WebSocket message in bytes (`MAX_FRAME_SIZE`)."""


def frame_name(frame_type: int) -> str:
    """The name of a type for a message to people."""
    return FRAME_NAMES.get(frame_type, f"frame type {frame_type}")


def split_frame(frame: Buffer) -> tuple[int, memoryview]:
    """Cut a frame into its type and its payload.

    Raises `FrameError` if it is empty or ends inside the type, `UnknownFrameError` for a type
    that nobody knows, `FrameTooLargeError` if the payload is longer than `MAX_PACKET_SIZE`.
    """
    view = memoryview(frame)
    if not view:
        raise FrameError("empty message: not enough bytes to parse frame type")
    size = 1 << (view[0] >> 6)
    if len(view) < size:
        raise FrameError("not enough bytes to parse frame type")
    frame_type = int.from_bytes(view[:size]) & ((1 << (8 * size - 2)) - 1)
    if frame_type not in FRAME_NAMES:
        raise UnknownFrameError(f"frame type {frame_type} is unknown")
    payload = view[size:]
    if len(payload) > MAX_PACKET_SIZE:
        raise FrameTooLargeError(f"frame is too large, has {len(payload)} bytes")
    return frame_type, payload


def minimal(frame: Buffer) -> bytes:
    """The same frame with its type in one byte. Raises as `split_frame` does."""
    frame_type, payload = split_frame(frame)
    return b"".join((bytes((frame_type,)), payload))


def parse_id(raw: Buffer) -> PublicKey:
    """The endpoint id in 32 bytes; raises `FrameError` if they are no point of the curve."""
    try:
        return PublicKey.from_bytes(bytes(raw))
    except KeyParsingError as error:
        raise FrameError(f"invalid public key: {error}") from error
