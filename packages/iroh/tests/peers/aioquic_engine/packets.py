"""Packets that belong to no connection: reading first ones, and answering them.

long header (RFC 9000 section 17.2)
| 1 1 t t .... | version 4 | n | dcid n | m | scid m | Initial: token <varint> | length | ...
short header (section 17.3)
| 0 1 ........ | dcid 8 | packet number, payload, tag
version negotiation (section 17.2.1)
| 1 ....... | 00000000 | n | their scid | m | their dcid | versions, 4 each
stateless reset (section 10.3)
| 0 1 unpredictable, 5 bytes or more | token 16 |
"""

from dataclasses import dataclass

from aioquic._buffer import Buffer
from aioquic._crypto import CryptoError
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicFrameType,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder

from iroh.quic.api import Rng

LONG_HEADER = 0x80  # RFC 8999 section 5.1
FIXED_BIT = 0x40  # RFC 9000 section 17.2
VERSION = QuicProtocolVersion.VERSION_1
MIN_INITIAL_DATAGRAM = 1200  # RFC 9000 section 14.1
MIN_FIRST_DESTINATION = 8  # RFC 9000 section 7.2
MAX_CID = 20  # RFC 9000 section 17.2
RESET_TOKEN = 16  # RFC 9000 section 10.3
MIN_RESET_PADDING = 5  # RFC 9000 section 10.3: the smallest one has 21 bytes
IDEAL_RESET_PADDING = MIN_RESET_PADDING + MAX_CID  # noq stateless_reset: cannot be told apart
MAX_RESET_PADDING = 128

_RESERVED_VERSION = 0x0A1A2A3A
"""Offered along with the real version, to exercise the peer's list (RFC 9000 section 15)."""


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """The header of an Initial for a connection that does not exist yet.

    start: where the protected part begins; length: the bytes of the packet in its datagram.
    """

    destination: bytes
    source: bytes
    token: bytes
    start: int
    length: int


def destination_of(data: bytes) -> bytes | None:
    """Give the destination id of a long header of any version, None when it is cut off."""
    if len(data) < 6:
        return None
    end = 6 + data[5]
    return data[6:end] if end <= len(data) else None


def source_of(data: bytes) -> bytes | None:
    """Give the source id of a long header of any version, None when it is cut off."""
    start = 6 + data[5] + 1
    if start > len(data):
        return None
    end = start + data[start - 1]
    return data[start:end] if end <= len(data) else None


def parse_first(data: bytes) -> FirstPacket | None:
    """Read the Initial at the start of a datagram; None when it is none, or malformed."""
    if not data or not data[0] & LONG_HEADER:
        return None
    buf = Buffer(data=data)
    try:
        header = pull_quic_header(buf)
    except ValueError:
        return None
    if header.packet_type != QuicPacketType.INITIAL or header.version != VERSION:
        return None
    if not MIN_FIRST_DESTINATION <= len(header.destination_cid) <= MAX_CID:
        return None
    return FirstPacket(
        header.destination_cid, header.source_cid, header.token, buf.tell(), header.packet_length
    )


def is_authentic(data: bytes, first: FirstPacket) -> bool:
    """Whether the Initial opens with the keys that follow from its destination id."""
    try:
        _initial_keys(first.destination).decrypt_packet(data[: first.length], first.start, 0)
    except CryptoError:
        return False
    return True


def retry(first: FirstPacket, source: bytes, token: bytes) -> bytes:
    """Ask for the Initial again, with `token`, to the connection id `source`."""
    return encode_quic_retry(
        version=VERSION,
        source_cid=source,
        destination_cid=first.source,
        original_destination_cid=first.destination,
        retry_token=token,
    )


def refusal(first: FirstPacket, source: bytes, code: int) -> bytes:
    """Answer an Initial with CONNECTION_CLOSE."""
    builder = QuicPacketBuilder(
        host_cid=source,
        peer_cid=first.source,
        version=VERSION,
        is_client=False,
        max_datagram_size=MIN_INITIAL_DATAGRAM,
    )
    builder.start_packet(QuicPacketType.INITIAL, _initial_keys(first.destination))
    buf = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=24)
    buf.push_uint_var(code)
    buf.push_uint_var(0)
    buf.push_uint_var(0)
    datagrams, _ = builder.flush()
    return datagrams[0]


def version_negotiation(data: bytes, rng: Rng) -> bytes | None:
    """Answer a packet of a version that we do not speak; None when it is malformed."""
    destination, source = destination_of(data), source_of(data)
    if destination is None or source is None:
        return None
    parts = [
        bytes([rng(1)[0] | LONG_HEADER | FIXED_BIT]),
        bytes(4),
        bytes([len(source)]),
        source,
        bytes([len(destination)]),
        destination,
        int(VERSION).to_bytes(4, "big"),
        _RESERVED_VERSION.to_bytes(4, "big"),
    ]
    return b"".join(parts)


def stateless_reset(received: int, token: bytes, rng: Rng) -> bytes | None:
    """Make a reset that is smaller than the `received` bytes that caused it, None if it cannot."""
    most = received - RESET_TOKEN - 1
    if most < MIN_RESET_PADDING:
        return None
    span = min(most, MAX_RESET_PADDING)
    if span > IDEAL_RESET_PADDING:
        span = IDEAL_RESET_PADDING + rng(1)[0] % (span - IDEAL_RESET_PADDING)
    padding = bytearray(rng(span))
    padding[0] = FIXED_BIT | (padding[0] & 0x3F)
    return bytes(padding) + token


def _initial_keys(destination: bytes) -> CryptoPair:
    keys = CryptoPair()
    keys.setup_initial(cid=destination, is_client=False, version=VERSION)
    return keys
