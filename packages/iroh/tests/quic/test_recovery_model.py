"""Recovery against a model that keeps one record per packet: random sends, ACKs, losses, time."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.quic.congestion import Cubic
from iroh.quic.recovery import NEVER, PathRecovery, Recovery, SentRun

CHUNK = 3


@dataclass
class Packet:
    """What the model knows of a packet."""

    time: float
    size: int
    eliciting: bool
    stream: int
    offsets: range


@dataclass
class Stream:
    """Wants every byte reported exactly once."""

    number: int
    sent: int = 0
    acked: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)

    def on_acked(self, offset: int, length: int, fin: bool) -> None:
        self._report(self.acked, offset, length, fin)

    def on_lost(self, offset: int, length: int, fin: bool) -> None:
        self._report(self.lost, offset, length, fin)

    def _report(self, where: set[int], offset: int, length: int, fin: bool) -> None:
        reported = set(range(offset, offset + length))
        assert len(reported) == length
        assert not reported & (self.acked | self.lost), "reported twice"
        assert offset >= 0
        assert offset + length <= self.sent
        assert fin == (FIN_EVERY in {1 + at // CHUNK % FIN_EVERY for at in [offset + length - 1]})
        where.update(reported)


FIN_EVERY = 1_000_000  # no run ever ends a stream here: fin is always False


class Model:
    """The real thing and the naive one side by side."""

    def __init__(self, skips: bool) -> None:
        self.path = PathRecovery(Cubic(1200, 1 << 30))
        seed = iter(range(1, 10_000))
        rng = (lambda n: (next(seed) * 0x9E3779B97F4A7C15 % 2**64).to_bytes(n)) if skips else None
        self.real = Recovery(self.path, rng=rng)
        self.streams = [Stream(n) for n in range(3)]
        self.packets: dict[int, Packet] = {}  # outstanding
        self.received: set[int] = set()  # what the peer has
        self.acked: set[int] = set()
        self.lost: set[int] = set()
        self.largest = -1
        self.now = 1.0

    def send(self, count: int, stream: int, odd: int, eliciting: bool) -> None:
        owner = self.streams[stream]
        first = self.real.next_pn(count)
        rest = 1 + odd % CHUNK
        length = (count - 1) * CHUNK + rest if eliciting else 0
        run = SentRun(
            first, first + count - 1, self.now, 1200, 1200 - odd,
            owner if eliciting else None, owner.sent, CHUNK, length, eliciting=eliciting,
        )  # fmt: skip
        for n in range(count):
            size = 1200 if n < count - 1 else 1200 - odd
            end = min(owner.sent + (n + 1) * CHUNK, owner.sent + length)
            bytes_ = range(owner.sent + n * CHUNK, end) if eliciting else range(0)
            self.packets[first + n] = Packet(self.now, size, eliciting, stream, bytes_)
        owner.sent += length
        self.real.on_sent(run)

    def deliver(self, every: int, phase: int) -> None:
        """The network delivers what is outstanding, but for every n-th packet."""
        self.received.update(pn for pn in self.packets if (pn + phase) % every)

    def ack(self, limit: int) -> None:
        """The peer acknowledges its newest ranges."""
        ranges: list[tuple[int, int]] = []
        for pn in sorted(self.received, reverse=True):
            if ranges and ranges[-1][0] == pn + 1:
                ranges[-1] = (pn, ranges[-1][1])
            elif len(ranges) < limit:
                ranges.append((pn, pn))
            else:
                break
        if not ranges:
            return
        covered = {pn for a, b in ranges for pn in range(a, b + 1)}
        newly = covered & self.packets.keys()
        self.largest = max(self.largest, ranges[0][1])
        count = self.real.on_ack(ranges, 0.0, self.now)
        assert count == len(newly)
        self._take(newly, self.acked)
        if newly:
            self._detect()

    def timer(self) -> None:
        due = self.path.next_timeout()
        if due == NEVER:
            return
        self.now = max(self.now, due)
        kind = self.real.on_timeout(self.now)
        assert kind, "a timer fires for a reason"
        if kind == "loss":
            self._detect()
        else:
            self.send(1, 0, 0, True)
            self.real.probes = 0

    def _detect(self) -> None:
        patience = self.real.reordering
        delay = self.path.rtt.loss_delay() * patience.patience
        late = {
            pn
            for pn, packet in self.packets.items()
            if pn < self.largest
            and (
                pn <= self.largest - self.real.reordering.packet_threshold
                or packet.time + delay <= self.now
            )
        }
        self._take(late, self.lost)
        waiting = [packet.time + delay for pn, packet in self.packets.items() if pn < self.largest]
        assert self.real.loss_time == min(waiting, default=NEVER)

    def _take(self, numbers: set[int], where: set[int]) -> None:
        where.update(numbers)
        for pn in numbers:
            packet = self.packets.pop(pn)
            reports = self.streams[packet.stream]
            told = reports.acked if where is self.acked else reports.lost
            assert told.issuperset(packet.offsets)

    def check(self) -> None:
        in_flight = sum(packet.size for packet in self.packets.values() if packet.eliciting)
        assert self.path.bytes_in_flight == in_flight
        assert self.real.outstanding() == len(self.packets)
        assert self.real._firsts == [run.first for run in self.real._runs]
        silent = sum(not packet.eliciting for packet in self.packets.values())
        assert self.real._silent == silent
        assert self.path.lost_packets == len(self.lost)
        assert sum(len(s.acked) + len(s.lost) for s in self.streams) == sum(
            s.sent for s in self.streams
        ) - sum(len(packet.offsets) for packet in self.packets.values())
        assert (self.path.next_timeout() < NEVER) == bool(in_flight or self.real.loss_time < NEVER)


steps = st.one_of(
    st.tuples(
        st.just("send"), st.integers(1, 12), st.integers(0, 2), st.integers(0, 9), st.booleans()
    ),
    st.tuples(st.just("deliver"), st.integers(2, 9), st.integers(0, 8)),
    st.tuples(st.just("ack"), st.integers(1, 6)),
    st.tuples(st.just("wait"), st.integers(1, 60)),
    st.just(("timer",)),
)


@settings(max_examples=300)
@given(st.booleans(), st.lists(steps, max_size=50))
def test_every_byte_is_reported_once(skips, program):
    model = Model(skips)
    for what, *how in program:
        if what == "wait":
            model.now += how[0] / 1000
        elif what == "send":
            # Runs that elicit nothing are single ACKs in life; here they are runs as well.
            model.send(*how[:3], eliciting=how[3] or how[2] > 3)
        else:
            getattr(model, what)(*how)
        model.check()
    for _ in range(3):
        model.now += 0.1
        model.deliver(1 << 30, 1)
        model.ack(1000)
        model.check()
    assert model.path.bytes_in_flight == 0
    assert all(len(s.acked) + len(s.lost) == s.sent for s in model.streams)
    model.real.requeue_all()
    assert model.real.next_timeout() == NEVER
