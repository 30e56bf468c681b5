"""Retry tokens (RFC 9000 section 8.1.2): what proves that a client receives at its address.

    token      | nonce 12 | sealed |
    sealed     | AES-128-GCM of: issued, ms 8 | n | original destination id | retry source id 8 |
    bound to   the address, as associated data

The address is opaque to the engine, so it is bound by its `repr`: equal addresses must print the
same, different ones differently.
"""

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iroh.quic.api import Rng
from iroh.quic.datagrams import Address

LIFETIME = 15.0
"""Seconds a token is good for (noq ServerConfig::retry_token_lifetime)."""

_NONCE = 12
_KEY = 16
_TIME = 8


class TokenExpired(Exception):
    """The token is ours, for this address and packet, but too old."""


@dataclass(frozen=True, slots=True)
class RetryToken:
    """What a valid token says: the first Initial's destination id and the Retry's source id."""

    original_destination: bytes
    retry_source: bytes


class RetryTokens:
    """Makes and checks the Retry tokens of one endpoint; they do not survive it."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._aead = AESGCM(rng(_KEY))

    def make(self, token: RetryToken, remote: Address, now: float) -> bytes:
        """Seal a token."""
        nonce = self._rng(_NONCE)
        plain = b"".join(
            (
                int(now * 1000).to_bytes(_TIME, "big", signed=True),
                bytes([len(token.original_destination)]),
                token.original_destination,
                token.retry_source,
            )
        )
        return nonce + self._aead.encrypt(nonce, plain, _bind(remote))

    def open(
        self, sealed: bytes, remote: Address, destination: bytes, now: float
    ) -> RetryToken | None:
        """Check the token of an Initial that was sent to `destination` from `remote`.

        None for one that is not ours, or for another address or connection: copies of an Initial
        from other addresses are usual. Raises TokenExpired.
        """
        if len(sealed) <= _NONCE:
            return None
        try:
            plain = self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bind(remote))
        except InvalidTag:
            return None
        issued = int.from_bytes(plain[:_TIME], "big", signed=True) / 1000
        end = _TIME + 1 + plain[_TIME]
        token = RetryToken(plain[_TIME + 1 : end], plain[end:])
        if token.retry_source != destination:
            return None
        if now - issued > LIFETIME:
            raise TokenExpired
        return token


def _bind(remote: Address) -> bytes:
    return repr(remote).encode("utf-8", "surrogatepass")
