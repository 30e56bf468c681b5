"""When rounds are started: triggers, the five seconds, and what bounds them."""

import pytest

from iroh.magicsock.remote_addrs import Source
from iroh.quic import path_events as pe
from iroh_base import SocketAddr

from .kit import OURS, RELAY, A, B, C, Net, arrive, commands_of, die, tell


@pytest.fixture
def net() -> Net:
    return Net()


def add_candidate(connection, addr) -> None:
    commands_of(connection).remote.append(addr)
    tell(connection, pe.RemoteCandidateAdded(addr))


def test_a_client_starts_at_once(net) -> None:
    connection = net.connect(RELAY)
    assert commands_of(connection).rounds == 1
    assert commands_of(connection).local == [OURS]
    assert net.metrics.holepunch_attempts == 1


def test_a_server_only_tells_its_candidates(net) -> None:
    connection = net.connect(RELAY, is_client=False)
    net.clock.advance(200)
    assert commands_of(connection).rounds == 0
    assert commands_of(connection).local == [OURS]


def test_new_candidates_of_the_peer_do_not_wait(net) -> None:
    connection = net.connect(RELAY)
    add_candidate(connection, A)
    assert commands_of(connection).rounds == 2


def test_own_new_addresses_do_not_wait_either(net) -> None:
    connection = net.connect(RELAY)
    net.direct.add_external(B)
    net.remote.direct_changed()
    assert commands_of(connection).local == [OURS, B]
    assert commands_of(connection).rounds == 2


def test_addresses_that_go_are_no_reason_to_hurry(net) -> None:
    connection = net.connect(RELAY)
    add_candidate(connection, A)
    commands_of(connection).remote.remove(A)
    tell(connection, pe.RemoteCandidateRemoved(A))
    assert commands_of(connection).rounds == 2
    arrive(connection, net, B, rtt=0.001)
    net.clock.advance(4.9)
    assert commands_of(connection).rounds == 2
    net.clock.advance(0.2)  # scheduled, not dropped
    assert commands_of(connection).rounds == 3


def test_a_flapping_candidate_is_slowed_down(net) -> None:
    """Upstream starts a round for each change."""
    connection = net.connect(RELAY)
    for turn in range(1000):
        commands_of(connection).remote = [A if turn % 2 else B]
        tell(connection, pe.RemoteCandidateAdded(A if turn % 2 else B))
        net.clock.advance(0.05)
    assert commands_of(connection).rounds < 18  # in 50 s
    commands_of(connection).remote = []
    net.clock.advance(20)
    before = commands_of(connection).rounds
    add_candidate(connection, C)
    assert commands_of(connection).rounds == before + 1, "and fast again after some quiet"


def test_without_an_address_of_ours_the_round_comes_with_the_first(net) -> None:
    net.direct.set_local([])
    connection = net.connect(RELAY)
    assert commands_of(connection).rounds == 0
    net.direct.set_local([OURS])
    net.remote.direct_changed()
    assert commands_of(connection).rounds == 1


def test_a_relayed_connection_tries_again_and_again_ever_more_seldom(net) -> None:
    connection = net.connect(RELAY)
    rounds = []
    for _ in range(40):
        net.clock.advance(5)
        rounds.append(commands_of(connection).rounds)
    assert rounds[0] == 2
    assert rounds[-1] == 7  # at 0, 5, 15, 35, 75, 135, 195
    net.clock.advance(600)
    assert commands_of(connection).rounds == 17


def test_a_slow_direct_path_is_looked_into_every_minute(net) -> None:
    connection = net.connect(A, rtt=0.050)
    net.clock.advance(59)
    assert commands_of(connection).rounds == 1
    net.clock.advance(120)
    assert commands_of(connection).rounds == 3


def test_a_quick_direct_path_is_left_alone(net) -> None:
    connection = net.connect(A, rtt=0.005)
    net.clock.advance(600)
    assert commands_of(connection).rounds == 1


def test_a_lost_direct_path_is_sought_at_once_and_often(net) -> None:
    connection = net.connect(RELAY)
    path_id = arrive(connection, net, A, rtt=0.001)
    net.clock.advance(300)
    before = commands_of(connection).rounds
    die(connection, path_id)
    assert commands_of(connection).rounds == before + 1
    net.clock.advance(5)
    assert commands_of(connection).rounds == before + 2


def test_the_oldest_connection_that_we_dialled_punches(net) -> None:
    theirs = net.connect(RELAY, is_client=False)
    first, second = net.connect(RELAY), net.connect(RELAY)
    net.clock.advance(60)
    assert commands_of(theirs).rounds == commands_of(second).rounds == 0
    assert commands_of(first).rounds > 1
    net.remote.detach(first)
    net.clock.advance(60)
    assert commands_of(second).rounds >= 1


def test_a_peer_without_nat_traversal_is_left_in_peace(net) -> None:
    connection = net.connect(RELAY)
    rounds = commands_of(connection).rounds
    commands_of(connection).is_nat_traversing = False
    net.remote.direct_changed()
    net.remote.add([SocketAddr("192.0.2.7", 1)], Source.LOOKUP)
    net.clock.advance(600)
    assert commands_of(connection).rounds == rounds
