"""The relay's fast path: from the frame of a sender to the frame of its receiver, on raw bytes.

Forwarding turns type 4 into 6 and 5 into 7, the destination id into the source id, and leaves the
rest alone, so no object is made and nothing is decoded:

    | 04 | dst | ecn | datagram          |   ->   | 06 | src | ecn | datagram          |
    | 05 | dst | ecn | seg u16 | batch   |   ->   | 07 | src | ecn | seg u16 | batch   |
    | 05 | dst | ecn | 0000    | batch   |   ->   | 06 | src | ecn | batch             |

`inspect` is where the receiver is protected. A Rust relay accepts empty datagrams and frames of
65536 bytes after the type, and the *receiver's* writer then refuses them and gives the innocent
connection up. Here they are told apart at ingress, to be dropped and counted.
"""

from typing import Final

from .errors import FrameError, FrameTooLargeError
from .frames.types import (
    CLIENT_TO_RELAY_DATAGRAM,
    CLIENT_TO_RELAY_DATAGRAM_BATCH,
    ID_LEN,
    MAX_PACKET_SIZE,
    RELAY_TO_CLIENT_DATAGRAM,
    RELAY_TO_CLIENT_DATAGRAM_BATCH,
)

__all__ = ["BAD_CONTENTS", "FORWARD", "NOT_DATAGRAM", "Readdresser", "contents_len", "inspect"]

NOT_DATAGRAM: Final = 0
"""Not a datagram frame in the usual form: decode it."""
FORWARD: Final = 1
"""Well formed; its destination is `frame[1:33]`, still unchecked."""
BAD_CONTENTS: Final = 2
"""Empty or too long to be sent on: drop it, count it, keep the connection."""

_ECN: Final = 1 + ID_LEN
_SINGLE: Final = _ECN + 1
_BATCH: Final = _SINGLE + 2


def inspect(frame: bytes) -> int:
    """What to do with a message of a client: one of the three verdicts above.

    Raises `FrameError` for a datagram frame that must end the sender's connection. The empty
    message and everything that is no datagram frame is `NOT_DATAGRAM`.
    """
    size = len(frame)
    kind = frame[0] if size else None
    if kind == CLIENT_TO_RELAY_DATAGRAM_BATCH:
        head = _BATCH
    elif kind == CLIENT_TO_RELAY_DATAGRAM:
        head = _SINGLE
    else:
        return NOT_DATAGRAM
    if head < size <= MAX_PACKET_SIZE:
        return FORWARD
    if size < head:
        raise FrameError(f"datagram frame too short: {size - 1} bytes after the type")
    if size > MAX_PACKET_SIZE + 1:
        raise FrameTooLargeError(f"frame is too large, has {size - 1} bytes")
    return BAD_CONTENTS


def contents_len(frame: bytes) -> int:
    """Bytes of datagrams in a frame that `inspect` did not refuse."""
    return len(frame) - (_BATCH if frame[0] == CLIENT_TO_RELAY_DATAGRAM_BATCH else _SINGLE)


class Readdresser:
    """Makes the receiver's frames out of those of one sender."""

    __slots__ = ("_batch", "_single")

    def __init__(self, source: bytes) -> None:
        self._single = bytes((RELAY_TO_CLIENT_DATAGRAM,)) + source
        self._batch = bytes((RELAY_TO_CLIENT_DATAGRAM_BATCH,)) + source

    def readdress(self, frame: bytes) -> bytes:
        """The frame for the receiver; `inspect(frame)` must have said `FORWARD`."""
        if frame[_ECN] > 3:  # only two bits are defined; Rust relays clear the rest as well
            frame = b"".join((frame[:_ECN], bytes((frame[_ECN] & 3,)), frame[_SINGLE:]))
        if frame[0] == CLIENT_TO_RELAY_DATAGRAM:
            return self._single + frame[_ECN:]
        if frame[_SINGLE] or frame[_SINGLE + 1]:
            return self._batch + frame[_ECN:]
        return b"".join((self._single, frame[_ECN:_SINGLE], frame[_BATCH:]))
