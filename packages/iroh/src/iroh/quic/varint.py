"""Variable-length integers (RFC 9000 section 16).

00xxxxxx                    6 bits      10xxxxxx + 3 bytes      30 bits
01xxxxxx + 1 byte          14 bits      11xxxxxx + 7 bytes      62 bits
"""

from iroh.quic.errors import FRAME_ENCODING_ERROR, PeerError

MAX = 2**62 - 1
_SHORT = [bytes((value,)) for value in range(64)]

Buffer = bytes | memoryview


def encode(value: int) -> bytes:
    """Encode in the fewest bytes. Raises ValueError outside 0 .. 2**62 - 1."""
    if value < 0x40:
        if value < 0:
            raise ValueError(f"a varint is not negative: {value}")
        return _SHORT[value]
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x40000000:
        return (value | 0x80000000).to_bytes(4, "big")
    if value <= MAX:
        return (value | 0xC000000000000000).to_bytes(8, "big")
    raise ValueError(f"a varint has at most 62 bits: {value}")


def size(value: int) -> int:
    """How many bytes `encode` makes of it."""
    if value < 0x40:
        return 1
    if value < 0x4000:
        return 2
    return 4 if value < 0x40000000 else 8


def decode_several(buf: Buffer, at: int, count: int) -> tuple[list[int], int]:
    """Decode neighbours: the values, and the offset behind them. Raises PeerError as `decode`."""
    values = []
    for _ in range(count):
        value = buf[at] if at < len(buf) else 0xFF
        if value < 0x40:
            at += 1
        else:
            value, at = decode(buf, at)
        values.append(value)
    return values, at


def decode(buf: Buffer, at: int) -> tuple[int, int]:
    """Decode at an offset: the value, and the offset behind it. Raises PeerError when cut short."""
    end = len(buf)
    if at < end:
        first = buf[at]
        if first < 0x40:
            return first, at + 1
        length = 1 << (first >> 6)
        stop = at + length
        if stop <= end:
            value = int.from_bytes(buf[at:stop], "big")
            return value & ((1 << (8 * length - 2)) - 1), stop
    raise PeerError(FRAME_ENCODING_ERROR, "a variable-length integer is cut short")
