"""Retry tokens (RFC 9000 section 8.1.2): what proves that a client receives at its address.

    token      | nonce 12 | sealed |
    sealed     | AES-128-GCM of:
               | address 16 | issued, ms 8 | n | original destination id n | retry source id 8 |

The address is opaque to the engine, so it is bound by a hash of its `repr`: equal addresses must
print the same, different ones differently.
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iroh.quic.api import Rng
from iroh.quic.datagrams import Address

LIFETIME = 15.0
"""Seconds a token is good for (noq ServerConfig::retry_token_lifetime)."""

_NONCE = 12
_KEY = 16
_ADDRESS = 16
_TIME = 8


class TokenExpired(Exception):
    """The token is ours, for this address and packet, but too old."""


class TokenMisplaced(Exception):
    """The token is ours, but was given to another address or for another connection id.

    Usual in iroh: a client sends copies of its Initial to several addresses, and each copy arrives
    from another one of its own. Only the copy from the address that got the Retry counts.
    """


@dataclass(frozen=True, slots=True)
class RetryToken:
    """What a valid token says: the first Initial's destination id and the Retry's source id.

    retry_source: None for a token of NEW_TOKEN, which is of no Retry.
    """

    original_destination: bytes
    retry_source: bytes | None


class RetryTokens:
    """Makes and checks the Retry tokens of one endpoint; they do not survive it."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._aead = AESGCM(rng(_KEY))

    def make(
        self, original_destination: bytes, retry_source: bytes, remote: Address, now: float
    ) -> bytes:
        """Seal a token that says what a RetryToken has."""
        nonce = self._rng(_NONCE)
        plain = b"".join(
            (
                _digest(remote),
                int(now * 1000).to_bytes(_TIME, "big", signed=True),
                bytes([len(original_destination)]),
                original_destination,
                retry_source,
            )
        )
        return nonce + self._aead.encrypt(nonce, plain, None)

    def open(
        self, sealed: bytes, remote: Address, destination: bytes, now: float
    ) -> RetryToken | None:
        """Check the token of an Initial that was sent to `destination` from `remote`.

        None for no token, or one that we did not make. Raises TokenExpired, TokenMisplaced.
        """
        if len(sealed) <= _NONCE:
            return None
        try:
            plain = self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except InvalidTag:
            return None
        address, plain = plain[:_ADDRESS], plain[_ADDRESS:]
        issued = int.from_bytes(plain[:_TIME], "big", signed=True) / 1000
        end = _TIME + 1 + plain[_TIME]
        token = RetryToken(plain[_TIME + 1 : end], plain[end:])
        if address != _digest(remote) or token.retry_source != destination:
            raise TokenMisplaced
        if now - issued > LIFETIME:
            raise TokenExpired
        return token


def _digest(remote: Address) -> bytes:
    text = repr(remote).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).digest()[:_ADDRESS]
