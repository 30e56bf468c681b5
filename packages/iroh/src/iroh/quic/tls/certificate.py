"""RFC 7250 raw public keys: what iroh sends in place of certificates.

SubjectPublicKeyInfo, DER, 44 bytes (RFC 8410 section 4)

30 2a              SEQUENCE, 42 bytes
   30 05             SEQUENCE, 5 bytes
      06 03 2b 65 70   OID 1.3.101.112, Ed25519
   03 21 00          BIT STRING, 33 bytes, 0 unused bits
      32 bytes         the public key
"""

SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""Everything before the key (RFC 8410 section 4)."""
KEY_LENGTH = 32


def encode_spki(public_key: bytes) -> bytes:
    """Wrap a 32-byte Ed25519 key."""
    return SPKI_PREFIX + public_key


def decode_spki(spki: bytes) -> bytes:
    """Unwrap the 32-byte key. Raises ValueError for anything but an Ed25519 key in this form."""
    if len(spki) != len(SPKI_PREFIX) + KEY_LENGTH or not spki.startswith(SPKI_PREFIX):
        raise ValueError("not the SubjectPublicKeyInfo of an Ed25519 key")
    return spki[len(SPKI_PREFIX) :]
