"""The ends of paths: abandoning, limits of path ids, idle timeouts and keep-alives."""

import pytest
from paths_kit import CLIENT, CLIENT_2, MAX_PATH_ID, PTO, SERVER, World, over, token_of, violation

from iroh.quic.errors import NO_VIABLE_PATH, PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames import (
    MaxPathId,
    NewConnectionId,
    PathAbandon,
    PathCidsBlocked,
    PathsBlocked,
    PathStatus,
)
from iroh.quic.local_cids import UNOPENED
from iroh.quic.path_errors import LastPath, PathGone
from iroh.quic.path_events import AbandonReason, PathAbandoned, PathClosed


@pytest.fixture
def world():
    world = World()
    world.settle()
    assert world.client.names() == world.server.names() == []
    return world


# -- abandoning --------------------------------------------------------------------------------


def test_both_sides_abandon_drain_and_make_room(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.forget_events()
    world.client.mp.paths.abandon(1, 77, world.now)
    world.settle()
    assert world.client.events() == [PathAbandoned(1, SERVER, AbandonReason.APPLICATION, 77)]
    assert world.server.events() == [PathAbandoned(1, CLIENT_2, AbandonReason.PEER, 77)]
    assert world.client.owner.abandoned == world.server.owner.abandoned == [1]
    assert 1 not in world.client.mp.remote_cids
    assert 1 not in world.server.mp.remote_cids
    # Late packets still find the path.
    assert len(world.server.mp.local_cids.cids(1)) == 5
    drained = 3 * (PTO + 0.025)
    assert world.client.mp.next_timeout() == pytest.approx(drained)
    world.run(drained + 0.001)
    assert world.client.events() == [PathClosed(1, SERVER)]
    assert world.server.events() == [PathClosed(1, CLIENT_2)]
    assert world.server.mp.local_cids.cids(1) == []
    for end in (world.client, world.server):
        assert (end.mp.ids.local_max, end.mp.ids.peer_max) == (8, 8)
        assert len(end.mp.local_cids.cids(8)) == UNOPENED
        assert end.owner.discarded == [1]
        assert end.mp.ids._leaving == {}


def test_an_id_is_never_used_again(world):
    for expected in range(1, 30):
        assert world.open(SERVER, CLIENT_2) == expected
        world.settle()
        world.client.mp.paths.abandon(expected, 0, world.now)
        world.settle()
        world.run(1.0)
    for end in (world.client, world.server):
        assert end.mp.ids.local_max == MAX_PATH_ID + 29
        assert len(end.mp.ids._open) == MAX_PATH_ID + 1
        assert len(end.mp.paths.all()) == 1
        assert len(end.routes) == 5 + 7 * UNOPENED


def test_the_last_path_is_not_abandoned_locally(world):
    with pytest.raises(LastPath):
        world.client.mp.paths.abandon(0, 0, 0.0)
    with pytest.raises(PathGone):
        world.client.mp.paths.abandon(1, 0, 0.0)
    world.open()
    world.client.mp.paths.abandon(0, 0, 0.0)
    with pytest.raises(PathGone):
        world.client.mp.paths.abandon(0, 0, 0.0)
    with pytest.raises(LastPath):
        world.client.mp.paths.abandon(1, 0, 0.0)


def test_the_last_path_abandoned_by_the_peer(world):
    path = world.server.mp.paths.get(0)
    world.server.mp.handle(PathAbandon(0, 9), path, over(CLIENT), 0.0)
    # With no other path, the answer goes over the abandoned one itself.
    (probe,) = world.server.mp.take_probes(0.0)
    assert [frame for frame, _ in probe.frames] == [PathAbandon(0, 9)]
    assert (probe.on_path, probe.pad, probe.remote) == (True, False, CLIENT)
    assert world.server.mp.take_probes(0.0) == []
    grace = 3 * (3 * 0.333 + 0.025)
    world.server.mp.handle_timeout(grace - 0.01)
    with pytest.raises(PeerError) as error:
        world.server.mp.handle_timeout(grace)
    assert error.value.code == NO_VIABLE_PATH
    assert world.server.mp.next_timeout() == float("inf")


def test_a_new_path_ends_the_grace(world):
    path = world.server.mp.paths.get(0)
    world.server.mp.handle(PathAbandon(0, 9), path, over(CLIENT), 0.0)
    world.open(SERVER, CLIENT_2)
    for packet in world.client.transmit(0.0):
        world.deliver(packet)
    world.server.mp.handle_timeout(5.0)
    assert [p.path_id for p in world.server.mp.paths] == [1]


@pytest.mark.parametrize("rescued", [True, False])
def test_both_give_up_what_the_other_keeps(world, rescued):
    """Neither gave up its last path, and none is left: the client has a moment to open one."""
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.client.mp.paths.abandon(0, 0, 0.0)
    world.server.mp.paths.abandon(1, 0, 0.0)
    for packet in [*world.client.transmit(0.0), *world.server.transmit(0.0)]:
        world.deliver(packet)
    assert not list(world.client.mp.paths)
    assert not list(world.server.mp.paths)
    if rescued:
        assert world.open(SERVER, CLIENT_2) == 2
        world.run(100.0)
        assert [end.mp.choice.best().path_id for end in (world.client, world.server)] == [2, 2]
        return
    for end in (world.client, world.server):
        with pytest.raises(PeerError) as error:
            end.mp.handle_timeout(4.0)
        assert error.value.code == NO_VIABLE_PATH


def test_an_abandon_that_was_lost_is_sent_again(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.client.mp.paths.abandon(1, 3, 0.0)
    (packet,) = world.client.transmit(0.0)
    assert packet.frames() == [PathAbandon(1, 3)]
    packet.lost()
    (packet,) = world.client.transmit(0.0)
    assert packet.frames() == [PathAbandon(1, 3)]


def test_abandoning_an_id_that_was_never_used(world):
    """The client's packets never came, or a server refuses: the id ends all the same."""
    path = world.server.mp.paths.get(0)
    world.server.mp.handle(PathAbandon(5, 1), path, over(CLIENT), 0.0)
    assert world.server.mp.local_cids.cids(5) == []
    assert 5 not in world.server.mp.remote_cids
    assert world.server.events() == []
    frames = [f for p in world.server.transmit(0.0) for f in p.frames()]
    assert frames[0] == PathAbandon(5, 1)
    assert MaxPathId(8) in [*frames, *(f for p in world.server.transmit(0.0) for f in p.frames())]
    assert world.server.mp.paths.prospect(5, CLIENT_2, None) is None
    world.server.mp.handle(PathAbandon(5, 1), path, over(CLIENT), 0.0)
    assert world.server.mp.ids.local_max == 8


def test_the_client_skips_an_id_that_the_server_ended(world):
    path = world.client.mp.paths.get(0)
    world.client.mp.handle(PathAbandon(1, 1), path, over(SERVER), 0.0)
    assert world.open() == 2


def test_ids_above_the_limit(world):
    above = MAX_PATH_ID + 1
    for frame in (
        PathAbandon(above, 0),
        PathStatus(above, 0, False),
        PathsBlocked(above),
        PathCidsBlocked(above, 0),
        NewConnectionId(0, 0, b"12345678", bytes(16), above),
        PathCidsBlocked(0, 6),
        PathCidsBlocked(7, UNOPENED + 1),
    ):
        violation(world.server, frame)
    path = world.server.mp.paths.get(0)
    for frame in (PathsBlocked(MAX_PATH_ID), PathCidsBlocked(7, UNOPENED), PathCidsBlocked(0, 0)):
        world.server.mp.handle(frame, path, over(CLIENT), 0.0)


def test_the_peers_limit_only_grows(world):
    path = world.client.mp.paths.get(0)
    for limit in (9, 3, 9, 2**32 - 1):
        world.client.mp.handle(MaxPathId(limit), path, over(SERVER), 0.0)
    assert world.client.mp.ids.peer_max == 2**32 - 1
    assert world.client.mp.ids.usable_max == MAX_PATH_ID  # ours holds
    assert world.client.mp.local_cids.next_seq(8) is None


def test_connection_ids_for_an_abandoned_path_are_ignored(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.client.mp.paths.abandon(1, 0, 0.0)
    path = world.client.mp.paths.get(0)
    late = NewConnectionId(5, 5, b"12345678", token_of(b"x"), 1)
    world.client.mp.handle(late, path, over(SERVER), 0.0)
    assert world.client.mp.remote_cids.active_seq(1) == 0


def test_acks(world):
    table = world.client.mp.paths
    assert table.for_ack(None, 2).path_id == 0
    assert table.for_ack(0, 0x3E).path_id == 0
    for path_id in (1, 8):
        with pytest.raises(PeerError) as error:
            table.for_ack(path_id, 0x3E)
        assert error.value.code == PROTOCOL_VIOLATION
    world.open()
    assert table.for_ack(1, 0x3E).path_id == 1
    world.settle()
    table.abandon(1, 0, world.now)
    assert table.for_ack(1, 0x3E).path_id == 1
    world.settle()
    world.run(1.0)
    assert table.for_ack(1, 0x3E) is None
    world = World(max_path_id=None)
    with pytest.raises(PeerError):
        world.client.mp.paths.for_ack(0, 0x3E)
    assert world.client.mp.paths.for_ack(None, 2).path_id == 0


# -- time --------------------------------------------------------------------------------------


def test_keep_alives_keep_both_paths(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.forget_events()
    world.run(120.0)
    assert world.client.names() == world.server.names() == []
    assert len(list(world.client.mp.paths)) == 2


def test_a_silent_path_is_abandoned_the_last_one_is_not(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.forget_events()
    world.filter = lambda packet: CLIENT_2 not in (packet.source, packet.target)
    world.run(21.0)  # the last packet came at 5 s at the latest
    reasons = [e.reason for e in world.client.events() if isinstance(e, PathAbandoned)]
    assert reasons in ([AbandonReason.TIMED_OUT], [AbandonReason.PEER])
    world.filter = lambda packet: False
    world.run(200.0)
    assert [p.path_id for p in world.client.mp.paths] == [0]
    assert world.client.names() in ([], ["PathClosed"])


def test_idle_timeout_and_keep_alive_can_be_set_per_path(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    timers = world.client.mp.timers
    path = world.client.mp.paths.get(1)
    timers.set_idle_timeout(1, 30.0, 1.0)
    assert path.idle_deadline == 31.0
    timers.set_idle_timeout(1, 0.001, 1.0)
    assert path.idle_deadline == pytest.approx(1.0 + 3 * (PTO + 0.025))
    timers.set_idle_timeout(1, None, 1.0)
    timers.set_keep_alive(1, None, 1.0)
    assert path.next_deadline() == float("inf")
    timers.set_keep_alive(1, 2.0, 1.0)
    assert path.keep_alive_deadline == 3.0
    for call in (timers.set_idle_timeout, timers.set_keep_alive):
        with pytest.raises(PathGone):
            call(9, 1.0, 0.0)


def test_only_the_first_eliciting_packet_after_a_received_one_rearms_idle(world):
    path, timers = world.client.mp.paths.get(0), world.client.mp.timers
    timers.on_received(path, SERVER, 100, 10.0)
    timers.on_sent(path, 100, False, 11.0)
    assert path.idle_deadline == 25.0
    timers.on_sent(path, 100, True, 12.0)
    timers.on_sent(path, 100, True, 13.0)
    assert path.idle_deadline == 27.0
    assert path.keep_alive_deadline == 18.0
    timers.on_received(path, SERVER, 100, 14.0)
    assert path.idle_deadline == 29.0


def test_the_only_path_that_ever_worked_is_not_given_up_for_others_that_may_not(world):
    """Found by the simulation: the peer, which has no other, would end the connection."""
    path_id = world.open(SERVER, CLIENT_2)
    world.filter = lambda packet: False  # nothing arrives any more
    world.run(16.0)
    assert world.client.mp.paths.get(0).is_live()
    assert not world.client.mp.paths.get(path_id).is_live()


def test_the_only_path_that_ever_worked_goes_when_another_is_proven(world):
    world.open(SERVER, CLIENT_2)
    world.filter = lambda packet: CLIENT_2 in (packet.source, packet.target) and world.now > 10.0
    world.run(40.0)
    assert [path.path_id for path in world.client.mp.paths] == [1]
