"""Netlink messages and their attributes (man 7 netlink; linux/netlink.h). Host byte order.

    message   | length 4 | type 2 | flags 2 | sequence 4 | port 4 | payload | pad to 4 |
    attribute | length 2 | type 2 | value | pad to 4 |        length counts itself, not the padding
    NLMSG_ERROR, and NLMSG_DONE at the end of a dump: payload starts with -errno, 4 bytes

The two highest bits of an attribute's type are flags and left out here.
"""

import struct
from typing import NamedTuple

__all__ = ["DONE", "DUMP_INTERRUPTED", "ERROR", "Message", "NetlinkError"]

ERROR, DONE, OVERRUN = 2, 3, 4
"""Message types that every protocol has."""
REQUEST, DUMP = 0x01, 0x300
DUMP_INTERRUPTED = 0x10
"""Flag of an answer: something changed while it was written, ask again."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_STATUS = struct.Struct("=i")
_TYPE_MASK = 0x3FFF


class NetlinkError(ValueError):
    """The bytes are not netlink."""


class Message(NamedTuple):
    """One message: its type, its flags, whose answer it is, and what it carries."""

    type: int
    flags: int
    sequence: int
    payload: bytes


def encode_dump(kind: int, sequence: int, body: bytes) -> bytes:
    """Return the request for a whole table; kind is an RTM_GET type."""
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, kind, REQUEST | DUMP, sequence, 0) + body


def parse_messages(data: bytes) -> list[Message]:
    """Return the messages of what one receive brought. Raises NetlinkError."""
    found = []
    position = 0
    while position < len(data):
        if len(data) - position < _HEADER.size:
            raise NetlinkError("a message is cut off in its header")
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, position)
        if not _HEADER.size <= length <= len(data) - position:
            raise NetlinkError(f"a message of {length} bytes with {len(data) - position} left")
        payload = data[position + _HEADER.size : position + length]
        found.append(Message(kind, flags, sequence, payload))
        position += _padded(length)
    return found


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes by type; of two of one type the last. Raises NetlinkError."""
    found = {}
    position = 0
    while len(data) - position >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if not _ATTRIBUTE.size <= length <= len(data) - position:
            raise NetlinkError(f"an attribute of {length} bytes with {len(data) - position} left")
        found[kind & _TYPE_MASK] = data[position + _ATTRIBUTE.size : position + length]
        position += _padded(length)
    return found


def parse_errno(message: Message) -> int:
    """Return the errno of an ERROR or DONE message; 0 is success. Raises NetlinkError."""
    if len(message.payload) < _STATUS.size:
        if message.type == DONE:
            return 0  # only newer kernels say how a dump went
        raise NetlinkError("an error message is cut off")
    status: int = _STATUS.unpack_from(message.payload)[0]
    return -status


def _padded(length: int) -> int:
    return (length + 3) & ~3
