"""Packet headers (RFC 9000 section 17).

    long    1 L T T R R P P | version 4 | len 1 | dcid 0..20 | len 1 | scid 0..20 | ...
            Initial    ... token length (varint) | token | length (varint) | pn 1..4 | payload
            0-RTT,
            Handshake  ... length (varint) | pn 1..4 | payload
            Retry      ... token | integrity tag 16
    version negotiation: a long header of version 0, then the versions the server speaks, 4 each
    short   0 1 S R R K P P | dcid | pn 1..4 | payload

L: fixed bit (1). T: type. P: length of the packet number less one. S: spin. K: key phase. R and P
are under header protection (`keys.py`).
"""

import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iroh.quic import varint
from iroh.quic.errors import PeerError

VERSION_1 = 0x00000001
INITIAL, ZERO_RTT, HANDSHAKE, RETRY = 0, 1, 2, 3  # RFC 9000 section 17.2
VERSION_NEGOTIATION = 4
"""Not a type on the wire: what `parse_long` calls a packet of version 0."""
FIXED_BIT, LONG, SPIN, KEY_PHASE = 0x40, 0x80, 0x20, 0x04
MAX_CID = 20
MIN_INITIAL = 1200  # RFC 9000 section 14.1
TAG = 16
# RFC 9001 section 5.8
_RETRY_KEY = bytes.fromhex("be0c690b9f66575a1d766b54e368c84e")
_RETRY_NONCE = bytes.fromhex("461599d35d632bf2239825bb")


class PacketError(ValueError):
    """A datagram or part of one that is no packet of ours: drop it."""


class LongHeader:
    """A long header in clear.

    start: where the packet starts. pn_at: where its protected packet number starts, or for Retry
    and version negotiation where the rest starts. end: where the packet ends in the datagram.
    """

    __slots__ = ("dcid", "end", "kind", "pn_at", "scid", "start", "token", "version")

    def __init__(self, kind: int, version: int, dcid: bytes, scid: bytes, start: int) -> None:
        self.kind: int = kind
        self.version: int = version
        self.dcid: bytes = dcid
        self.scid: bytes = scid
        self.token: bytes = b""
        self.start: int = start
        self.pn_at: int = 0
        self.end: int = 0


def parse_long(data: bytes, at: int = 0) -> LongHeader:
    """Parse a long header. Raises PacketError, also for a version that is not ours.

    A header of an unknown version raises UnknownVersion, which carries the ids.
    """
    start = at
    if len(data) - at < 7:
        raise PacketError("too short for a long header")
    first = data[at]
    version = int.from_bytes(data[at + 1 : at + 5], "big")
    dcid, at = _cid(data, at + 5)
    scid, at = _cid(data, at)
    if version == 0:
        header = LongHeader(VERSION_NEGOTIATION, 0, dcid, scid, start)
        header.pn_at, header.end = at, len(data)
        return header
    if version != VERSION_1:
        raise UnknownVersion(version, dcid, scid)
    if not first & FIXED_BIT:
        raise PacketError("the fixed bit is 0")
    if len(dcid) > MAX_CID or len(scid) > MAX_CID:
        raise PacketError("a connection id of more than 20 bytes")
    header = LongHeader(first >> 4 & 3, version, dcid, scid, start)
    if header.kind == RETRY:
        if len(data) - at <= TAG:
            raise PacketError("a Retry without a token")
        header.token, header.pn_at, header.end = data[at:-TAG], at, len(data)
        return header
    try:
        if header.kind == INITIAL:
            length, at = varint.decode(data, at)
            header.token = data[at : at + length]
            at += length
        length, at = varint.decode(data, at)
    except PeerError as error:
        raise PacketError(error.reason) from None
    header.pn_at, header.end = at, at + length
    if header.end > len(data):
        raise PacketError("the packet is cut short")
    return header


class UnknownVersion(PacketError):
    """A long header of a version that we do not speak; ids of up to 255 bytes (RFC 8999)."""

    def __init__(self, version: int, dcid: bytes, scid: bytes) -> None:
        super().__init__(f"unknown version {version:#x}")
        self.version = version
        self.dcid = dcid
        self.scid = scid


def _cid(data: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(data):
        raise PacketError("the header is cut short")
    length = data[at]
    stop = at + 1 + length
    if stop > len(data):
        raise PacketError("the connection id is cut short")
    return data[at + 1 : stop], stop


def long_header(
    kind: int, dcid: bytes, scid: bytes, pn: int, pn_length: int, payload: int, token: bytes = b""
) -> bytes:
    """Build a long header that ends with the packet number.

    payload: bytes of the payload before encryption. The length field always has two bytes, so that
    the size of a header does not depend on it.
    """
    first = LONG | FIXED_BIT | kind << 4 | (pn_length - 1)
    length = pn_length + payload + TAG
    return b"".join(
        (
            bytes((first,)) + VERSION_1.to_bytes(4, "big"),
            bytes((len(dcid),)) + dcid,
            bytes((len(scid),)) + scid,
            varint.encode(len(token)) + token if kind == INITIAL else b"",
            (length | 0x4000).to_bytes(2, "big"),
            (pn & ((1 << 8 * pn_length) - 1)).to_bytes(pn_length, "big"),
        )
    )


def long_overhead(kind: int, dcid: bytes, scid: bytes, token: bytes = b"") -> int:
    """How many bytes header and tag take around the payload, with a 4-byte packet number."""
    size = 1 + 4 + 1 + len(dcid) + 1 + len(scid) + 2 + 4 + TAG
    return size + varint.size(len(token)) + len(token) if kind == INITIAL else size


def short_header(first: int, dcid: bytes, pn: int, pn_length: int) -> bytes:
    """Build a short header that ends with the packet number. first: spin bit and key phase."""
    head = bytes((FIXED_BIT | first | (pn_length - 1),)) + dcid
    return head + (pn & ((1 << 8 * pn_length) - 1)).to_bytes(pn_length, "big")


def pn_length(pn: int, largest_acked: int) -> int:
    """How many bytes a packet number needs to be understood (RFC 9000 appendix A.2).

    largest_acked: -1 when nothing was acknowledged yet.
    """
    unacked = pn - largest_acked
    return max(1, (2 * unacked).bit_length() + 7 >> 3) if unacked < 1 << 31 else 4


def expand_pn(truncated: int, length: int, largest: int) -> int:
    """Recover a packet number (RFC 9000 appendix A.3). largest: received so far, -1 for none."""
    expected = largest + 1
    window = 1 << 8 * length
    half = window >> 1
    candidate = (expected & -window) | truncated
    if candidate <= expected - half and candidate < (1 << 62) - window:
        return candidate + window
    if candidate > expected + half and candidate >= window:
        return candidate - window
    return candidate


def retry_tag(original_dcid: bytes, retry_without_tag: bytes) -> bytes:
    """Compute a Retry packet's integrity tag (RFC 9001 section 5.8)."""
    pseudo = bytes((len(original_dcid),)) + original_dcid + retry_without_tag
    return AESGCM(_RETRY_KEY).encrypt(_RETRY_NONCE, b"", pseudo)


def retry_packet(original_dcid: bytes, dcid: bytes, scid: bytes, token: bytes) -> bytes:
    """Build a Retry packet. original_dcid: that of the Initial it answers."""
    packet = b"".join(
        (
            bytes((LONG | FIXED_BIT | RETRY << 4,)) + VERSION_1.to_bytes(4, "big"),
            bytes((len(dcid),)) + dcid,
            bytes((len(scid),)) + scid,
            token,
        )
    )
    return packet + retry_tag(original_dcid, packet)


def is_retry_authentic(original_dcid: bytes, packet: bytes) -> bool:
    """Whether a Retry packet answers an Initial that was sent to this id."""
    return hmac.compare_digest(retry_tag(original_dcid, packet[:-TAG]), packet[-TAG:])


def version_negotiation(dcid: bytes, scid: bytes, first: int) -> bytes:
    """Build the answer to an unknown version (RFC 8999 section 6). first: any byte."""
    return b"".join(
        (
            bytes((LONG | FIXED_BIT | first & 0x3F,)) + bytes(4),
            bytes((len(dcid),)) + dcid,
            bytes((len(scid),)) + scid,
            VERSION_1.to_bytes(4, "big"),
        )
    )


def offered_versions(data: bytes, at: int) -> list[int]:
    """Read the versions of a version negotiation packet. Raises PacketError."""
    if at >= len(data) or (len(data) - at) % 4:
        raise PacketError("a malformed list of versions")
    return [int.from_bytes(data[i : i + 4], "big") for i in range(at, len(data), 4)]
