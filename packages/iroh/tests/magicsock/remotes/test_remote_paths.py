"""Who opens paths, who closes them, and which one carries the data."""

import pytest

from iroh.magicsock.remote_addrs import Source, Status
from iroh.magicsock.remote_paths import MAX_TO_OPEN, OPEN_RETRY, RELAY_IDLE_TIMEOUT
from iroh.quic import path_events as pe
from iroh.quic.path_errors import PathCidsExhausted, PathIdsExhausted
from iroh_base import SocketAddr

from . import kit
from .kit import RELAY, RELAY_2, SIX, A, B, C, Net, answer, arrive, commands_of, die, statuses


@pytest.fixture
def net() -> Net:
    return Net()


def known(net: Net, addr) -> Status:
    return net.addrs.get(addr).status


# -- after the handshake --------------------------------------------------------------------------


def test_a_client_with_a_direct_path_opens_its_relays_as_backups(net) -> None:
    net.remote.add([A, RELAY, RELAY_2], Source.APP)
    connection = net.connect(A)
    assert commands_of(connection).said("open") == [
        (net.way(RELAY), False),
        (net.way(RELAY_2), False),
    ]
    answer(connection, 1, rtt=0.001)
    assert statuses(connection) == {0: True, 1: False, 2: False}
    assert net.paths.selected.remote == A
    assert commands_of(connection).said("idle") == [(1, RELAY_IDLE_TIMEOUT)]


def test_a_client_that_began_relayed_opens_nothing(net) -> None:
    net.remote.add([A, RELAY, RELAY_2], Source.APP)
    connection = net.connect(RELAY)
    assert commands_of(connection).said("open") == []
    assert commands_of(connection).said("idle") == [(0, RELAY_IDLE_TIMEOUT)]
    assert net.paths.selected.remote == RELAY
    assert connection.driver.inbox.remote == net.way(RELAY)


def test_a_server_opens_nothing(net) -> None:
    net.remote.add([A, B, RELAY], Source.APP)
    connection = net.connect(A, is_client=False)
    arrive(connection, net, B, rtt=0.001)
    assert commands_of(connection).said("open") == []


def test_a_relay_that_a_lookup_finds_later_is_opened(net) -> None:
    connection = net.connect(A)
    net.remote.add([RELAY], Source.LOOKUP)
    net.remote.add([RELAY_2], Source.LOOKUP)
    assert commands_of(connection).said("open") == [(net.way(RELAY), False)]


def test_ids_that_are_used_up_are_waited_for(net) -> None:
    net.remote.add([A], Source.APP)
    connection = net.connect(A)
    commands = commands_of(connection)
    commands.refuse = [PathCidsExhausted(), PathIdsExhausted()]
    net.remote.add([RELAY], Source.LOOKUP)
    assert commands.said("open") == []
    net.clock.advance(OPEN_RETRY)
    assert commands.said("open") == []
    net.clock.advance(OPEN_RETRY)
    assert commands.said("open") == [(net.way(RELAY), False)]
    net.clock.advance(10)
    assert len(commands.said("open")) == 1


def test_what_waits_for_an_id_is_bounded(net) -> None:
    connection = net.connect(RELAY)
    commands_of(connection).refuse = [PathIdsExhausted() for _ in range(1000)]
    for port in range(1, 500):
        net.paths.open(connection, SocketAddr("192.0.2.9", port))
    commands_of(connection).refuse = []
    net.clock.advance(OPEN_RETRY)
    assert len(commands_of(connection).said("open")) == MAX_TO_OPEN


def test_the_same_path_is_not_opened_twice(net) -> None:
    connection = net.connect(A)
    net.paths.open(connection, B)
    net.paths.open(connection, B)
    net.paths.open(connection, A)
    assert commands_of(connection).said("open") == [(B, False)]


# -- from relay to direct -------------------------------------------------------------------------


def test_relayed_then_direct(net) -> None:
    connection = net.connect(RELAY, rtt=0.001)
    arrive(connection, net, A, rtt=0.4)
    assert net.paths.selected.remote == A
    assert statuses(connection) == {0: False, 1: True}
    assert connection.driver.inbox.remote == A
    assert commands_of(connection).said("close") == [], "the relay is kept"


def test_the_client_closes_all_ip_paths_but_the_best(net) -> None:
    connection = net.connect(RELAY)
    for addr, rtt in ((A, 0.040), (B, 0.020), (C, 0.030)):
        arrive(connection, net, addr, rtt=rtt)
    assert commands_of(connection).said("close") == [(1,), (3,)]
    assert statuses(connection) == {0: False, 2: True}
    die(connection, 1, pe.AbandonReason.APPLICATION)
    assert known(net, A) is Status.INACTIVE
    assert net.punch.rounds == 0, "what we closed ourselves is not lost"


def test_the_server_closes_none(net) -> None:
    connection = net.connect(RELAY, is_client=False)
    for addr, rtt in ((A, 0.040), (B, 0.020)):
        arrive(connection, net, addr, rtt=rtt)
    assert commands_of(connection).said("close") == []
    assert statuses(connection) == {0: False, 1: False, 2: True}


def test_ipv6_wins_by_its_bias(net) -> None:
    connection = net.connect(A, rtt=0.020)
    arrive(connection, net, SIX, rtt=0.021)
    assert net.paths.selected.remote == A, "4 ms are no reason to move"
    arrive(connection, net, SocketAddr("2001:db8::2", 1), rtt=0.017)
    assert not net.paths.selected.remote.is_ipv4


def test_all_connections_share_the_path(net) -> None:
    first, second = net.connect(RELAY), net.connect(RELAY)
    arrive(first, net, A)
    assert commands_of(second).said("open") == [(A, True)]
    answer(second, 1)
    assert statuses(second) == statuses(first) == {0: False, 1: True}


def test_a_new_connection_joins_the_selected_path(net) -> None:
    first = net.connect(RELAY)
    arrive(first, net, A)
    second = net.connect(RELAY)
    assert commands_of(second).said("open") == [(A, True)]
    assert net.paths.selected.remote == A


# -- paths that end -------------------------------------------------------------------------------


def test_the_direct_path_dies_and_comes_back(net) -> None:
    connection = net.connect(RELAY)
    path_id = arrive(connection, net, A)
    die(connection, path_id)
    assert net.paths.selected.remote == RELAY
    assert statuses(connection) == {0: True}
    assert known(net, A) is Status.INACTIVE
    arrive(connection, net, A)
    assert net.paths.selected.remote == A
    assert known(net, A) is Status.OPEN


def test_an_address_is_open_while_any_connection_has_a_path_to_it(net) -> None:
    first, second = net.connect(A), net.connect(A)
    arrive(first, net, RELAY)
    die(first, 0)
    assert known(net, A) is Status.OPEN
    arrive(second, net, RELAY)
    die(second, 0)
    assert known(net, A) is Status.INACTIVE


def test_a_path_that_never_came_up_makes_its_address_unusable(net) -> None:
    net.remote.add([B], Source.APP)
    connection = net.connect(A)
    net.paths.open(connection, B)
    die(connection, 1)
    assert known(net, B) is Status.UNUSABLE
    assert net.paths.selected.remote == A


def test_a_peer_that_moves(net) -> None:
    connection = net.connect(A, is_client=False)
    commands_of(connection).change(0, remote=B)
    kit.tell(connection, pe.PathMoved(0, B))
    assert net.paths.selected.remote == B
    assert known(net, A) is Status.INACTIVE
    assert known(net, B) is Status.OPEN
    assert connection.driver.inbox.remote == B


def test_the_last_connection_takes_the_selection_with_it(net) -> None:
    first, second = net.connect(A), net.connect(RELAY)
    net.remote.detach(first)
    assert net.paths.selected.remote == RELAY
    net.remote.detach(second)
    assert net.paths.selected is None
    assert known(net, A) is Status.INACTIVE
    assert net.clock.pending() == 0, "no timer is left"


def test_events_of_paths_that_nobody_knows(net) -> None:
    connection = net.connect(A)
    die(connection, 9)
    kit.tell(connection, pe.PathMoved(9, B))
    kit.tell(connection, pe.PathEstablished(9, B))
    kit.tell(connection, pe.PathSilent(9, 4))
    assert net.paths.selected.remote == A


def test_a_lost_relay_path_is_opened_again(net) -> None:
    connection = net.connect(RELAY)
    arrive(connection, net, A)
    die(connection, 0)
    net.clock.advance(29)
    assert commands_of(connection).said("open") == []
    net.clock.advance(1)
    assert commands_of(connection).said("open") == [(net.way(RELAY), False)]


# -- peers of less ability ------------------------------------------------------------------------


def test_a_peer_without_multipath(net) -> None:
    driver = kit.Driver(is_client=True, multipath=False)
    stats = type("Stats", (), {"rtt": 0.01})
    single = type("Path", (), {"path_id": 0, "remote": A, "stats": stats})
    driver.connection.single = [single]
    connection = net.remote.attach(driver, 7)
    net.remote.add([RELAY], Source.LOOKUP)
    net.remote.direct_changed()
    net.remote.network_changed(True, lambda _path: True)
    assert net.paths.selected.remote == A
    assert driver.connection.pings == 1
    assert not connection.is_relayed


def test_network_changes_reach_every_connection(net) -> None:
    first, second = net.connect(A), net.connect(B, is_client=False)
    net.clock.advance(30)
    before = net.punch.last
    net.remote.network_changed(False, lambda _path: True)
    assert net.punch.last is before
    for connection in (first, second):
        assert len(commands_of(connection).said("network")) == 1
        assert commands_of(connection).said("ping") == [(0,)]
    net.remote.network_changed(True, lambda _path: True)
    assert net.punch.last is not before
