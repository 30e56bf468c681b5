"""Key agreement: what both ends put into their key shares, and the secret that comes of it.

    group                 client's share          server's share         secret
    --------------------  ----------------------  ---------------------  ----------------------
    x25519 001d           public key 32           public key 32          32
    secp256r1 0017        point 65                point 65               32
    secp384r1 0018        point 97                point 97               48
    X25519MLKEM768 11ec   ML-KEM key 1184, then   ML-KEM ciphertext      ML-KEM secret 32, then
                          x25519 key 32           1088, then x25519 32   x25519 secret 32

(RFC 8446 section 4.2.8; RFC 7748; draft-ietf-tls-ecdhe-mlkem.) x25519 is libsodium's, which costs
less than OpenSSL's; the others are rare, and their code is imported when it is first needed.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import CryptoError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

SECP256R1, SECP384R1, X25519, X25519MLKEM768 = 0x17, 0x18, 0x1D, 0x11EC
_X25519_LENGTH = 32
_MLKEM_KEY, _MLKEM_TEXT = 1184, 1088  # FIPS 203 table 3

Finish = Callable[[bytes], bytes]
"""Takes the server's share and gives the secret. Raises ValueError for a share that cannot be."""


def offer(group: int) -> tuple[bytes, Finish]:
    """Client: make a key; give its share and what finishes the agreement.

    Raises ValueError for a group that this machine's libraries do not have.
    """
    return _OFFERS[group]()


def answer(group: int, share: bytes) -> tuple[bytes, bytes]:
    """Server: give our share and the secret. Raises ValueError for a share that cannot be."""
    if group == X25519MLKEM768:
        return _answer_hybrid(share)
    public, finish = _OFFERS[group]()
    return public, finish(share)


def _x25519() -> tuple[bytes, Finish]:
    secret = os.urandom(_X25519_LENGTH)

    def finish(share: bytes) -> bytes:
        if len(share) != _X25519_LENGTH:
            raise ValueError("an x25519 share has 32 bytes")
        try:
            return crypto_scalarmult(secret, share)
        except CryptoError as error:  # RFC 7748 section 6.1: the secret would be zero
            raise ValueError("an x25519 share of small order") from error

    return crypto_scalarmult_base(secret), finish


def _secp256r1() -> tuple[bytes, Finish]:
    from cryptography.hazmat.primitives.asymmetric import ec

    return _curve(ec.SECP256R1())


def _secp384r1() -> tuple[bytes, Finish]:
    from cryptography.hazmat.primitives.asymmetric import ec

    return _curve(ec.SECP384R1())


def _curve(curve: "ec.EllipticCurve") -> tuple[bytes, Finish]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.generate_private_key(curve)
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def finish(share: bytes) -> bytes:
        if not share.startswith(b"\x04"):  # RFC 8446 section 4.2.8.2
            raise ValueError("a point that is not in its uncompressed form")
        point = ec.EllipticCurvePublicKey.from_encoded_point(curve, share)
        return key.exchange(ec.ECDH(), point)

    return public, finish


def has_hybrid() -> bool:
    """Whether ML-KEM-768 is there: a new `cryptography` over a library that has it."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    except ImportError:
        return False
    try:
        MLKEM768PrivateKey.generate()
    except UnsupportedAlgorithm:
        return False
    return True


def _hybrid() -> tuple[bytes, Finish]:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

    key = MLKEM768PrivateKey.generate()
    public, finish_x25519 = _x25519()

    def finish(share: bytes) -> bytes:
        if len(share) != _MLKEM_TEXT + _X25519_LENGTH:
            raise ValueError("an X25519MLKEM768 share of a server has 1120 bytes")
        return key.decapsulate(share[:_MLKEM_TEXT]) + finish_x25519(share[_MLKEM_TEXT:])

    return key.public_key().public_bytes_raw() + public, finish


def _answer_hybrid(share: bytes) -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey

    if len(share) != _MLKEM_KEY + _X25519_LENGTH:
        raise ValueError("an X25519MLKEM768 share of a client has 1216 bytes")
    secret, text = MLKEM768PublicKey.from_public_bytes(share[:_MLKEM_KEY]).encapsulate()
    public, finish_x25519 = _x25519()
    return text + public, secret + finish_x25519(share[_MLKEM_KEY:])


_OFFERS: Final[dict[int, Callable[[], tuple[bytes, Finish]]]] = {
    X25519: _x25519,
    SECP256R1: _secp256r1,
    SECP384R1: _secp384r1,
    X25519MLKEM768: _hybrid,
}
