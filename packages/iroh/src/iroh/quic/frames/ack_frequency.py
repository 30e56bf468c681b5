"""ACK_FREQUENCY (draft-ietf-quic-ack-frequency section 4).

0xaf | seq | ack-eliciting threshold | requested max ack delay, us | reordering threshold
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_APP, Frame, encode_fields
from iroh.quic.varint import Buffer

_TYPE = 0xAF


class AckFrequency(Frame):
    """How often the peer wants to be acknowledged."""

    __slots__ = ("eliciting_threshold", "max_ack_delay", "reordering_threshold", "seq")
    TYPES: ClassVar[tuple[int, ...]] = (_TYPE,)
    SPACES = SPACES_APP

    def __init__(
        self, seq: int, eliciting_threshold: int, max_ack_delay: int, reordering_threshold: int
    ) -> None:
        self.seq: int = seq
        self.eliciting_threshold: int = eliciting_threshold
        self.max_ack_delay: int = max_ack_delay
        self.reordering_threshold: int = reordering_threshold

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(
            *(_TYPE, self.seq, self.eliciting_threshold),
            *(self.max_ack_delay, self.reordering_threshold),
        )

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        values = []
        for _ in range(4):
            value, at = varint.decode(buf, at)
            values.append(value)
        return cls(*values), at
