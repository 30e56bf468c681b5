"""ACK and PATH_ACK (RFC 9000 section 19.3; draft-ietf-quic-multipath section 4.1).

    0x02, 0x03                 | largest | delay | range count | first range | (gap | length)* [ecn]
    0x3e, 0x3f | path id       | the same                                                     [ecn]
    ecn, of the odd types: ect0 | ect1 | ce

The delay is in units of 2**ack_delay_exponent microseconds.
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import SPACES_NOT_0RTT, Frame, malformed
from iroh.quic.varint import Buffer

MAX_RANGES = 64  # noq `MAX_ACK_BLOCKS`: what is encoded; decoding is bounded by the packet
_ACK, _PATH_ACK = 0x02, 0x3E


class Ack(Frame):
    """Which packets arrived. ranges: (start, end), both inclusive, the largest first.

    path_id: None in a plain ACK, which speaks of path 0 or of the packet's own space.
    """

    __slots__ = ("delay", "ecn", "path_id", "ranges")
    TYPES: ClassVar[tuple[int, ...]] = (0x02, 0x03, 0x3E, 0x3F)
    ACK_ELICITING: ClassVar[bool] = False
    SPACES = SPACES_NOT_0RTT

    def __init__(
        self,
        ranges: list[tuple[int, int]],
        delay: int,
        path_id: int | None = None,
        ecn: tuple[int, int, int] | None = None,
    ) -> None:
        self.ranges: list[tuple[int, int]] = ranges
        self.delay: int = delay
        self.path_id: int | None = path_id
        self.ecn: tuple[int, int, int] | None = ecn

    def __hash__(self) -> int:
        return hash((tuple(self.ranges), self.delay, self.path_id, self.ecn))

    def encode(self) -> bytes:
        """Return the frame's bytes; only the 64 largest ranges are told."""
        ranges = self.ranges
        if len(ranges) > MAX_RANGES:
            ranges = ranges[:MAX_RANGES]
        kind = (_ACK if self.path_id is None else _PATH_ACK) | (self.ecn is not None)
        values = [kind] if self.path_id is None else [kind, self.path_id]
        start, end = ranges[0]
        values += (end, self.delay, len(ranges) - 1, end - start)
        if len(ranges) > 1:
            below = start
            for start, end in ranges[1:]:
                values += (below - end - 2, end - start)
                below = start
        if self.ecn is not None:
            values += self.ecn
        if max(values) < 0x40 and min(values) >= 0:
            return bytes(values)
        return b"".join(map(varint.encode, values))

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        decode_several = varint.decode_several
        path_id = None
        if kind >= _PATH_ACK:
            (path_id, largest, delay, count, first), at = decode_several(buf, at, 5)
            if path_id > 0xFFFFFFFF:
                raise malformed("a path id has at most 32 bits", kind)
        else:
            (largest, delay, count, first), at = decode_several(buf, at, 4)
        if count > (end - at) // 2 or first > largest:
            raise malformed("ACK with impossible ranges", kind)
        below = largest - first
        ranges = [(below, largest)]
        for _ in range(count):
            (gap, length), at = decode_several(buf, at, 2)
            top = below - gap - 2
            below = top - length
            if below < 0:
                raise malformed("ACK of a negative packet number", kind)
            ranges.append((below, top))
        ecn = None
        if kind & 1:
            (ect0, ect1, ce), at = decode_several(buf, at, 3)
            ecn = (ect0, ect1, ce)
        return cls(ranges, delay, path_id, ecn), at
