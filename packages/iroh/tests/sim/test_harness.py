"""The harness itself: a run can be repeated, and an engine that does wrong is found."""

import pytest

from iroh.quic import events as ev
from iroh.quic.datagrams import Datagrams

from .engines import PAIRS
from .host import End
from .link import Conditions
from .pair import Kinds, connect


@pytest.fixture
def kinds():
    """One pair is enough: it is the harness that is tested."""
    return Kinds.of(PAIRS[0])


def run(kinds, seed):
    """A run on a bad network, as numbers: each decides the next, so a difference stays."""
    bad = Conditions(loss=0.05, jitter=0.01, reorder=0.05, duplicate=0.05)
    pair = connect(kinds, bad, seed=seed)
    pair.traffic.send(0, 100_000, answer=100_000)
    pair.traffic.send(1, 1_000, answer=1_000, streams=20)
    pair.transfer()
    return pair.sim.network.digest, pair.sim.steps, pair.sim.now


def test_a_seed_repeats_a_run(kinds):
    first = run(kinds, seed=3)
    assert run(kinds, seed=3) == first
    assert run(kinds, seed=4) != first


def test_a_failure_tells_its_seed(kinds):
    pair = connect(kinds, seed=77)
    with pytest.raises(AssertionError, match=r"(?s)1\.0 virtual seconds.*seed 77.* -> "):
        pair.sim.run(lambda: False, 1.0)


# -- the driver's own checks ----------------------------------------------------------------------


class Broken:
    """A connection that does not know when to stop."""

    is_client = True

    def __init__(self, endless):
        self.endless = endless

    def events(self):
        return []

    def transmit(self, now):
        return [Datagrams("nowhere", b"x")] if self.endless == "transmit" else []

    def next_timeout(self):
        return 0.0 if self.endless == "timer" else None

    def handle_timeout(self, now):
        pass


@pytest.mark.parametrize("endless", ["transmit", "timer"])
def test_an_engine_that_never_ends_is_found(kinds, endless):
    pair = connect(kinds)
    host, broken = pair.client.host, Broken(endless)
    host.ends[broken] = End(host, broken)
    host.ends[broken].touch()
    with pytest.raises(AssertionError, match=r"never ends|without end"):
        pair.sim.sleep(1.0)


# -- sabotage: what an engine must not do --------------------------------------------------------


def forget(kind):
    """Let the server's engine keep every event of a kind to itself."""

    def sabotage(connection):
        events = connection.events
        connection.events = lambda: [event for event in events() if type(event) is not kind]

    return sabotage


def repeat(kind):
    """Let it say everything of a kind twice."""

    def sabotage(connection):
        events = connection.events
        connection.events = lambda: [
            event for event in events() for _ in range(2 if type(event) is kind else 1)
        ]

    return sabotage


def change_reading(change):
    """Let it change what it gives out."""

    def sabotage(connection):
        read = connection.read
        connection.read = lambda stream_id, limit: change(read(stream_id, limit))

    return sabotage


SABOTAGE = {
    "forgets readers": forget(ev.StreamReadable),
    "forgets writers": forget(ev.StreamWritable),
    "forgets who waits for a stream": forget(ev.StreamsAvailable),
    "forgets that all arrived": forget(ev.StreamFinished),
    "opens twice": repeat(ev.StreamOpened),
    "finishes twice": repeat(ev.StreamFinished),
    "drops the last byte": change_reading(lambda data: data[:-1] if data else data),
    "changes a byte": change_reading(lambda data: b"\x00" + data[1:] if data else data),
    "swaps halves": change_reading(lambda d: d[len(d) // 2 :] + d[: len(d) // 2] if d else d),
    "ends too soon": change_reading(lambda data: data or None),
}


@pytest.mark.parametrize("fault", SABOTAGE)
def test_a_fault_is_found(kinds, fault):
    pair = connect(kinds)
    SABOTAGE[fault](pair.server.connection)
    pair.traffic.send(1, 2_000_000)
    pair.traffic.send(0, 100_000, answer=100_000, streams=2)
    pair.traffic.send(1, 100, streams=120)
    with pytest.raises(AssertionError):
        pair.transfer(40.0)
