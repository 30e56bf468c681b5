"""Frames: one module per type or family, and the table that decodes a packet's payload."""

from iroh.quic import varint
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames.ack import Ack
from iroh.quic.frames.ack_frequency import AckFrequency
from iroh.quic.frames.base import HANDSHAKE, INITIAL, ONE_RTT, ZERO_RTT, Frame, malformed
from iroh.quic.frames.cid import NewConnectionId, RetireConnectionId
from iroh.quic.frames.close import ConnectionClose, is_allowed_close
from iroh.quic.frames.crypto import Crypto
from iroh.quic.frames.datagram import Datagram
from iroh.quic.frames.flow import (
    DataBlocked,
    MaxData,
    MaxStreamData,
    MaxStreams,
    StreamDataBlocked,
    StreamsBlocked,
)
from iroh.quic.frames.misc import HandshakeDone, ImmediateAck, NewToken, Padding, Ping
from iroh.quic.frames.multipath import (
    MaxPathId,
    PathAbandon,
    PathCidsBlocked,
    PathsBlocked,
    PathStatus,
)
from iroh.quic.frames.nat import AddAddress, ReachOut, RemoveAddress
from iroh.quic.frames.observed import ObservedAddress
from iroh.quic.frames.path import PathChallenge, PathResponse
from iroh.quic.frames.stream import ResetStream, StopSending, Stream
from iroh.quic.varint import Buffer

FRAMES: tuple[type[Frame], ...] = (
    *(Padding, Ping, Ack, ResetStream, StopSending, Crypto, NewToken, Stream),
    *(MaxData, MaxStreamData, MaxStreams, DataBlocked, StreamDataBlocked, StreamsBlocked),
    *(NewConnectionId, RetireConnectionId, PathChallenge, PathResponse, ConnectionClose),
    *(HandshakeDone, ImmediateAck, AckFrequency, Datagram),
    *(PathAbandon, PathStatus, MaxPathId, PathsBlocked, PathCidsBlocked),
    *(AddAddress, ReachOut, RemoveAddress, ObservedAddress),
)
DECODERS = {kind: frame for frame in FRAMES for kind in frame.TYPES}
_PATH_ACK_TYPES = (0x3E, 0x3F)
_OF_SPACE = {
    space: {
        kind: frame.decode
        for kind, frame in DECODERS.items()
        if space in frame.SPACES and (space == ONE_RTT or kind not in _PATH_ACK_TYPES)
    }
    for space in (INITIAL, HANDSHAKE, ZERO_RTT, ONE_RTT)
}


def decode_payload(payload: Buffer, space: int, at: int = 0) -> list[Frame]:
    """Decode every frame of a packet's payload, from an offset on. Raises PeerError.

    space: INITIAL, HANDSHAKE, ZERO_RTT or ONE_RTT; a frame that does not belong there is a
    PROTOCOL_VIOLATION (RFC 9000 section 12.4), and so is an empty payload.
    """
    end = len(payload)
    if not end:
        raise PeerError(PROTOCOL_VIOLATION, "a packet without frames")
    decoders = _OF_SPACE[space]
    frames: list[Frame] = []
    while at < end:
        kind = payload[at]
        if kind < 0x40:
            at += 1
        else:
            start = at
            kind, at = varint.decode(payload, at)
            if varint.size(kind) != at - start:  # RFC 9000 section 12.4
                raise PeerError(PROTOCOL_VIOLATION, "a frame type of more bytes than needed", kind)
        decode = decoders.get(kind)
        if decode is None:
            if kind not in DECODERS:
                raise malformed("unknown frame type", kind)
            raise PeerError(PROTOCOL_VIOLATION, "a frame in the wrong kind of packet", kind)
        frame, at = decode(kind, payload, at, end)
        if type(frame) is ConnectionClose and not is_allowed_close(frame, space):
            raise PeerError(PROTOCOL_VIOLATION, "a frame in the wrong kind of packet", kind)
        frames.append(frame)
    return frames


__all__ = [
    "DECODERS",
    "FRAMES",
    "HANDSHAKE",
    "INITIAL",
    "ONE_RTT",
    "ZERO_RTT",
    "Ack",
    "AckFrequency",
    "AddAddress",
    "ConnectionClose",
    "Crypto",
    "DataBlocked",
    "Datagram",
    "Frame",
    "HandshakeDone",
    "ImmediateAck",
    "MaxData",
    "MaxPathId",
    "MaxStreamData",
    "MaxStreams",
    "NewConnectionId",
    "NewToken",
    "ObservedAddress",
    "Padding",
    "PathAbandon",
    "PathChallenge",
    "PathCidsBlocked",
    "PathResponse",
    "PathStatus",
    "PathsBlocked",
    "Ping",
    "ReachOut",
    "RemoveAddress",
    "ResetStream",
    "RetireConnectionId",
    "StopSending",
    "Stream",
    "StreamDataBlocked",
    "StreamsBlocked",
    "decode_payload",
]
