"""What was sent and is not yet acknowledged or lost: runs of packets, not packets.

pn        first        first+1                    last
        +------------+------------+--   --+--------------+
stream  | chunk      | chunk      |  ...  | the rest     |   `length` bytes from `offset`
        +------------+------------+--   --+--------------+
size      size         size                 last_size        UDP payload bytes
"""

from collections.abc import Iterable
from typing import Any, Protocol


class StreamSink(Protocol):
    """The sending half of a stream, as the owner of sent bytes."""

    def on_acked(self, offset: int, length: int, fin: bool) -> None:
        """These bytes arrived."""

    def on_lost(self, offset: int, length: int, fin: bool) -> None:
        """These bytes are lost: send them again."""


class Part(Protocol):
    """The owner of some other frame in a packet; `info` is whatever it wants to be told."""

    def on_acked(self, info: Any) -> None:
        """The frame arrived."""

    def on_lost(self, info: Any) -> None:
        """The frame is lost."""


Token = tuple[Part, Any]
Slice = tuple[StreamSink, int, int, bool]
"""(stream, offset, length, fin): a further STREAM frame of a packet."""


class SentRun:
    """Consecutive packets that differ only in their stream offset; or any one packet.

    first, last: packet numbers, inclusive.
    time: when they were sent.
    size, last_size: UDP payload bytes of each packet, and of the last one.
    stream: the owner of the stream bytes, None without; offset, length, fin: all bytes of the run;
        chunk: bytes in each packet but the last.
    tokens, more: other frames, only for runs of one packet.
    eliciting: it wants an ACK. Only such packets count as in flight.
    mtu_probe: losing it is no sign of congestion.
    ecn: it was marked ECT(0).
    """

    __slots__ = (
        "chunk",
        "ecn",
        "eliciting",
        "fin",
        "first",
        "last",
        "last_size",
        "length",
        "more",
        "mtu_probe",
        "offset",
        "size",
        "stream",
        "time",
        "tokens",
    )

    def __init__(
        self,
        first: int,
        last: int,
        time: float,
        size: int,
        last_size: int = 0,
        stream: StreamSink | None = None,
        offset: int = 0,
        chunk: int = 0,
        length: int = 0,
        fin: bool = False,
        tokens: tuple[Token, ...] = (),
        eliciting: bool = True,
        mtu_probe: bool = False,
        ecn: bool = False,
        more: tuple[Slice, ...] = (),
    ) -> None:
        self.first: int = first
        self.last: int = last
        self.time: float = time
        self.size: int = size
        self.last_size: int = last_size or size
        self.stream: StreamSink | None = stream
        self.offset: int = offset
        self.chunk: int = chunk
        self.length: int = length
        self.fin: bool = fin
        self.tokens: tuple[Token, ...] = tokens
        self.eliciting: bool = eliciting
        self.mtu_probe: bool = mtu_probe
        self.ecn: bool = ecn
        self.more: tuple[Slice, ...] = more

    def __repr__(self) -> str:
        return f"SentRun({self.first}..{self.last}, {self.offset}+{self.length})"

    def split(self, pn: int) -> "SentRun":
        """Cut before packet `pn` (first < pn <= last): keep the front, give the rest."""
        count = pn - self.first
        front = count * self.chunk
        rest = SentRun(
            pn,
            self.last,
            self.time,
            self.size,
            self.last_size,
            self.stream,
            self.offset + front,
            self.chunk,
            self.length - front,
            self.fin,
            (),
            self.eliciting,
            self.mtu_probe,
            self.ecn,
        )
        self.last = pn - 1
        self.last_size = self.size
        self.length = front
        self.fin = False
        return rest


def tell(runs: Iterable[SentRun], lost: bool) -> None:
    """Tell the owners of everything in `runs` that it arrived, or is lost.

    Neighbours of one stream are told in one call: an ACK often covers many runs of it.
    """
    sink: StreamSink | None = None
    start = end = 0
    fin = False
    for run in runs:
        stream = run.stream
        if stream is not None:
            if stream is sink and run.offset == end:
                end += run.length
                fin = run.fin
            else:
                if sink is not None:
                    _tell_slice(sink, start, end - start, fin, lost)
                sink, start, fin = stream, run.offset, run.fin
                end = start + run.length
        if run.tokens or run.more:
            for part, info in run.tokens:
                if lost:
                    part.on_lost(info)
                else:
                    part.on_acked(info)
            for other, offset, length, last in run.more:
                _tell_slice(other, offset, length, last, lost)
    if sink is not None:
        _tell_slice(sink, start, end - start, fin, lost)


def _tell_slice(sink: StreamSink, offset: int, length: int, fin: bool, lost: bool) -> None:
    if lost:
        sink.on_lost(offset, length, fin)
    else:
        sink.on_acked(offset, length, fin)
