"""Ed25519 keys and signatures: an endpoint's id is its public key.

Verification is *strict* everywhere (dalek's `verify_strict`, libsodium's rule): S below the group
order, neither key nor R of small order, and the equation without the cofactor. OpenSSL's rule is
looser and would accept one signature for several messages; that is why PyNaCl does all of it.

Parsing a key is looser than verifying with it. Rust accepts every 32 bytes that decompress to a
point of the curve, small order and non-canonical encodings included, and keeps the bytes as given:

    y = low 255 bits, little endian, mod p        p = 2^255 - 19
    u = y^2 - 1,  v = d*y^2 + 1                   d = -121665/121666   (RFC 8032 section 5.1.3)
    a point exists  <=>  u*v is 0 or a square mod p;  the sign bit does not matter

    text of a key     64 lower-case hex characters, or 52 of RFC 4648 base32 in any case
    text in DNS       52 characters of z-base-32
"""

import hmac
import os
from collections.abc import Callable
from functools import lru_cache, total_ordering
from typing import Self, TypeAlias, final

from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
    has_crypto_core_ed25519,
)
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as SodiumError

from .encoding import base32_decode, from_hex, z32_decode, z32_encode
from .errors import InvalidInputError, KeyParsingError, SignatureError

__all__ = ["BytesLike", "EndpointId", "PublicKey", "SecretKey", "Signature"]

BytesLike: TypeAlias = bytes | bytearray | memoryview
"""What is taken where bytes are asked for; results are always `bytes`."""
KEY_LENGTH = 32
"""Bytes of a public key, and of a secret key's seed (RFC 8032 section 5.1.5)."""
SIGNATURE_LENGTH = 64
"""Bytes of a signature (RFC 8032 section 5.1.6)."""

_HEX_LENGTH = 64
_BASE32_LENGTH = 52
_SHORT_BYTES = 5  # upstream: PublicKeyShort
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_Y_MASK = (1 << 255) - 1
_BASE_POINT = b"\x58" + b"\x66" * 31  # RFC 8032 section 5.1
# 10 us saved per hit, about 200 bytes held per entry. Upstream's relay keeps 1 048 576 keys.
_POINT_CACHE = 8192


@lru_cache(maxsize=_POINT_CACHE)
def _is_point(key: bytes) -> bool:
    """Whether 32 bytes decompress to a point of edwards25519.

    libsodium adds two points after it has decompressed them, and asks no more of them than that (no
    canonical form, any order): a ninth of the time of the arithmetic here.
    """
    if not has_crypto_core_ed25519:
        return _is_point_slowly(key)
    try:
        crypto_core_ed25519_add(_BASE_POINT, key)
    except SodiumError:
        return False
    return True


def _is_point_slowly(key: bytes) -> bool:
    """The same for a libsodium that was built without that function."""
    y2 = pow((int.from_bytes(key, "little") & _Y_MASK) % _P, 2, _P)
    # Euler's criterion: a^((p-1)/2) is 1 for squares, 0 for 0 and p-1 for everything else.
    return pow((y2 - 1) * (_D * y2 + 1) % _P, (_P - 1) // 2, _P) <= 1


def _decode_key_text(text: str) -> bytes:
    """The 32 bytes behind the hex or base32 text of a key; never quotes the text in an error."""
    # Rust counts UTF-8 bytes, so text outside ASCII is measured by them as well.
    length = len(str.encode(text, errors="surrogatepass"))
    try:
        if length == _HEX_LENGTH:
            return from_hex(text)
        if length == _BASE32_LENGTH:
            return base32_decode(text)
    except ValueError as error:
        form = "hex" if length == _HEX_LENGTH else "base32"
        raise KeyParsingError(f"failed to decode {form} string: {error}") from error
    raise KeyParsingError(
        f"invalid length: a key has {_HEX_LENGTH} hex or {_BASE32_LENGTH} base32 characters, "
        f"this text has {length}"
    )


@final
@total_ordering
class PublicKey:
    """An Ed25519 public key, and thereby the id of an endpoint (`EndpointId` is this class).

    Immutable, hashable and ordered by its bytes. `PublicKey(b)` and `PublicKey.from_bytes(b)` are
    the same. Raises `InvalidInputError` for a wrong length, `KeyParsingError` for bytes that are
    no point of the curve.
    """

    __slots__ = ("_bytes",)
    LENGTH = KEY_LENGTH

    def __init__(self, data: BytesLike) -> None:
        key = bytes(memoryview(data))
        if len(key) != KEY_LENGTH:
            raise InvalidInputError("the EndpointId must be 32 bytes in length")
        if not _is_point(key):
            raise KeyParsingError("data is not a valid public key")
        self._bytes = key

    @classmethod
    def from_bytes(cls, bytes: BytesLike) -> Self:  # the bindings' parameter name
        """The key with these 32 bytes."""
        return cls(bytes)

    @classmethod
    def from_string(cls, s: str) -> Self:
        """The key with this text: 64 lower-case hex or 52 base32 characters.

        Raises KeyParsingError.
        """
        return cls(_decode_key_text(s))

    @classmethod
    def from_z32(cls, text: str) -> Self:
        """The key with this z-base-32 text of 52 characters, as in pkarr and DNS names.

        Raises KeyParsingError.
        """
        try:
            data = z32_decode(text)
        except ValueError as error:
            raise KeyParsingError(f"failed to decode base32 string: {error}") from error
        if len(data) != KEY_LENGTH:
            raise KeyParsingError("data is not a valid public key")
        return cls(data)

    def to_bytes(self) -> bytes:
        """The 32 bytes of the key, as they were given."""
        return self._bytes

    def to_z32(self) -> str:
        """The 52 characters of z-base-32 that name this key in pkarr and DNS."""
        return z32_encode(self._bytes)

    def fmt_short(self) -> str:
        """The first 5 bytes in hex, for logs."""
        return self._bytes[:_SHORT_BYTES].hex()

    def verify(self, message: BytesLike, signature: "Signature") -> None:
        """Return if `signature` was made for `message` by this key, else raise `SignatureError`."""
        try:
            crypto_sign_open(signature.to_bytes() + message, self._bytes)
        except BadSignatureError as error:
            raise SignatureError("signature verification failed: Invalid signature") from error

    def __bytes__(self) -> bytes:
        return self._bytes

    def __str__(self) -> str:
        return self._bytes.hex()

    def __repr__(self) -> str:
        return f"PublicKey({self._bytes.hex()})"

    def __eq__(self, other: object) -> bool:
        return self._bytes == other._bytes if isinstance(other, PublicKey) else NotImplemented

    def __lt__(self, other: "PublicKey") -> bool:
        return self._bytes < other._bytes if isinstance(other, PublicKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._bytes)


EndpointId = PublicKey


@final
class Signature:
    """The 64 bytes of an Ed25519 signature; immutable and hashable, prints as lower-case hex."""

    __slots__ = ("_bytes",)
    LENGTH = SIGNATURE_LENGTH

    def __init__(self, data: BytesLike) -> None:
        signature = bytes(memoryview(data))
        if len(signature) != SIGNATURE_LENGTH:
            raise InvalidInputError("Signature requires exactly 64 bytes")
        self._bytes = signature

    @classmethod
    def from_bytes(cls, bytes: BytesLike) -> Self:  # the bindings' parameter name
        """The signature with these 64 bytes; `InvalidInputError` for another length."""
        return cls(bytes)

    def to_bytes(self) -> bytes:
        """The 64 bytes, R then S."""
        return self._bytes

    def __bytes__(self) -> bytes:
        return self._bytes

    def __str__(self) -> str:
        return self._bytes.hex()

    def __repr__(self) -> str:
        return f"Signature({self._bytes.hex()})"

    def __eq__(self, other: object) -> bool:
        return self._bytes == other._bytes if isinstance(other, Signature) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._bytes)


@final
class SecretKey:
    """An Ed25519 secret key: whoever has it is the endpoint. It never prints its bytes."""

    __slots__ = ("_expanded", "_public", "_seed")
    LENGTH = KEY_LENGTH

    def __init__(self, data: BytesLike) -> None:
        seed = bytes(memoryview(data))
        if len(seed) != KEY_LENGTH:
            raise InvalidInputError("SecretKey requires exactly 32 bytes")
        public, self._expanded = crypto_sign_seed_keypair(seed)
        self._seed = seed
        self._public = PublicKey(public)

    @classmethod
    def generate(cls, rng: Callable[[int], bytes] = os.urandom) -> Self:
        """A new key from 32 bytes of `rng`, which must be unpredictable outside of tests."""
        return cls(rng(KEY_LENGTH))

    @classmethod
    def from_bytes(cls, bytes: BytesLike) -> Self:  # the bindings' parameter name
        """The key with this 32-byte seed; `InvalidInputError` for another length."""
        return cls(bytes)

    @classmethod
    def from_string(cls, text: str) -> Self:
        """The key with this text: 64 lower-case hex or 52 base32 characters.

        Raises KeyParsingError.
        """
        return cls(_decode_key_text(text))

    def public(self) -> PublicKey:
        """The public key, which is the endpoint's id."""
        return self._public

    def sign(self, message: BytesLike) -> Signature:
        """The signature of this key for `message`; the same one every time."""
        return Signature(crypto_sign(bytes(memoryview(message)), self._expanded)[:SIGNATURE_LENGTH])

    def to_bytes(self) -> bytes:
        """The 32 secret bytes."""
        return self._seed

    def __repr__(self) -> str:
        return "SecretKey(..)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretKey):
            return NotImplemented
        return hmac.compare_digest(self._seed, other._seed)

    def __hash__(self) -> int:
        return hash(self._public)
