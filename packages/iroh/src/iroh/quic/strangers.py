"""Packets that belong to no connection: reading first ones, and answering them.

    came                            answer
    an Initial                      Retry, or an Initial with CONNECTION_CLOSE
    a version that we do not speak  version negotiation
    a short header                  stateless reset (RFC 9000 section 10.3):
                                    | 0 1 unpredictable, 5 bytes or more | token 16 |

Headers are drawn in packet.py.
"""

from dataclasses import dataclass

from iroh.quic import packet as pk
from iroh.quic.api import Rng
from iroh.quic.errors import PeerError
from iroh.quic.frames import ConnectionClose
from iroh.quic.keys import initial_keys, seal_packet
from iroh.quic.opening import open_long

MIN_FIRST_DESTINATION = 8  # RFC 9000 section 7.2
RESET_TOKEN = 16  # RFC 9000 section 10.3
MIN_RESET_PADDING = 5  # RFC 9000 section 10.3: the smallest one has 21 bytes
IDEAL_RESET_PADDING = MIN_RESET_PADDING + pk.MAX_CID  # noq stateless_reset: cannot be told apart
MAX_RESET_PADDING = 128
_PN_LENGTH = 4


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """The Initial that begins a connection. destination: the id that its keys follow from."""

    header: pk.LongHeader
    destination: bytes
    source: bytes
    token: bytes


def parse_first(data: bytes) -> FirstPacket | None:
    """Read the Initial at the start of a datagram; None when it is none, or malformed.

    Raises packet.UnknownVersion.
    """
    try:
        header = pk.parse_long(data)
    except pk.UnknownVersion:
        raise
    except pk.PacketError:
        return None
    if header.kind != pk.INITIAL or len(header.dcid) < MIN_FIRST_DESTINATION:
        return None
    return FirstPacket(header, header.dcid, header.scid, header.token)


def is_authentic(data: bytes, first: FirstPacket) -> bool:
    """Whether the Initial opens with the keys that follow from its destination id."""
    try:
        return open_long(*initial_keys(first.destination, True), data, first.header, -1) is not None
    except PeerError:
        return False


def retry(first: FirstPacket, source: bytes, token: bytes) -> bytes:
    """Ask for the Initial again, with `token`, to the connection id `source`."""
    return pk.retry_packet(first.destination, first.source, source, token)


def refusal(first: FirstPacket, source: bytes, code: int) -> bytes:
    """Answer an Initial with CONNECTION_CLOSE."""
    frame = ConnectionClose(code, b"", 0).encode()
    header = pk.long_header(pk.INITIAL, first.source, source, 0, _PN_LENGTH, len(frame))
    return seal_packet(*initial_keys(first.destination, False), header, 0, frame)


def version_negotiation(unknown: pk.UnknownVersion, rng: Rng) -> bytes:
    """Answer a packet of a version that we do not speak."""
    return pk.version_negotiation(unknown.scid, unknown.dcid, rng(1)[0])


def stateless_reset(received: int, token: bytes, rng: Rng) -> bytes | None:
    """Make a reset that is smaller than the `received` bytes that caused it, None if it cannot."""
    most = received - RESET_TOKEN - 1
    if most < MIN_RESET_PADDING:
        return None
    span = min(most, MAX_RESET_PADDING)
    if span > IDEAL_RESET_PADDING:
        span = IDEAL_RESET_PADDING + rng(1)[0] % (span - IDEAL_RESET_PADDING)
    padding = bytearray(rng(span))
    padding[0] = pk.FIXED_BIT | (padding[0] & 0x3F)
    return bytes(padding) + token
