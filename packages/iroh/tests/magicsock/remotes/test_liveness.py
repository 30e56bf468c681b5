"""Paths that stop answering are left soon, and come back when they answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from iroh.magicsock.remote_addrs import Source
from iroh.quic import path_events as pe

from .kit import PEER, RELAY, RELAY_2, A, B, C, Net, arrive, commands_of, die, statuses, tell


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    """A remote on a running loop, for its lookups."""
    net = Net()
    yield net
    net.remote.stop()
    task = net.remote.lookup.cancel()
    if task is not None:
        await asyncio.wait((task,))


def hush(connection, path_id, timeouts) -> None:
    """Let probe timeouts go by."""
    commands_of(connection).change(path_id, unanswered=timeouts)
    tell(connection, pe.PathSilent(path_id, timeouts))


async def test_a_dead_direct_path_is_left_for_the_relay(net) -> None:
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 2)
    hush(connection, direct, 3)
    assert net.paths.selected.remote == A, "it may be loss"
    net.clock.advance(0.5)
    assert net.paths.selected.remote == RELAY
    assert statuses(connection) == {0: True, direct: False}
    assert commands_of(connection).said("elsewhere") == [(direct,)]
    assert commands_of(connection).said("close") == []


async def test_a_path_that_answers_in_time_is_kept(net) -> None:
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 3)
    commands_of(connection).change(direct, unanswered=0)
    net.clock.advance(10)
    assert net.paths.selected.remote == A
    assert commands_of(connection).said("elsewhere") == []


async def test_it_is_pinged_and_taken_again_when_it_answers(net) -> None:
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 3)
    net.clock.advance(5)
    challenges = commands_of(connection).said("challenge")
    assert set(challenges) == {(0,), (direct,)}
    assert len(challenges) <= 2 * 12
    commands_of(connection).change(direct, unanswered=0)
    net.clock.advance(0.5)
    assert net.paths.selected.remote == A
    challenges = len(commands_of(connection).said("challenge"))
    net.clock.advance(60)
    assert len(commands_of(connection).said("challenge")) == challenges, "nothing is watched"


async def test_the_answer_to_a_challenge_is_enough(net) -> None:
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 3)
    net.clock.advance(5)
    assert net.paths.selected.remote == RELAY
    commands_of(connection).change(direct, answered=net.clock.time())
    net.clock.advance(0.5)
    assert net.paths.selected.remote == A


async def test_two_timeouts_are_enough_if_nothing_follows(net) -> None:
    """Challenges put the next probe timeout off."""
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 2)
    net.clock.advance(1)
    assert net.paths.selected.remote == A
    net.clock.advance(0.5)
    assert net.paths.selected.remote == RELAY


async def test_missing_acks_of_a_path_that_answers_do_not_matter(net) -> None:
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 5)
    for _ in range(10):
        commands_of(connection).change(direct, answered=net.clock.time())
        net.clock.advance(0.5)
    assert net.paths.selected.remote == A


async def test_a_suspect_that_is_abandoned_is_forgotten(net) -> None:
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 3)
    net.clock.advance(1)
    die(connection, direct)
    assert not connection.suspects
    assert not connection.silent
    assert net.paths.selected.remote == RELAY


async def test_a_suspect_way_is_suspect_for_all_connections(net) -> None:
    first, second = net.connect(RELAY), net.connect(RELAY)
    direct = arrive(first, net, A)
    arrive(second, net, A)
    hush(first, direct, 3)
    net.clock.advance(1)
    assert net.paths.selected.remote == RELAY
    assert statuses(second)[0] is True


async def test_a_single_dead_path_stays_selected_and_dials_go_everywhere(net) -> None:
    net.remote.add([A, B], Source.APP)
    connection = net.connect(A)
    assert list(net.remote.targets(())) == [A]
    hush(connection, 0, 3)
    net.clock.advance(1)
    assert net.paths.selected.remote == A
    assert list(net.remote.targets(())) == [A, B]
    assert commands_of(connection).said("elsewhere") == [], "there is no elsewhere"


async def test_a_client_without_a_path_tries_everything_within_bounds(net) -> None:
    connection = net.connect(A)
    net.clock.advance(30)
    commands, rounds = commands_of(connection), commands_of(connection).rounds
    net.remote.addrs.add([RELAY, RELAY_2, B, C], Source.APP, net.clock.time())
    hush(connection, 0, 3)
    net.clock.advance(0.5)
    opened = [remote for remote, _available in commands.said("open")]
    assert opened == [net.path_address(PEER, RELAY), net.path_address(PEER, RELAY_2)]
    assert commands.rounds == rounds + 1
    await asyncio.sleep(0)
    assert net.lookups == 1
    net.clock.advance(9)
    assert commands.rounds <= rounds + 6
    assert len(commands.views()) <= 6


async def test_a_new_path_takes_what_was_on_its_way(net) -> None:
    connection = net.connect(A)
    hush(connection, 0, 3)
    net.clock.advance(1)
    arrive(connection, net, RELAY)
    assert commands_of(connection).said("elsewhere") == [(0,)]
    assert net.paths.selected.remote == RELAY


async def test_a_server_without_a_path_pings_and_waits(net) -> None:
    net.remote.add([B, RELAY], Source.APP)
    connection = net.connect(A, is_client=False)
    hush(connection, 0, 3)
    net.clock.advance(20)
    commands = commands_of(connection)
    assert commands.said("open") == []
    assert commands.rounds == 0
    assert 15 <= len(commands.said("challenge")) <= 45
    commands.change(0, unanswered=0)
    net.clock.advance(1)
    assert not net.paths.is_suspect


async def test_a_peer_that_leaves_a_path_makes_us_look(net) -> None:
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    tell(connection, pe.PathStatusChanged(direct, False))
    assert commands_of(connection).said("ping") == [(0,), (direct,)]


async def test_what_is_on_its_way_over_a_dead_relay_is_fetched_back(net) -> None:
    """The direct path fails, the relay takes over and fails, too; then the direct one answers."""
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 3)
    net.clock.advance(1)
    assert net.paths.selected.remote == RELAY
    hush(connection, 0, 3)
    net.clock.advance(1)
    assert net.paths.selected.remote == A, "both are dead: the better one is tried"
    assert commands_of(connection).said("elsewhere") == [(direct,), (0,)]
    commands_of(connection).change(direct, unanswered=0)
    net.clock.advance(5)
    assert net.paths.selected.remote == A
    assert commands_of(connection).said("elsewhere") == [(direct,), (0,)], "once"
    commands_of(connection).change(0, unanswered=0)
    net.clock.advance(1)
    assert not connection.suspects
    assert not net.paths.is_suspect


async def test_a_peer_that_sends_its_acks_over_a_dead_path_is_told(net) -> None:
    """A Rust peer does so until that path has been silent for 15 s."""
    connection = net.connect(RELAY, is_client=False)
    commands, direct = commands_of(connection), arrive(connection, net, A)
    hush(connection, direct, 3)
    net.clock.advance(0.5)
    assert set(commands.said("challenge")) == {(0,), (direct,)}
    for _ in range(5):  # the relay answers challenges, but no ACK comes
        hush(connection, 0, 3)
        commands.change(0, answered=net.clock.time())
        net.clock.advance(0.5)
        assert net.paths.selected.remote == RELAY
    assert commands.said("close") == [(direct,)]
    assert commands.said("elsewhere")[-1] == (0,), "or the word of it would not get out"


async def test_a_path_is_not_given_up_for_one_that_is_dead_too(net) -> None:
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 3)
    hush(connection, 0, 3)
    net.clock.advance(10)
    assert commands_of(connection).said("close") == []
    assert net.paths.selected.remote == A


async def test_a_path_is_not_given_up_while_the_other_is_heard(net) -> None:
    """The peer follows us to the relay: the direct path may come back as it is."""
    connection = net.connect(RELAY)
    direct = arrive(connection, net, A)
    hush(connection, direct, 3)
    for _ in range(20):
        commands_of(connection).change(0, answered=net.clock.time())
        net.clock.advance(0.5)
    assert commands_of(connection).said("close") == []
    assert net.paths.selected.remote == RELAY
