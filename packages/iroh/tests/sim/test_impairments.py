"""Whatever the network does, every byte arrives: in order, once, both ways, on many streams."""

import pytest

from iroh.quic.config import TransportConfig
from iroh.quic.errors import ApplicationClosed, LocallyClosed
from iroh.quic.events import DatagramReceived

from .engines import SEEDS
from .link import Conditions
from .pair import CLIENT, SERVER, Kinds, connect, hosts, join
from .traffic import content

BAD = {
    "clean": {},
    "no delay": {"delay": 0.0},
    "delay 300 ms": {"delay": 0.3},
    "loss 1 %": {"loss": 0.01},
    "loss 5 %": {"loss": 0.05},
    "loss 20 %": {"loss": 0.2},
    "bursts": {"burst": 0.01, "burst_length": 0.1},
    "jitter": {"jitter": 0.03},
    "reorder": {"reorder": 0.1, "reorder_by": 0.03},
    "duplicate": {"duplicate": 0.2},
    "corrupt": {"corrupt": 0.03},
    "marked": {"mark": 0.1},
    "slow, short queue": {"rate": 500_000, "queue": 20_000},
    "slow, long queue": {"rate": 500_000, "queue": 400_000},
    "all at once": {
        "loss": 0.05,
        "burst": 0.002,
        "jitter": 0.01,
        "reorder": 0.05,
        "duplicate": 0.05,
        "corrupt": 0.02,
        "rate": 1_000_000,
    },
}
MOST_SECONDS = 25.0
"""Virtual time for 300 kB each way; a fifth of it is what the worst of them needs."""


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", BAD)
def test_every_byte_arrives(kinds, name, seed):
    pair = connect(kinds, Conditions(**BAD[name]), seed=seed, quantum=0.001)
    pair.traffic.send(0, 150_000, answer=150_000)
    pair.traffic.send(1, 50_000, answer=50_000, streams=2)
    pair.traffic.send(0, 50_000)
    pair.traffic.send(1, 50_000)
    pair.transfer(MOST_SECONDS)
    pair.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_many_streams_on_a_bad_network(kinds, seed):
    """More streams than either side may hold open at once."""
    few = TransportConfig(max_concurrent_bidi_streams=20, max_concurrent_uni_streams=5)
    conditions = Conditions(loss=0.05, jitter=0.01)
    pair = connect(kinds, conditions, seed=seed, client=few, server=few)
    for side in (0, 1):
        pair.traffic.send(side, 700, answer=1_300, streams=60)
        pair.traffic.send(side, 300, streams=20)
    pair.transfer()
    assert len(pair.traffic.flows) == 2 * (2 * 60 + 20)


def test_small_windows_do_not_hang(kinds):
    """A window of little more than a packet, and a stream that waits for another's credit."""
    tight = TransportConfig(stream_receive_window=3_000, receive_window=4_000, send_window=5_000)
    pair = connect(kinds, Conditions(loss=0.05), client=tight, server=tight)
    pair.traffic.send(0, 20_000, answer=20_000, streams=3)
    pair.transfer()


@pytest.mark.parametrize("seed", range(10 * SEEDS))
def test_handshakes_survive_30_percent_loss(kinds, seed):
    pair = connect(kinds, Conditions(loss=0.3, delay=0.015), seed=seed)
    assert pair.sim.now - 1000.0 < 20
    pair.close()


@pytest.mark.parametrize("lost", range(6))
@pytest.mark.parametrize("side", [0, 1])
def test_any_datagram_of_the_handshake_may_be_lost(kinds, side, lost):
    """The first `lost` datagrams of a side pass, the next two do not."""
    sim, client, server = hosts(kinds)
    link = sim.network.both(CLIENT, SERVER)[side]
    seen = 0
    carry = link.carry

    def lose(data, ecn, now):
        nonlocal seen
        seen += 1
        return [] if lost < seen <= lost + 2 else carry(data, ecn, now)

    link.carry = lose
    pair = join(sim, kinds, client, server)
    pair.traffic.send(0, 5_000, answer=5_000)
    pair.transfer(10.0)


# -- holes and outages --------------------------------------------------------------------------


def test_an_mtu_that_was_small_from_the_start(kinds):
    """1200 bytes is what every path must carry (RFC 9000 section 14)."""
    pair = connect(kinds, Conditions(mtu=1200))
    pair.traffic.send(0, 200_000, answer=200_000)
    assert pair.transfer(30.0) < 10
    pair.close()


def test_an_mtu_black_hole_in_mid_connection(kinds):
    pair = connect(kinds, Conditions(mtu=1452))
    pair.sim.sleep(2.0)  # let it find the larger size, if it looks for it
    pair.traffic.send(0, 400_000, answer=400_000)
    pair.sim.at(0.05, lambda: setattr(pair.sim.network.conditions, "mtu", 1200))
    pair.transfer(60.0)
    pair.close()


@pytest.mark.parametrize("delay", [0.005, 0.02, 0.05])
def test_an_mtu_black_hole_under_a_full_window(delay):
    """The probes of a timeout are small enough to pass: four rounds of them, and it goes on."""
    kinds = Kinds.of("multipath")
    pair = connect(kinds, Conditions(mtu=1452, delay=delay, rate=2_500_000))
    pair.sim.sleep(2.0)
    pair.traffic.send(0, 2_500_000)
    pair.sim.at(0.5, lambda: setattr(pair.sim.network.conditions, "mtu", 1280))
    assert pair.transfer(60.0) < 3.0
    assert pair.client.connection.paths()[0].stats.current_mtu == 1200
    pair.close()


@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)], ids=["up", "down", "both"])
def test_an_outage_of_five_seconds(kinds, sides):
    """Everything vanishes for a while; afterwards it goes on soon, and nothing is lost."""
    pair = connect(kinds)
    sim = pair.sim
    pair.traffic.send(0, 200_000, answer=200_000)
    sim.sleep(0.05)
    links = [sim.network.both(CLIENT, SERVER)[side] for side in sides]
    for link in links:
        link.conditions = Conditions(is_up=False)
    sim.sleep(5.0)
    for link in links:
        link.conditions = sim.network.conditions
    assert not pair.traffic.is_done
    assert pair.transfer(30.0) < 6.0
    pair.close()


def test_an_outage_beyond_the_idle_timeout_ends_both(kinds):
    """Nobody hangs on: both say TimedOut, both come to rest."""
    pair = connect(kinds)
    pair.traffic.send(0, 200_000)
    pair.sim.sleep(0.05)
    pair.sim.network.conditions.is_up = False
    start = pair.sim.now
    pair.sim.settle(120.0)
    for end, _ in pair.sides:
        assert end.closed is not None
        assert end.closed.kind == "TimedOut"
        assert 29.0 < end.closed_at - start < 60.0
    pair.check_forgotten()


def test_a_tail_that_is_lost_comes_again_soon(kinds):
    pair = connect(kinds)
    pair.sim.sleep(1.0)
    up, _ = pair.sim.network.both(CLIENT, SERVER)
    up.orders.drop = 1
    pair.traffic.send(0, 100)
    assert pair.transfer(5.0) < 0.5


# -- closing, datagrams -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "conditions", [{}, {"loss": 0.2}, {"duplicate": 0.5, "reorder": 0.3}], ids=str
)
def test_a_close_is_heard_in_the_middle_of_traffic(kinds, conditions):
    pair = connect(kinds, Conditions(**conditions))
    pair.traffic.send(0, 300_000, answer=300_000)
    pair.sim.sleep(0.1)
    pair.server.close(42, b"enough")
    pair.sim.settle(120.0)
    assert pair.server.closed == LocallyClosed(42, b"enough")
    assert pair.client.closed == ApplicationClosed(42, b"enough")
    pair.check_forgotten()


@pytest.mark.parametrize("name", ["clean", "loss 20 %", "reorder", "duplicate", "corrupt"])
def test_datagrams_come_whole_once_or_never(kinds, name):
    pair = connect(kinds, Conditions(**BAD[name]))
    got = []
    pair.server.listeners.append(
        lambda event: got.append(event.data) if isinstance(event, DatagramReceived) else None
    )
    size = pair.client.connection.max_datagram_size()
    assert size is not None
    assert size > 1000
    sent = [
        number.to_bytes(4, "big") + content(number, 0, number % (size - 4)) for number in range(200)
    ]
    for number, data in enumerate(sent):
        pair.sim.at(number * 0.002, lambda data=data: pair.client.send_datagram(data))
    pair.sim.sleep(3.0)
    assert len(set(got)) == len(got)
    assert set(got) <= set(sent)
    assert len(got) >= {"loss 20 %": 120, "corrupt": 170}.get(name, 200)
    pair.check_healthy()


def test_routers_that_drop_marked_packets(kinds):
    """Where ECN-capable packets vanish, ECN is given up and the rest arrives unmarked."""
    if kinds.client.name != "multipath":
        return  # only ours marks
    pair = connect(kinds, Conditions(drop_marked=True))
    pair.traffic.send(0, 200_000)
    pair.transfer(MOST_SECONDS)
    assert not pair.client.connection._p.paths.get(0).recovery.path.ecn
    assert pair.sim.network.fates()["marked, dropped"] > 0


def test_ecn_stays_on_where_it_works(kinds):
    if kinds.client.name != "multipath" or kinds.server.name != "multipath":
        return
    pair = connect(kinds, Conditions(loss=0.2))
    pair.traffic.send(0, 200_000)
    pair.transfer(MOST_SECONDS)
    path = pair.client.connection._p.paths.get(0).recovery.path
    assert path.ecn
    assert not path.ecn_unproven


def test_the_mtu_is_found_while_there_is_always_more_to_send(kinds):
    if kinds.client.name != "multipath":
        return
    pair = connect(kinds, Conditions(delay=0.02, rate=1e6))
    pair.traffic.send(0, 1_000_000)
    pair.sim.run(lambda: pair.traffic.received > 400_000)
    assert pair.client.connection.paths()[0].stats.current_mtu == 1452
    pair.transfer(MOST_SECONDS)
