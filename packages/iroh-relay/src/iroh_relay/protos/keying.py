"""The shortcut of the handshake: a header signed with secrets of the TLS session itself.

Both ends of one TLS session can derive the same bytes from it (RFC 5705, RFC 8446 section 7.5).
The client signs half of them and puts the proof into its upgrade request, so that no challenge
is needed. Behind a proxy that ends TLS the bytes differ; then the relay asks as usual.

    km = exporter(label = "iroh-relay handshake v1", context = public key, length = 32)

    x-iroh-relay-client-auth-v1: base64url without padding of
    0                 32   33              97             113
    +-----------------+----+---------------+--------------+
    | public key (32) | 40 | signature     | km[16:32]    |
    +-----------------+----+---------------+--------------+
                             of km[0:16], not hashed

Using it is optional on both sides: a client need not send it, a relay may ignore it.

Source: iroh-relay `protos/handshake.rs` (`KeyMaterialClientAuth`).
"""

import base64
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from iroh_base.keys import PublicKey, SecretKey

from .auth import read_key_and_signature, verifies, write_key_and_signature
from .errors import ClientAuthHeaderError, FrameError

__all__ = ["EXPORT_LABEL", "EXPORT_LEN", "Exporter", "KeyMaterialClientAuth"]

EXPORT_LABEL: Final = b"iroh-relay handshake v1"
"""Label of the TLS exporter (`DOMAIN_SEP_TLS_EXPORT_LABEL`)."""
EXPORT_LEN: Final = 32
"""Bytes to export."""
_HALF: Final = 16

Exporter = Callable[[bytes, bytes, int], bytes | None]
"""`exporter(label, context, length)`: bytes of this TLS session, or None if there are none."""


@dataclass(frozen=True, slots=True)
class KeyMaterialClientAuth:
    """The contents of the header."""

    public_key: PublicKey
    signature: bytes
    suffix: bytes

    @classmethod
    def create(cls, secret_key: SecretKey, exporter: Exporter) -> "KeyMaterialClientAuth | None":
        """Sign this session's material; None if the session gives none."""
        public_key = secret_key.public()
        material = exporter(EXPORT_LABEL, public_key.to_bytes(), EXPORT_LEN)
        if material is None:
            return None
        signature = secret_key.sign(material[:_HALF])
        return cls(public_key, signature.to_bytes(), material[_HALF:])

    def verify(self, exporter: Exporter) -> bool:
        """Whether it was made in this very session by the owner of `public_key`."""
        material = exporter(EXPORT_LABEL, self.public_key.to_bytes(), EXPORT_LEN)
        if material is None or not hmac.compare_digest(material[_HALF:], self.suffix):
            return False
        return verifies(self.public_key, material[:_HALF], self.signature)

    def to_header(self) -> str:
        """The header value, 151 characters."""
        raw = write_key_and_signature(self.public_key, self.signature) + self.suffix
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def from_header(cls, value: str) -> "KeyMaterialClientAuth":
        """Read a header value. Raises `ClientAuthHeaderError`; Rust relays drop the client then."""
        raw = _decode_base64url(value)
        try:
            public_key, signature, end = read_key_and_signature(raw)
        except FrameError as error:
            raise ClientAuthHeaderError(f"client auth header: {error}") from error
        suffix = raw[end : end + _HALF]
        if len(suffix) != _HALF:
            raise ClientAuthHeaderError("client auth header ends inside the key material")
        return cls(public_key, signature, suffix)


def _decode_base64url(value: str) -> bytes:
    """Strict base64url: no padding, no other characters, no left-over bits."""
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ClientAuthHeaderError("client auth header is not base64url") from error
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != value:
        raise ClientAuthHeaderError("client auth header is not canonical base64url")
    return raw
