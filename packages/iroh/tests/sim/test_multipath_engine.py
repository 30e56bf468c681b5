"""What only the multipath engine can: moving clients, several paths, key updates on demand.

Pairs: the multipath engine with itself, and with aioquic where plain QUIC is enough.
"""

import pytest

from iroh.quic.config import TransportConfig
from iroh.quic.errors import ApplicationClosed, LocallyClosed
from iroh.quic.events import PathChanged
from iroh.quic.path_events import PathAbandoned, PathClosed, PathEstablished, PathMoved

from .link import Conditions
from .pair import CLIENT, SERVER, Kinds, Pair, connect, hosts, join
from .traffic import Traffic

SECOND = ("10.1.0.1", 1000)
SECOND_SERVER = ("10.1.0.2", 2000)
BOTH = Kinds.of("multipath-multipath")


@pytest.fixture(params=["multipath-multipath", "multipath-aioquic", "aioquic-multipath"])
def plain(request):
    """Give the pairs in which at least one end is the multipath engine."""
    return Kinds.of(request.param)


def behind_nat(kinds, conditions=None, *, seed=0, **config):
    """Connect through a NAT in front of the client."""
    sim, client, server = hosts(kinds, conditions, seed=seed, **config)
    nat = sim.network.nat(CLIENT, "192.0.2.1")
    return join(sim, kinds, client, server), nat


def two_paths(conditions=None, *, seed=0, is_backup=False, **config):
    """Connect over one path and open a second one between other addresses."""
    sim, client, server = hosts(
        BOTH,
        conditions,
        seed=seed,
        client_addresses=(CLIENT, SECOND),
        server_addresses=(SERVER, SECOND_SERVER),
        **config,
    )
    pair = join(sim, BOTH, client, server)
    sim.sleep(1.0)
    open_path(pair, is_backup=is_backup)
    sim.run(lambda: all(end.seen[PathEstablished] for end, _ in pair.sides), 10.0)
    return pair


def open_path(pair, *, is_backup=False):
    engine = pair.kinds.client
    engine.can.open_path(pair.client.connection, SECOND_SERVER, SECOND, is_backup, pair.sim.now)
    pair.client.touch()


def links(pair, *ends):
    """Give both directions of each of these ways."""
    return [link for one, other in ends for link in pair.sim.network.both(one, other)]


def blackhole(pair, *ends):
    for link in links(pair, *ends):
        link.conditions = Conditions(is_up=False)


def path_ids(end):
    return [path.path_id for path in end.connection.paths()]


# -- moving -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
def test_a_client_is_rebound_in_the_middle_of_a_transfer(loss, seed):
    """The server follows as soon as it hears from the new port, and nothing is lost."""
    pair, nat = behind_nat(BOTH, Conditions(loss=loss), seed=seed)
    pair.sim.sleep(0.5)
    pair.traffic.send(0, 200_000, answer=200_000)
    pair.traffic.send(1, 100_000)
    for at in (0.03, 0.2, 0.21):
        pair.sim.at(at, nat.rebind)
    pair.transfer(30.0)
    pair.sim.sleep(3.0)
    assert [path.remote for path in pair.server.connection.paths()] == [nat.outward(SERVER)]
    assert pair.server.seen[PathMoved]
    pair.close()


def test_a_client_that_is_rebound_while_idle_is_found_again():
    """The client's keep-alive shows the server where it is."""
    pair, nat = behind_nat(BOTH)
    pair.sim.sleep(3.0)
    nat.rebind()
    pair.sim.run(lambda: pair.server.seen[PathChanged], 12.0)
    pair.traffic.send(1, 50_000, answer=50_000)
    assert pair.transfer(5.0) < 2.0
    pair.close()


def test_rebound_for_ever_is_no_growth():
    """Each move costs an id; there is always another, and nothing piles up."""
    pair, nat = behind_nat(BOTH)
    pair.sim.sleep(0.5)
    counts = []
    for _ in range(25):
        nat.rebind()
        pair.traffic.send(0, 2_000, answer=2_000)
        pair.transfer(10.0)
        pair.sim.sleep(1.0)
        counts.append(tuple(end.host.endpoint.remembered() for end, _ in pair.sides))
    assert len(set(counts[5:])) == 1
    pair.close()


# -- several paths ------------------------------------------------------------------------------


def test_a_second_path_is_proven_by_both_and_closed_by_either():
    for side in (0, 1):
        pair = two_paths(seed=side)
        assert path_ids(pair.client) == path_ids(pair.server) == [0, 1]
        end, engine = pair.sides[side]
        engine.can.close_path(end.connection, 0, 77, pair.sim.now)
        end.touch()
        pair.traffic.send(0, 100_000, answer=100_000)
        pair.transfer(10.0)
        pair.sim.run(lambda p=pair: all(e.seen[PathClosed] for e, _ in p.sides), 10.0)
        assert path_ids(pair.client) == path_ids(pair.server) == [1]
        pair.close()


@pytest.mark.parametrize("side", [0, 1])
def test_a_path_that_dies_in_the_middle_of_a_transfer(side):
    """It is given up after its idle timeout; what was in flight there goes over the other."""
    pair = two_paths(Conditions(loss=0.01))
    pair.traffic.send(side, 300_000, answer=300_000)
    pair.sim.at(0.05, lambda: blackhole(pair, (CLIENT, SERVER)))
    pair.transfer(40.0)
    pair.sim.run(lambda: path_ids(pair.client) == path_ids(pair.server) == [1], 20.0)
    pair.close()


def test_a_path_that_is_left_because_it_is_dead_swallows_no_more_data():
    """Long before its idle timeout: its probes are pings, and what was in flight goes elsewhere."""
    pair = two_paths(Conditions(rate=500_000))
    before = []

    def sent():
        return pair.client.connection.paths()[0].stats.udp_tx_bytes

    def leave():
        blackhole(pair, (CLIENT, SERVER))
        before.append(sent())
        for end, _ in pair.sides:
            commands = end.connection.path_commands
            commands.set_status(0, available=False)
            commands.send_elsewhere(0)
            commands.ping(0)
            end.touch()

    pair.traffic.send(0, 3_000_000)
    pair.sim.at(0.05, leave)
    pair.transfer(10.0)
    view = pair.client.connection.path_commands.view(0)
    assert view.unanswered > 2
    assert sent() - before[0] < 1000
    pair.close()


def test_data_goes_where_the_status_says():
    pair = two_paths(is_backup=True)
    pair.traffic.send(0, 100_000)
    pair.transfer(10.0)
    first, second = (path.stats.udp_tx_bytes for path in pair.client.connection.paths())
    assert first > 100_000 > second
    for path_id, is_backup in ((1, False), (0, True)):
        pair.kinds.client.can.set_path_status(pair.client.connection, path_id, is_backup)
    pair.client.touch()
    pair.traffic.send(0, 100_000)
    pair.transfer(10.0)
    after, second = (path.stats.udp_tx_bytes for path in pair.client.connection.paths())
    assert second > 100_000
    assert after - first < 20_000
    pair.close()


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_paths_that_come_and_go_for_ever(loss):
    """Path ids are given anew, and nothing of the old paths stays."""
    pair = two_paths(Conditions(loss=loss))
    engine, client = pair.kinds.client, pair.client
    counts = []
    for turn in range(12):
        newest = path_ids(client)[-1]
        engine.can.close_path(client.connection, newest, 1, pair.sim.now)
        client.touch()
        pair.sim.run(lambda: len(path_ids(pair.server)) == 1, 20.0)
        pair.sim.run(lambda n=turn: all(end.seen[PathClosed] > n for end, _ in pair.sides), 30.0)
        pair.sim.sleep(2.0)
        open_path(pair)
        pair.sim.run(lambda: len(path_ids(pair.server)) == 2, 20.0)
        pair.sim.sleep(2.0)
        counts.append(max(end.host.endpoint.remembered() for end, _ in pair.sides))
    assert max(counts[6:]) <= max(counts[:6]) + 4
    for end, _ in pair.sides:
        assert set(end.connection._p.keys._phase_first) <= set(path_ids(end))
    assert client.seen[PathAbandoned] == 12
    pair.traffic.send(0, 10_000, answer=10_000)
    pair.transfer(20.0)
    pair.close()


# -- key updates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "conditions", [{}, {"loss": 0.1}, {"reorder": 0.2, "jitter": 0.02}], ids=str
)
def test_key_updates_from_both_sides(plain, conditions):
    pair = connect(plain, Conditions(**conditions))
    pair.traffic.send(0, 300_000, answer=300_000)
    for at in range(1, 40):
        end, engine = pair.sides[at % 2]

        def update(end=end, engine=engine):
            if end.closed is None and engine.can.force_key_update is not None:
                engine.can.force_key_update(end.connection)
                end.touch()

        pair.sim.at(at * 0.04, update)
    pair.transfer(60.0)
    pair.sim.sleep(3.0)
    pair.traffic.send(1, 30_000)
    pair.transfer(10.0)
    pair.close()


def test_both_update_keys_at_the_same_instant():
    pair = connect(BOTH)
    pair.sim.sleep(1.0)
    for _ in range(10):
        for end, engine in pair.sides:
            engine.can.force_key_update(end.connection)
            end.touch()
        pair.traffic.send(0, 3_000, answer=3_000)
        pair.transfer(5.0)
        pair.sim.sleep(2.0)
    pair.close()


# -- the beginning and the end ------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("after", [0.0, 0.005, 0.011, 0.02, 0.021, 0.03])
@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_close_during_the_handshake_is_heard(plain, side, after, loss):
    """Both learn it, and both come to rest."""
    sim, client, server = hosts(plain, Conditions(loss=loss), seed=int(after * 1000))
    dialled = client.dial(server.key, SERVER, [b"sim/1"])
    sim.sleep(after)
    if side and not server.accepted:
        return
    end = server.accepted[-1] if side else dialled
    was_connected = end.connected
    end.close(5, b"no")
    server.endpoint.set_accepting(False)  # else one that heard nothing of it begins anew
    sim.settle(200.0)
    assert end.closed == LocallyClosed(5, b"no")
    assert dialled.drained
    for other in server.accepted:
        assert other.drained
        assert other.closed is not None
        if not loss and not side and was_connected:
            assert other.closed == ApplicationClosed(5, b"no")
    assert dialled.closed is not None
    if not loss:
        assert dialled.closed.kind != "TimedOut"
    assert not client.ends
    assert not server.ends


@pytest.mark.parametrize("seed", range(6))
def test_a_handshake_with_retry_under_loss(plain, seed):
    """A server that wants every address proven first."""
    sim, client, server = hosts(plain, Conditions(loss=0.2 if seed else 0.0), seed=seed)
    server.auto_accept = False
    dialled = client.dial(server.key, SERVER, [b"sim/1"])
    retried = 0
    while not dialled.connected:
        assert sim.step(before=1030.0), sim.story()
        while server.incoming:
            incoming = server.incoming.pop(0)
            if incoming.remote_validated:
                server.accept(incoming)
            else:
                incoming.retry(sim.now)
                server.flush()
                retried += 1
    assert retried
    pair = Pair(sim, plain, dialled, server.accepted[-1], Traffic(dialled, server.accepted[-1]))
    pair.traffic.send(0, 5_000, answer=5_000)
    pair.transfer(20.0)
    pair.close()


def test_a_dial_that_nobody_answers_ends_by_itself():
    sim, client, server = hosts(BOTH, Conditions(is_up=False))
    end = client.dial(server.key, SERVER, [b"sim/1"])
    sim.settle(100.0)
    assert end.closed is not None
    assert end.closed.kind == "TimedOut"
    assert 29.0 < end.closed_at - 1000.0 < 40.0
    assert client.endpoint.remembered() == 0


@pytest.mark.parametrize("side", [0, 1])
def test_an_end_that_forgot_everything_resets_the_other(side):
    """A stateless reset ends the connection at once."""
    pair = connect(BOTH)
    pair.sim.sleep(2.0)
    gone, stays = (pair.client, pair.server) if side == 0 else (pair.server, pair.client)
    gone.host.ends.pop(gone.connection)
    gone.host.endpoint.forget(gone.connection)
    stays.connection.ping()
    stays.touch()
    pair.sim.run(lambda: stays.drained, 5.0)
    assert stays.closed.kind == "Reset"


def test_a_quiet_connection_lives_by_its_keep_alive_and_costs_little():
    pair = connect(BOTH)
    pair.sim.sleep(5.0)
    before = pair.sim.network.sent
    pair.sim.sleep(300.0)
    assert 60 <= pair.sim.network.sent - before <= 60 * 5
    pair.check_healthy()
    pair.close()


def test_without_keep_alive_a_quiet_connection_ends():
    quiet = TransportConfig(keep_alive_interval=None, max_idle_timeout=10.0)
    pair = connect(Kinds.of("multipath-aioquic"), client=quiet, server=quiet)
    start = pair.sim.now
    pair.sim.settle(60.0)
    assert pair.client.closed.kind == pair.server.closed.kind == "TimedOut"
    assert pair.client.closed_at - start < 13.0
    pair.check_forgotten()


def test_datagrams_while_the_only_path_moves():
    """Their size does not fall to nothing while the new address is unproven (found at random)."""
    pair, nat = behind_nat(BOTH)
    engine = pair.kinds.client
    pair.sim.sleep(1.0)
    engine.can.open_path(pair.client.connection, SERVER, None, False, pair.sim.now)
    pair.client.touch()
    pair.sim.run(lambda: path_ids(pair.server) == [0, 1], 5.0)
    engine.can.close_path(pair.client.connection, 0, 1, pair.sim.now)
    pair.client.touch()
    pair.sim.run(lambda: pair.server.seen[PathClosed], 10.0)
    nat.rebind()
    pair.client.connection.ping()
    pair.client.touch()
    for _ in range(20):
        pair.sim.step()
        for end, _ in pair.sides:
            assert end.connection.max_datagram_size() > 1000
    pair.close()
