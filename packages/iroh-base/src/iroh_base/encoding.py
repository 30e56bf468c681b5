"""Text encodings of bytes: hex, base32 and z-base-32, as strict as Rust's `data-encoding`.

All of them are canonical: a decoder accepts exactly one text for every byte string (base32 also
the same text in upper or mixed case), refuses padding, and refuses trailing bits that are not 0.

    name      alphabet                           case                 used for
    hex       0-9a-f                             lower only           ids, custom addresses
    base32    a-z2-7 (RFC 4648 section 6)        any, printed lower   tickets, ids
    z-base-32 ybndrfg8ejkmcpqxot1uwisza345h769   lower only           names in pkarr and DNS
"""

import base64
import binascii
import re

__all__ = [
    "base32_decode",
    "base32_encode",
    "from_hex",
    "to_hex",
    "z32_decode",
    "z32_encode",
]

_RFC4648 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
# Zooko's human-oriented base-32 encoding; upstream: Z_BASE_32 in iroh-base key.rs
_ZBASE32 = b"ybndrfg8ejkmcpqxot1uwisza345h769"
_TO_Z = bytes.maketrans(_RFC4648, _ZBASE32)
_FROM_Z = bytes.maketrans(_ZBASE32, _RFC4648)
_NOT_HEX = re.compile(r"[^0-9a-f]")
_NOT_BASE32 = re.compile(r"[^a-zA-Z2-7]")
_NOT_ZBASE32 = re.compile(rf"[^{_ZBASE32.decode()}]")
# The lengths mod 8 that no number of whole bytes encodes to (RFC 4648 section 6).
_BAD_LENGTHS = frozenset((1, 3, 6))


def to_hex(data: bytes) -> str:
    """Lower-case hex of `data`."""
    return data.hex()


def from_hex(text: str) -> bytes:
    """The bytes of lower-case hex `text`; `ValueError` for anything else, also for upper case."""
    if len(text) % 2:
        raise ValueError(f"invalid length at {len(text) - 1}")
    if bad := _NOT_HEX.search(text):
        raise ValueError(f"invalid symbol at {bad.start()}")
    return bytes.fromhex(text)


def base32_encode(data: bytes) -> str:
    """RFC 4648 base32 of `data`, in lower case and without padding."""
    return base64.b32encode(data).rstrip(b"=").decode().lower()


def base32_decode(text: str) -> bytes:
    """The bytes of RFC 4648 base32 `text` in any case; `ValueError` for anything else."""
    if bad := _NOT_BASE32.search(text):
        raise ValueError(f"invalid symbol at {bad.start()}")
    return _decode_checked(text.upper().encode())


def z32_encode(data: bytes) -> str:
    """The z-base-32 text of `data`; 32 bytes make 52 characters."""
    return base64.b32encode(data).rstrip(b"=").translate(_TO_Z).decode()


def z32_decode(text: str) -> bytes:
    """The bytes of z-base-32 `text`, lower case only; `ValueError` for anything else."""
    if bad := _NOT_ZBASE32.search(text):
        raise ValueError(f"invalid symbol at {bad.start()}")
    return _decode_checked(text.encode().translate(_FROM_Z))


def _decode_checked(symbols: bytes) -> bytes:
    """Decode unpadded symbols of the RFC 4648 alphabet; refuse bad lengths and trailing bits."""
    count = len(symbols)
    if count % 8 in _BAD_LENGTHS:
        raise ValueError(f"invalid length at {count}")
    try:
        data = base64.b32decode(symbols + b"=" * (-count % 8))
    except binascii.Error as error:  # pragma: no cover - the symbols were checked before
        raise ValueError(str(error)) from error
    if base64.b32encode(data).rstrip(b"=") != symbols:
        raise ValueError(f"non-zero trailing bits at {count - 1}")
    return data
