"""bencode (BEP 3): integers, byte strings, lists, dictionaries.

    i<decimal>e    <length>:<bytes>    l<values>e    d<key><value>...e      keys are byte strings

Written with sorted keys. Read strictly but for the order of keys, which others get wrong: no
leading zeros, no "-0", no key twice, nothing behind the value. Depth and digits are bounded.
"""

from typing import Final

from iroh_base.errors import IrohError

__all__ = ["BencodeError", "Value", "decode", "encode"]

Value = int | bytes | list["Value"] | dict[bytes, "Value"]

MAX_DEPTH: Final = 16
"""Of lists and dictionaries in each other. KRPC needs 3."""
MAX_DIGITS: Final = 20
"""Of a number: 64 bits with their sign."""


class BencodeError(IrohError, ValueError):
    """Bytes that are no bencoded value."""


def encode(value: Value) -> bytes:
    """Write a value. Raises TypeError for what has no encoding."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def _write(value: Value, parts: list[bytes]) -> None:
    if isinstance(value, int):
        parts.append(b"i%de" % value)
    elif isinstance(value, bytes):
        parts.append(b"%d:%b" % (len(value), value))
    elif isinstance(value, list):
        parts.append(b"l")
        for each in value:
            _write(each, parts)
        parts.append(b"e")
    elif isinstance(value, dict):
        parts.append(b"d")
        for key in sorted(value):
            _write(key, parts)
            _write(value[key], parts)
        parts.append(b"e")
    else:
        raise TypeError(f"bencode has no {type(value).__name__}")


def decode(data: bytes) -> Value:
    """Read one value that is the whole of `data`. Raises `BencodeError`."""
    value, end = _read(data, 0, 0)
    if end != len(data):
        raise BencodeError("bytes behind a bencoded value")
    return value


def _read(data: bytes, pos: int, depth: int) -> tuple[Value, int]:
    kind = data[pos : pos + 1]
    if kind.isdigit():
        return _read_bytes(data, pos)
    if kind == b"i":
        return _read_number(data, pos + 1, b"e")
    if depth >= MAX_DEPTH:
        raise BencodeError("a bencoded value is too deep")
    if kind == b"l":
        return _read_list(data, pos + 1, depth + 1)
    if kind == b"d":
        return _read_dict(data, pos + 1, depth + 1)
    raise BencodeError("no bencoded value")


def _read_number(data: bytes, pos: int, end: bytes) -> tuple[int, int]:
    stop = data.find(end, pos, pos + MAX_DIGITS + 1)
    digits = data[pos:stop]
    plain = digits.removeprefix(b"-")
    zeros = plain.startswith(b"0") and digits != b"0"  # "00", "01", "-0"
    if stop < 0 or not plain.isdigit() or zeros:
        raise BencodeError("no bencoded number")
    return int(digits), stop + 1


def _read_bytes(data: bytes, pos: int) -> tuple[bytes, int]:
    length, start = _read_number(data, pos, b":")
    if start + length > len(data):
        raise BencodeError("a byte string ends too early")
    return data[start : start + length], start + length


def _read_list(data: bytes, pos: int, depth: int) -> tuple[Value, int]:
    values: list[Value] = []
    while data[pos : pos + 1] != b"e":
        value, pos = _read(data, pos, depth)
        values.append(value)
    return values, pos + 1


def _read_dict(data: bytes, pos: int, depth: int) -> tuple[Value, int]:
    values: dict[bytes, Value] = {}
    while data[pos : pos + 1] != b"e":
        if not data[pos : pos + 1].isdigit():
            raise BencodeError("a key is no byte string")
        key, pos = _read_bytes(data, pos)
        if key in values:
            raise BencodeError("a key comes twice")
        values[key], pos = _read(data, pos, depth)
    return values, pos + 1
