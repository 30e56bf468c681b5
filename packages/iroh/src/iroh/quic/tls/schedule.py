"""The key schedule of TLS 1.3 and the transcript that it hangs on (RFC 8446 section 7.1).

                  ticket's secret, or zeroes
                            v
    zeroes ---------> HKDF-Extract = early secret      binder, 0-RTT
                            v "derived"
    (EC)DHE --------> HKDF-Extract = handshake secret  traffic secrets, Finished
                            v "derived"
    zeroes ---------> HKDF-Extract = master secret     traffic secrets, exporter, tickets

Up to the handshake secret's salt nothing depends on the connection when no ticket is redeemed.
"""

import hashlib
import hmac
from typing import Final

from iroh.quic.hkdf import expand_label
from iroh.quic.keys import AES_128_GCM_SHA256, AES_256_GCM_SHA384, CHACHA20_POLY1305_SHA256

SUITES: Final = (AES_256_GCM_SHA384, AES_128_GCM_SHA256, CHACHA20_POLY1305_SHA256)
"""In order of preference; the Rust peer offers the same."""
DIGESTS: Final = {
    AES_256_GCM_SHA384: "sha384",
    AES_128_GCM_SHA256: "sha256",
    CHACHA20_POLY1305_SHA256: "sha256",
}
_SIZES: Final = {"sha256": 32, "sha384": 48}
_EMPTY: Final = {digest: hashlib.new(digest).digest() for digest in _SIZES}


def _salt(early_secret: bytes, digest: str) -> bytes:
    return expand_label(early_secret, b"derived", _SIZES[digest], digest, _EMPTY[digest])


_SALTS: Final = {
    digest: _salt(hmac.digest(bytes(size), bytes(size), digest), digest)
    for digest, size in _SIZES.items()
}
"""What the handshake secret is extracted with, without a ticket."""


class Schedule:
    """The secrets of one handshake. psk: the secret of a ticket, None without one."""

    __slots__ = ("_hash", "_salt", "digest", "secret", "size", "suite")

    def __init__(self, suite: int, psk: bytes | None = None) -> None:
        self.suite: int = suite
        digest = DIGESTS[suite]
        self.digest: str = digest
        self.size: int = _SIZES[digest]
        self._hash = hashlib.new(digest)
        self.secret: bytes = b""
        """The latest of the three; empty at first without a ticket."""
        if psk is None:
            self._salt = _SALTS[digest]
        else:
            self.secret = hmac.digest(bytes(self.size), psk, digest)
            self._salt = _salt(self.secret, digest)

    def update(self, messages: bytes) -> None:
        """Add messages to the transcript."""
        self._hash.update(messages)

    def transcript(self) -> bytes:
        """Give the hash of all messages so far."""
        return self._hash.copy().digest()

    def end_transcript(self) -> bytes:
        """Give the same, and forget it: there are no messages to come."""
        last = self._hash.digest()
        del self._hash
        return last

    def derive(self, label: bytes, transcript: bytes) -> bytes:
        """Derive-Secret with the hash of the messages that it is to hang on."""
        return expand_label(self.secret, label, self.size, self.digest, transcript)

    def agree(self, shared: bytes) -> None:
        """Go on to the handshake secret, by what both ends agreed on."""
        self.secret = hmac.digest(self._salt, shared, self.digest)

    def conclude(self) -> None:
        """Go on to the master secret."""
        salt = self.derive(b"derived", _EMPTY[self.digest])
        self.secret = hmac.digest(salt, bytes(self.size), self.digest)

    def binder(self, transcript: bytes) -> bytes:
        """Give what proves that a ticket's secret is known (section 4.2.11.2)."""
        return self.finished(self.derive(b"res binder", _EMPTY[self.digest]), transcript)

    def finished(self, traffic_secret: bytes, transcript: bytes) -> bytes:
        """Give the verify_data of a Finished (section 4.4.4)."""
        key = expand_label(traffic_secret, b"finished", self.size, self.digest)
        return hmac.digest(key, transcript, self.digest)
