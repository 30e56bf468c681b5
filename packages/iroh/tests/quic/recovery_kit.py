"""A path with one packet number space, and what its packets report to."""

from iroh.quic.congestion import NewReno
from iroh.quic.recovery import PathRecovery, Recovery, SentRun

SIZE = 1200
CHUNK = 1000


class Sink:
    """Takes the reports of a stream, or of any other frame."""

    def __init__(self):
        self.acked, self.lost = [], []

    def on_acked(self, *what):
        self.acked.append(what)

    def on_lost(self, *what):
        self.lost.append(what)


class Sender:
    """A path with one space, and a stream that sends runs of new bytes."""

    def __init__(self, **settings):
        self.path = PathRecovery(NewReno(SIZE, 1_000_000))
        self.path.app_limited = True  # the window does not grow
        self.recovery = Recovery(self.path, **settings)
        self.sink = Sink()
        self.offset = 0

    def send(self, count: int, now: float, **settings) -> SentRun:
        first = self.recovery.next_pn(count)
        length = count * CHUNK
        run = SentRun(
            first, first + count - 1, now, SIZE, SIZE, self.sink, self.offset, CHUNK, length,
            **settings,
        )  # fmt: skip
        self.offset += length
        self.recovery.on_sent(run)
        return run

    def control(self, now: float, sink: Sink, info: object, **settings) -> None:
        pn = self.recovery.next_pn()
        self.recovery.on_sent(SentRun(pn, pn, now, SIZE, tokens=((sink, info),), **settings))

    def ack(self, now: float, *ranges: tuple[int, int], ecn=None, delay=0.0) -> int:
        return self.recovery.on_ack(list(ranges), delay, now, ecn)
