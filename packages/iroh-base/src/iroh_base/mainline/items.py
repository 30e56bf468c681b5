"""Mutable items (BEP 44): a value of at most 1000 bytes, signed by a key, with a sequence number.

    target   SHA-1 of key and salt: where it is stored
    signed   ["4:salt" length ":" salt] "3:seqi" seq "e1:v" length ":" value

A greater sequence number replaces a lower one. A pkarr packet is an item without salt, whose
sequence number is the packet's timestamp. Values are byte strings; BEP 44 would allow any
bencoded value.
"""

import hashlib
from typing import Final, NamedTuple, Self

from iroh_base.errors import IrohError
from iroh_base.keys import PublicKey, SecretKey, Signature
from iroh_base.pkarr import SignedPacket

from .krpc import Dict

__all__ = ["MAX_SALT", "MAX_VALUE", "MutableItem", "item_target"]

MAX_VALUE: Final = 1000
MAX_SALT: Final = 64
_SIGNED_64 = 1 << 63


def item_target(key: bytes, salt: bytes = b"") -> bytes:
    """Where the item of a key and a salt is."""
    return hashlib.sha1(key + salt, usedforsecurity=False).digest()


class MutableItem(NamedTuple):
    """An item. Only `verified` and `sign` make good ones."""

    key: bytes
    signature: bytes
    seq: int
    value: bytes
    salt: bytes = b""

    @classmethod
    def sign(cls, secret_key: SecretKey, seq: int, value: bytes, salt: bytes = b"") -> Self:
        """Make an item. Raises ValueError for one that no node would store."""
        if len(value) > MAX_VALUE or len(salt) > MAX_SALT or not 0 <= seq < _SIGNED_64:
            raise ValueError("the value, the salt or the sequence number is too large")
        signature = secret_key.sign(signable(seq, value, salt))
        return cls(bytes(secret_key.public()), bytes(signature), seq, value, salt)

    @classmethod
    def read(cls, values: Dict, salt: bytes = b"") -> Self | None:
        """The item in what a put says or a node answers, not verified; None if there is none."""
        match values:
            case {b"k": bytes(key), b"sig": bytes(signature), b"seq": int(seq), b"v": bytes(value)}:
                if len(key) == 32 and len(signature) == 64 and 0 <= seq < _SIGNED_64:
                    return cls(key, signature, seq, value, salt)
        return None

    @property
    def target(self) -> bytes:
        """Where it is stored."""
        return item_target(self.key, self.salt)

    @property
    def order(self) -> tuple[int, bytes]:
        """The greater one is the newer one; that of upstream's signed packets."""
        return self.seq, self.value

    def is_verified(self) -> bool:
        """Whether the signature is the key's, and nothing is too large."""
        if len(self.value) > MAX_VALUE or len(self.salt) > MAX_SALT:
            return False
        try:
            signed = signable(self.seq, self.value, self.salt)
            PublicKey(self.key).verify(signed, Signature(self.signature))
        except IrohError:
            return False
        return True

    @classmethod
    def from_packet(cls, packet: SignedPacket) -> Self:
        """The item that a pkarr packet is; ValueError for a timestamp that no node would take."""
        if packet.timestamp_us >= _SIGNED_64:
            raise ValueError("the timestamp is too large for the DHT")
        key, signature = bytes(packet.public_key), bytes(packet.signature)
        return cls(key, signature, packet.timestamp_us, packet.dns_packet)

    def to_packet(self) -> SignedPacket:
        """The pkarr packet that a verified item is; `PkarrError` if it is none."""
        seq = self.seq.to_bytes(8)
        return SignedPacket.from_bytes_unchecked(self.key + self.signature + seq + self.value)

    def fields(self) -> Dict:
        """What a put says of it, and the answer to a get; without the salt."""
        return {b"k": self.key, b"sig": self.signature, b"seq": self.seq, b"v": self.value}


def signable(seq: int, value: bytes, salt: bytes = b"") -> bytes:
    """The bytes that are signed."""
    prefix = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return b"%b3:seqi%de1:v%d:%b" % (prefix, seq, len(value), value)
