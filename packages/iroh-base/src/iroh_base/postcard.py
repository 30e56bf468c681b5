"""The postcard wire format (https://postcard.jamesmunns.com), as far as iroh uses it.

    u8              1 byte
    u16, u32, u64   varint: 7 bits a byte, low bits first, high bit set on all but the last byte
    bytes, str      varint length, then that many bytes (str: UTF-8)
    [u8; N]         N bytes, no length
    sequence        varint count, then the items
    enum            varint number of the variant (u32), then its fields

As in Rust's crate `postcard`, a varint may be longer than needed (`80 00` is 0) but not longer than
its type needs at most (3, 5, 10 bytes), and must fit the type.
"""

from .errors import PostcardError

__all__ = ["Reader", "Writer"]

_END = "Hit the end of buffer, expected more data"


class Reader:
    """Reads values off the front of `data`; every method raises `PostcardError` if it cannot."""

    __slots__ = ("_data", "_pos")

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)
        self._pos = 0

    @property
    def remaining(self) -> int:
        """How many bytes have not been read yet."""
        return len(self._data) - self._pos

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises PostcardError."""
        end = self._pos + count
        if end > len(self._data):
            raise PostcardError(_END)
        part = self._data[self._pos : end]
        self._pos = end
        return part

    def u8(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def varint(self, bits: int = 64) -> int:
        """An unsigned integer of at most `bits` bits (16, 32 or 64). Raises PostcardError."""
        value = 0
        for shift in range(0, bits, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> bits:
                    break
                return value
        raise PostcardError(f"varint does not fit in {bits} bits")

    def bytes(self) -> bytes:
        """A byte string with its length in front."""
        return self.take(self.varint())

    def string(self) -> str:
        """A UTF-8 string with its length in front. Raises PostcardError."""
        try:
            return self.bytes().decode()
        except UnicodeDecodeError as error:
            raise PostcardError("a string is not UTF-8") from error

    def variant(self, count: int) -> int:
        """The number of an enum's variant, which must be below `count`. Raises PostcardError."""
        number = self.varint(32)
        if number >= count:
            raise PostcardError(f"unknown variant {number}, expected one below {count}")
        return number


class Writer:
    """Appends values to a buffer; `finish()` gives the bytes."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def finish(self) -> bytes:
        """Everything written so far."""
        return bytes(self._buffer)

    def raw(self, data: bytes) -> None:
        """Bytes as they are, without a length."""
        self._buffer += data

    def u8(self, value: int) -> None:
        """One byte."""
        self._buffer.append(value)

    def varint(self, value: int) -> None:
        """An unsigned integer in the shortest form; the caller sees to its range."""
        while value > 0x7F:
            self._buffer.append(value & 0x7F | 0x80)
            value >>= 7
        self._buffer.append(value)

    def bytes(self, data: bytes) -> None:
        """A byte string with its length in front."""
        self.varint(len(data))
        self._buffer += data

    def string(self, text: str) -> None:
        """A UTF-8 string with its length in front."""
        self.bytes(text.encode())
