"""The four messages of the handshake, and what the client signs.

    ServerChallenge (0)      | 00 | challenge (16)                                relay to client
    ClientAuth (1)           | 01 | public key (32) | 40 | signature (64)         client to relay
    ServerConfirmsAuth (2)   | 02 |                                               relay to client
    ServerDeniesAuth (3)     | 03 | length (LEB128) | reason (UTF-8)              relay to client

The body is postcard: the `40` is the length of the signature, and bytes after the last field are
ignored. The client does not sign the challenge itself (a relay could make it sign anything) but
a BLAKE3 key derived from it in a domain of its own.

Source: iroh-relay `protos/handshake.rs`.
"""

from dataclasses import dataclass
from typing import Final

from iroh_base.errors import SignatureError
from iroh_base.keys import PublicKey, SecretKey, Signature

from .blake3 import derive_key
from .errors import FrameError
from .frames.types import (
    CLIENT_AUTH,
    ID_LEN,
    SERVER_CHALLENGE,
    SERVER_CONFIRMS_AUTH,
    SERVER_DENIES_AUTH,
    Buffer,
    parse_id,
)

__all__ = [
    "CHALLENGE_LEN",
    "SIGNATURE_LEN",
    "ClientAuth",
    "ServerChallenge",
    "ServerConfirmsAuth",
    "ServerDeniesAuth",
    "read_key_and_signature",
    "verifies",
    "write_key_and_signature",
]

CHALLENGE_LEN: Final = 16
"""Bytes of a challenge."""
SIGNATURE_LEN: Final = 64
"""Bytes of an Ed25519 signature."""
_DOMAIN: Final = "iroh-relay handshake v1 challenge signature"  # DOMAIN_SEP_CHALLENGE
_MAX_LEB128: Final = 10  # bytes of a 64-bit number


@dataclass(frozen=True, slots=True)
class ServerChallenge:
    """16 random bytes, fresh for each connection."""

    challenge: bytes

    def __post_init__(self) -> None:
        if len(self.challenge) != CHALLENGE_LEN:
            raise FrameError(f"a challenge has {CHALLENGE_LEN} bytes, not {len(self.challenge)}")

    def message(self) -> bytes:
        """The 32 bytes that the client signs."""
        return derive_key(_DOMAIN, self.challenge)

    def encode(self) -> bytes:
        """The frame."""
        return bytes((SERVER_CHALLENGE,)) + self.challenge

    @classmethod
    def decode(cls, payload: Buffer) -> "ServerChallenge":
        """Read what follows the type; raises `FrameError`."""
        return cls(bytes(payload[:CHALLENGE_LEN]))


@dataclass(frozen=True, slots=True)
class ClientAuth:
    """Who the client is, and the proof: its signature of the challenge."""

    public_key: PublicKey
    signature: bytes

    @classmethod
    def answer(cls, secret_key: SecretKey, challenge: ServerChallenge) -> "ClientAuth":
        """Sign a challenge."""
        signature = secret_key.sign(challenge.message())
        return cls(secret_key.public(), signature.to_bytes())

    def verify(self, challenge: ServerChallenge) -> bool:
        """Whether the signature is the key's own, of this challenge."""
        return verifies(self.public_key, challenge.message(), self.signature)

    def encode(self) -> bytes:
        """The frame."""
        return bytes((CLIENT_AUTH,)) + write_key_and_signature(self.public_key, self.signature)

    @classmethod
    def decode(cls, payload: Buffer) -> "ClientAuth":
        """Read what follows the type; raises `FrameError`."""
        public_key, signature, _ = read_key_and_signature(payload)
        return cls(public_key, signature)


@dataclass(frozen=True, slots=True)
class ServerConfirmsAuth:
    """The client may send from now on."""

    def encode(self) -> bytes:
        """The frame."""
        return bytes((SERVER_CONFIRMS_AUTH,))

    @classmethod
    def decode(cls, payload: Buffer) -> "ServerConfirmsAuth":
        """Nothing follows the type; what does is ignored."""
        return cls()


@dataclass(frozen=True, slots=True)
class ServerDeniesAuth:
    """The relay does not serve this client, and why."""

    reason: str

    def encode(self) -> bytes:
        """The frame."""
        text = self.reason.encode()
        return bytes((SERVER_DENIES_AUTH,)) + _write_leb128(len(text)) + text

    @classmethod
    def decode(cls, payload: Buffer) -> "ServerDeniesAuth":
        """Read what follows the type; raises `FrameError`."""
        length, start = _read_leb128(payload, 0)
        if length > len(payload) - start:
            raise FrameError("ServerDeniesAuth ends inside its reason")
        try:
            return cls(bytes(payload[start : start + length]).decode())
        except UnicodeDecodeError as error:
            raise FrameError("the reason of a denial must be UTF-8") from error


def verifies(public_key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is valid, by the strict rule that all of iroh uses."""
    try:
        public_key.verify(message, Signature.from_bytes(signature))
    except SignatureError:
        return False
    return True


def write_key_and_signature(public_key: PublicKey, signature: bytes) -> bytes:
    """Key and signature in postcard: 97 bytes."""
    return b"".join((public_key.to_bytes(), _write_leb128(len(signature)), signature))


def read_key_and_signature(payload: Buffer) -> tuple[PublicKey, bytes, int]:
    """Undo `write_key_and_signature`; the third is how many bytes were used.

    Raises `FrameError` if the bytes end early, the key is no point, or the length is not 64.
    """
    if len(payload) < ID_LEN:
        raise FrameError("client authentication ends inside the public key")
    length, start = _read_leb128(payload, ID_LEN)
    end = start + SIGNATURE_LEN
    if length != SIGNATURE_LEN or len(payload) < end:
        raise FrameError("client authentication without a signature of 64 bytes")
    return parse_id(payload[:ID_LEN]), bytes(payload[start:end]), end


def _write_leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_leb128(data: Buffer, start: int) -> tuple[int, int]:
    """A postcard length and where it ends; raises `FrameError`."""
    value = 0
    for index, byte in enumerate(data[start : start + _MAX_LEB128]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, start + index + 1
    raise FrameError("length is cut off or too long")
