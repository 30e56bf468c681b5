"""Packet protection: AEAD and header protection, for one packet or for a run of them at once.

    nonce    IV(12) xor ( path id, 4 bytes | packet number, 8 bytes )      path 0 = RFC 9001 5.3
             (draft-ietf-quic-multipath section 2.4)
    sample   16 bytes that start 4 bytes behind the packet number's first  RFC 9001 5.4.2
    mask     AES-ECB(hp, sample), or ChaCha20(hp, sample)                  RFC 9001 5.4.3, 5.4.4

A run is a batch of short-header packets of equal size (the last may be shorter). Its samples are
encrypted with one AES call and its masks applied column by column with big-integer xors, which
costs 0.1 us a packet where one at a time costs 2 (spec/perf.md).
"""

import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from iroh.quic.hkdf import expand_label, label_info
from iroh.quic.varint import Buffer

AES_128_GCM_SHA256 = 0x1301  # RFC 8446 appendix B.4
AES_256_GCM_SHA384 = 0x1302
CHACHA20_POLY1305_SHA256 = 0x1303
_SUITES = {
    AES_128_GCM_SHA256: ("sha256", 16),
    AES_256_GCM_SHA384: ("sha384", 32),
    CHACHA20_POLY1305_SHA256: ("sha256", 32),
}
_KEY_INFO = {length: label_info(b"quic key", length) + b"\x01" for length in (16, 32)}
_HP_INFO = {length: label_info(b"quic hp", length) + b"\x01" for length in (16, 32)}
_IV_LENGTH = 12
_IV_INFO = label_info(b"quic iv", _IV_LENGTH) + b"\x01"
"""Keys are derived in one step each, by one block of HKDF-Expand (RFC 9001 section 5.1)."""
INITIAL_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")  # RFC 9001 section 5.2
TAG_LENGTH = 16
SAMPLE_LENGTH = 16
RUN_PN_LENGTH = 4
"""Runs are sent with packet numbers of four bytes, so that all headers have one size."""
_ECB = modes.ECB()
LONG_BITS, SHORT_BITS = 0x0F, 0x1F  # of the first byte under header protection, RFC 9001 5.4.1
_SHORT_BITS = bytes(x & SHORT_BITS for x in range(256))


@lru_cache(maxsize=8)
def initial_secrets(dcid: bytes) -> tuple[bytes, bytes]:
    """Return the client's and the server's Initial secret (RFC 9001 section 5.2)."""
    secret = hmac.digest(INITIAL_SALT, dcid, "sha256")
    return (
        expand_label(secret, b"client in", 32, "sha256"),
        expand_label(secret, b"server in", 32, "sha256"),
    )


def next_secret(suite: int, secret: bytes) -> bytes:
    """Return the secret of the following key phase (RFC 9001 section 6.1)."""
    return expand_label(secret, b"quic ku", len(secret), _SUITES[suite][0])


@lru_cache(maxsize=8)
def initial_keys(dcid: bytes, of_client: bool) -> "LevelKeys":
    """Return what protects the Initials of one side.

    Remembered for a moment: a server needs them to see whether an attempt is authentic, and then
    for the connection.
    """
    return level_keys(AES_128_GCM_SHA256, initial_secrets(dcid)[0 if of_client else 1])


class HeaderKey:
    """Header protection of one direction; it survives key updates."""

    __slots__ = ("_ecb", "_key")

    def __init__(self, suite: int, secret: bytes) -> None:
        digest, length = _SUITES[suite]
        key = self._key = hmac.digest(secret, _HP_INFO[length], digest)[:length]
        self._ecb = None
        if suite != CHACHA20_POLY1305_SHA256:
            self._ecb = Cipher(algorithms.AES(key), _ECB).encryptor().update

    def masks(self, samples: bytes) -> bytes:
        """Return a mask of 16 bytes for each sample of 16 bytes; the first 5 bytes count."""
        if self._ecb is not None:
            return self._ecb(samples)
        return b"".join(
            Cipher(algorithms.ChaCha20(self._key, samples[at : at + 16]), None)
            .encryptor()
            .update(bytes(16))
            for at in range(0, len(samples), 16)
        )


_Aead = Callable[[Buffer, Buffer, Buffer | None], bytes]
"""(nonce, data, associated data) -> the result."""


class PacketKey:
    """The AEAD of one direction and key phase. Raises cryptography's InvalidTag on `open`."""

    __slots__ = ("decrypt", "encrypt", "iv")

    def __init__(self, suite: int, secret: bytes) -> None:
        digest, length = _SUITES[suite]
        key = hmac.digest(secret, _KEY_INFO[length], digest)[:length]
        aead = (ChaCha20Poly1305 if suite == CHACHA20_POLY1305_SHA256 else AESGCM)(key)
        self.encrypt: _Aead = aead.encrypt
        self.decrypt: _Aead = aead.decrypt
        self.iv: int = int.from_bytes(hmac.digest(secret, _IV_INFO, digest)[:_IV_LENGTH], "big")

    def nonce(self, path_id: int, pn: int) -> bytes:
        """Return the nonce of a packet."""
        return (self.iv ^ (path_id << 64 | pn)).to_bytes(12, "big")


LevelKeys = tuple[PacketKey, HeaderKey]
"""What protects one direction where keys are never updated: all but 1-RTT."""


def level_keys(suite: int, secret: bytes) -> LevelKeys:
    """Make them of a traffic secret."""
    return PacketKey(suite, secret), HeaderKey(suite, secret)


def seal_packet(
    key: PacketKey, hp: HeaderKey, header: bytes, pn: int, payload: bytes, path_id: int = 0
) -> bytes:
    """Protect one packet. `header` ends with the packet number, as long as its first byte says.

    The payload must be at least 4 bytes less the packet number's length (RFC 9001 5.4.2).
    """
    sealed = key.encrypt(key.nonce(path_id, pn), payload, header)
    length = (header[0] & 3) + 1
    mask = hp.masks(sealed[4 - length : 20 - length])
    first = header[0] ^ (mask[0] & (LONG_BITS if header[0] & 0x80 else SHORT_BITS))
    at = len(header) - length
    number = int.from_bytes(header[at:], "big") ^ int.from_bytes(mask[1 : 1 + length], "big")
    return b"%c%b%b%b" % (first, header[1:at], number.to_bytes(length, "big"), sealed)


def seal_one(
    key: PacketKey,
    hp: HeaderKey,
    first_byte: int,
    dcid: bytes,
    pn: int,
    length: int,
    payload: bytes,
    path_id: int = 0,
) -> bytes:
    """Protect a short-header packet that goes alone, with a packet number of `length` bytes.

    first_byte: fixed bit, spin bit and key phase. The payload is as in `seal_packet`.
    """
    first = first_byte | (length - 1)
    number = pn & ((1 << 8 * length) - 1)
    header = b"%c%b%b" % (first, dcid, number.to_bytes(length, "big"))
    nonce = (key.iv ^ (path_id << 64 | pn)).to_bytes(12, "big")
    sealed = key.encrypt(nonce, payload, header)
    mask = hp.masks(sealed[4 - length : 20 - length])
    number ^= int.from_bytes(mask[1 : 1 + length], "big")
    first ^= mask[0] & SHORT_BITS
    return b"%c%b%b%b" % (first, dcid, number.to_bytes(length, "big"), sealed)


def seal_run(
    key: PacketKey,
    hp: HeaderKey,
    first_byte: int,
    dcid: bytes,
    first_pn: int,
    payloads: Sequence[bytes],
    path_id: int = 0,
) -> bytes:
    """Protect short-header packets with consecutive numbers, one behind the other.

    first_byte: fixed bit, spin bit and key phase; the packet number's length is set here.
    """
    encrypt, nonce = key.encrypt, key.iv ^ (path_id << 64)
    start = bytes((first_byte | (RUN_PN_LENGTH - 1),)) + dcid
    size = len(start) + RUN_PN_LENGTH
    headers = bytearray()
    bodies = []
    pn = first_pn
    for payload in payloads:
        header = start + (pn & 0xFFFFFFFF).to_bytes(4, "big")
        headers += header
        bodies.append(encrypt((nonce ^ pn).to_bytes(12, "big"), payload, header))
        pn += 1
    masks = hp.masks(b"".join([body[:SAMPLE_LENGTH] for body in bodies]))
    headers[0::size] = _xor(headers[0::size], masks[0::16].translate(_SHORT_BITS))
    for column in range(1, 5):
        at = size - RUN_PN_LENGTH - 1 + column
        headers[at::size] = _xor(headers[at::size], masks[column::16])
    view = memoryview(headers)
    parts: list[bytes | memoryview] = []
    at = 0
    for body in bodies:
        parts.append(view[at : at + size])
        parts.append(body)
        at += size
    return b"".join(parts)


def unmask_run(
    hp: HeaderKey, data: bytes, segment: int, dcid_length: int
) -> list[tuple[int, bytes, int, int]]:
    """Remove header protection from a run of short-header packets.

    Gives (first byte, packet number bytes, start, end) of each packet. Packets too short to hold a
    sample are left out.
    """
    total = len(data)
    at = 1 + dcid_length
    sample_at = at + 4
    count = -(-total // segment)
    last = (count - 1) * segment
    if total - last < sample_at + SAMPLE_LENGTH:
        count -= 1
    if segment < sample_at + SAMPLE_LENGTH or not count:
        return []
    masks = hp.masks(
        b"".join(
            [
                data[i + sample_at : i + sample_at + SAMPLE_LENGTH]
                for i in range(0, count * segment, segment)
            ]
        )
    )
    firsts = _xor(data[0::segment][:count], masks[0::16].translate(_SHORT_BITS))
    columns = [_xor(data[at + i :: segment][:count], masks[1 + i :: 16]) for i in range(4)]
    numbers = bytearray(4 * count)
    for i in range(4):
        numbers[i::4] = columns[i]
    found = []
    for i in range(count):
        first = firsts[i]
        start = i * segment
        end = start + segment
        found.append(
            (
                first,
                bytes(numbers[4 * i : 4 * i + (first & 3) + 1]),
                start,
                end if end < total else total,
            )
        )
    return found


def unmask_long(hp: HeaderKey, data: bytes, start: int, pn_at: int) -> tuple[int, bytes] | None:
    """Remove header protection from a long header: its first byte and number bytes.

    None when the packet is too short to hold a sample.
    """
    sample = data[pn_at + 4 : pn_at + 4 + SAMPLE_LENGTH]
    if len(sample) < SAMPLE_LENGTH:
        return None
    mask = hp.masks(sample)
    first = data[start] ^ (mask[0] & LONG_BITS)
    length = (first & 3) + 1
    return first, _xor(data[pn_at : pn_at + length], mask[1 : 1 + length])


def _xor(a: bytes | bytearray, b: bytes) -> bytes:
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


__all__ = [
    "AES_128_GCM_SHA256",
    "AES_256_GCM_SHA384",
    "CHACHA20_POLY1305_SHA256",
    "HeaderKey",
    "InvalidTag",
    "PacketKey",
    "initial_keys",
    "initial_secrets",
    "next_secret",
    "seal_one",
    "seal_packet",
    "seal_run",
    "unmask_long",
    "unmask_run",
]
