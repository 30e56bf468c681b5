"""HKDF as TLS and QUIC use it (RFC 5869; RFC 8446 section 7.1), in one-shot calls of hashlib.

Expand-Label   | length 2 | n 1 | "tls13 " label | m 1 | context |  -->  `length` bytes
"""

import hmac
from functools import lru_cache


@lru_cache(maxsize=256)
def label_info(label: bytes, length: int, context_length: int = 0) -> bytes:
    """Give what HKDF-Expand-Label puts before the context."""
    full = b"tls13 " + label
    return length.to_bytes(2, "big") + bytes((len(full),)) + full + bytes((context_length,))


def expand_label(
    secret: bytes, label: bytes, length: int, digest: str, context: bytes = b""
) -> bytes:
    """HKDF-Expand-Label for at most one block of output, as all keys and secrets are."""
    info = label_info(label, length, len(context)) + context + b"\x01"
    return hmac.digest(secret, info, digest)[:length]


def expand_label_long(
    secret: bytes, label: bytes, length: int, digest: str, context: bytes
) -> bytes:
    """HKDF-Expand-Label for any length up to 255 blocks (RFC 5869 section 2.3)."""
    info = label_info(label, length, len(context)) + context
    out = block = b""
    counter = 1
    while len(out) < length:
        block = hmac.digest(secret, block + info + bytes((counter,)), digest)
        out += block
        counter += 1
    return out[:length]
