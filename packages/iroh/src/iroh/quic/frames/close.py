"""CONNECTION_CLOSE (RFC 9000 section 19.19).

0x1c | error code | frame type | length | reason        by the transport or TLS
0x1d | error code              | length | reason        by the application
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_ALL, SPACES_APP, Frame, take
from iroh.quic.varint import Buffer


class ConnectionClose(Frame):
    """The end. frame_type: what caused a transport error, None in an application's close."""

    __slots__ = ("code", "frame_type", "reason")
    TYPES: ClassVar[tuple[int, ...]] = (0x1C, 0x1D)
    ACK_ELICITING: ClassVar[bool] = False
    SPACES = SPACES_ALL

    def __init__(self, code: int, reason: bytes, frame_type: int | None) -> None:
        self.code: int = code
        self.reason: bytes = reason
        self.frame_type: int | None = frame_type

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        encode = varint.encode
        if self.frame_type is None:
            head = b"\x1d" + encode(self.code)
        else:
            head = b"\x1c" + encode(self.code) + encode(self.frame_type)
        return head + encode(len(self.reason)) + self.reason

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        code, at = varint.decode(buf, at)
        frame_type = None
        if kind == cls.TYPES[0]:
            frame_type, at = varint.decode(buf, at)
        length, at = varint.decode(buf, at)
        reason, at = take(buf, at, length, end, kind)
        return cls(code, reason, frame_type), at


def is_allowed_close(frame: ConnectionClose, space: int) -> bool:
    """An application's close never travels before 0-RTT keys (RFC 9000 section 12.5)."""
    return frame.frame_type is not None or space in SPACES_APP
