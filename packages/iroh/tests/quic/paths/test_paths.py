"""Paths while they live: who may open them, proof, choice, status."""

import itertools

import pytest
from paths_kit import CLIENT, CLIENT_2, MAX_PATH_ID, SERVER, SERVER_2, World, over, violation

from iroh.quic.frames import (
    MaxPathId,
    NewConnectionId,
    PathAbandon,
    PathCidsBlocked,
    PathResponse,
    PathsBlocked,
    PathStatus,
)
from iroh.quic.frames.multipath import UNSTABLE_OR_POOR
from iroh.quic.local_cids import UNOPENED
from iroh.quic.path_errors import (
    MultipathDisabled,
    PathCidsExhausted,
    PathGone,
    PathIdsExhausted,
    ServerCannotOpen,
)
from iroh.quic.path_events import (
    AbandonReason,
    PathAbandoned,
    PathClosed,
    PathEstablished,
    PathStatusChanged,
)


@pytest.fixture
def world():
    world = World()
    world.settle()
    assert world.client.names() == world.server.names() == []
    return world


# -- opening -----------------------------------------------------------------------------------


def test_the_ids_after_the_handshake(world):
    for end, other in ((world.client, world.server), (world.server, world.client)):
        assert [len(end.mp.local_cids.cids(n)) for n in range(8)] == [5] + [UNOPENED] * 7
        assert other.mp.remote_cids.spare(7) == UNOPENED
    # The server is off the client's first id, which has no reset token (noq).
    assert world.server.mp.remote_cids.active_seq(0) == 1
    assert world.client.mp.remote_cids.active_seq(0) == 0


def test_only_the_ids_after_the_first_are_sent_for_path_0():
    world = World()
    frames = [f for packet in world.client.transmit(0.0) for f in packet.frames()]
    ids = [(f.path_id, f.seq) for f in frames if isinstance(f, NewConnectionId)]
    assert len(ids) == 4 + 7 * UNOPENED
    assert set(ids) == {(0, n) for n in range(1, 5)} | {
        (p, n) for p in range(1, 8) for n in range(UNOPENED)
    }
    for path_id in range(1, 8):
        assert [n for p, n in ids if p == path_id] == list(range(UNOPENED))


def test_an_open_path_has_all_its_ids(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    for end in (world.client, world.server):
        assert [len(end.mp.local_cids.cids(n)) for n in range(3)] == [5, 5, UNOPENED]


def test_who_is_blocked_gets_all_ids(world):
    path = world.server.mp.paths.get(0)
    world.server.mp.handle(PathCidsBlocked(3, UNOPENED), path, over(CLIENT), 0.0)
    assert len(world.server.mp.local_cids.cids(3)) == 5
    world.server.mp.handle(PathCidsBlocked(3, 5), path, over(CLIENT), 0.0)
    assert len(world.server.mp.local_cids.cids(3)) == 5


def test_the_client_opens_and_both_prove(world):
    path_id = world.open(SERVER, CLIENT_2)
    assert path_id == 1
    path = world.client.mp.paths.get(1)
    assert not path.validated
    assert world.client.mp.choice.best().path_id == 0
    world.settle()
    assert world.client.events() == [PathEstablished(1, SERVER)]
    assert world.server.events() == [PathEstablished(1, CLIENT_2)]
    assert path.validated
    assert world.server.mp.paths.get(1).validated
    assert world.client.owner.answered == [(1, 0.0)]
    challenges = [p for p in world.client.sent if p.payload[0] == 0x1A]
    assert [p.size for p in challenges] == [1200]
    assert challenges[0].cid in [
        cid for cid, path_id in world.server.routes.items() if path_id == 1
    ]


def test_the_server_may_not_open(world):
    with pytest.raises(ServerCannotOpen):
        world.server.mp.paths.open(CLIENT, None, True, 0.0)


def test_a_client_drops_packets_of_paths_it_did_not_open(world):
    assert world.client.mp.paths.prospect(1, SERVER, None) is None
    assert not world.client.mp.migration.accepts(1, SERVER, CLIENT)
    assert world.server.mp.migration.accepts(1, CLIENT, SERVER)


def test_no_paths_before_the_handshake_is_complete(world):
    world.server.mp.paths.established = False
    assert world.server.mp.paths.prospect(1, CLIENT, None) is None
    assert not world.server.mp.migration.accepts(1, CLIENT, SERVER)


def test_a_prospect_that_was_not_authentic_leaves_no_trace(world):
    table = world.server.mp.paths
    prospect = table.prospect(3, CLIENT_2, None)
    assert prospect.path_id == 3
    assert table.get(3) is None
    assert table.ids.is_open(3)
    table.admit(prospect, 0.0)
    table.admit(prospect, 0.0)
    assert table.get(3) is prospect


def test_without_multipath():
    world = World(max_path_id=None)
    world.settle()
    client = world.client.mp
    for call in (
        lambda: client.paths.open(SERVER, None, True, 0.0),
        lambda: client.paths.abandon(0, 0, 0.0),
        lambda: client.statuses.set(0, False),
    ):
        with pytest.raises(MultipathDisabled):
            call()
    assert client.next_timeout() == float("inf")  # idle and keep-alive are the connection's
    assert client.remote_cids.spare(0) == 4
    for frame in (
        PathAbandon(0, 0),
        PathStatus(0, 1, True),
        MaxPathId(9),
        PathsBlocked(0),
        PathCidsBlocked(0, 0),
        NewConnectionId(1, 0, b"12345678", bytes(16), 0),
    ):
        violation(world.client, frame)


def test_the_same_way_as_a_proven_path_needs_no_proof(world):
    path_id = world.open(SERVER, None)
    client = world.client.mp.paths.get(path_id)
    assert client.validated
    assert world.client.owner.siblings[path_id].path_id == 0
    assert world.client.names() == []
    world.settle()
    assert world.client.names() == world.server.names() == ["PathEstablished"]


def test_the_status_it_was_opened_with_is_not_told(world):
    path_id = world.open(SERVER, CLIENT_2, available=False)
    world.settle()
    assert not world.client.mp.paths.get(path_id).available
    assert world.server.mp.paths.get(path_id).available
    assert world.server.mp.paths.get(path_id).remote_available is None


def test_blocked_by_the_limit_of_ids(world):
    for _ in range(MAX_PATH_ID):
        world.open()
    with pytest.raises(PathIdsExhausted):
        world.open()
    sent = [f for packet in world.client.transmit(0.0) for f in packet.frames()]
    assert PathsBlocked(MAX_PATH_ID) in sent


def test_blocked_by_the_lack_of_connection_ids():
    world = World()
    world.filter = lambda packet: packet.end is world.client
    world.turn()
    with pytest.raises(PathCidsExhausted):
        world.open()
    assert world.client.mp.ids.take_frames(0.0, 100)[-1][0] == PathCidsBlocked(1, 0)
    world.filter = lambda packet: True
    world.settle()
    world.open()


def test_a_server_without_ids_for_the_clients_path_says_so():
    world = World()
    world.filter = lambda packet: packet.end is world.server
    world.turn()  # the client's ids are lost
    world.open(SERVER, CLIENT_2)
    probe = world.client.mp.take_probes(0.0)[0]
    payload = probe.frames[0][0].encode()
    world.filter = lambda packet: True
    packet = world.client._send(probe.cid, CLIENT_2, SERVER, payload, 1200, [])
    assert world.server.receive(packet, 0.0)
    assert world.server.mp.choice.best().path_id == 0
    assert world.server.mp.take_probes(0.0) == []
    frames = [frame for frame, _ in world.server.mp.ids.take_frames(0.0, 1000)]
    assert PathCidsBlocked(1, 0) in frames
    world.settle()  # and now they come
    assert "PathEstablished" in world.server.names()


# -- proving -----------------------------------------------------------------------------------


def test_challenges_back_off_and_do_not_give_up_before_the_path_is_idle(world):
    path_id = world.open(SERVER, CLIENT_2)
    world.client.mp.paths.get(path_id).keep_alive = None
    world.filter = lambda packet: packet.source != CLIENT_2
    world.settle()
    world.run(14.0)
    times = [packet.at for packet in world.dropped if packet.payload[0] == 0x1A]
    gaps = [round(b - a, 3) for a, b in itertools.pairwise(times)]
    assert gaps[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]  # without max_ack_delay, at most 2 s
    world.run(2.0)
    events = world.client.events()
    assert events[0] == PathAbandoned(1, SERVER, AbandonReason.TIMED_OUT, UNSTABLE_OR_POOR)
    assert world.client.mp.choice.best().path_id == 0
    # The server never heard of the path, yet it answers: the id is used up on both sides.
    assert events[1:] == [PathClosed(1, SERVER)]
    assert world.client.mp.ids.peer_max == MAX_PATH_ID + 1
    assert world.open() == 2


def test_a_response_proves_where_its_challenge_went_whatever_way_it_comes(world):
    world.open(SERVER, CLIENT_2)
    (probe,) = world.client.mp.take_probes(0.0)
    data = probe.frames[0][0].data
    path0 = world.client.mp.paths.get(0)
    world.client.mp.handle(PathResponse(data), path0, over(SERVER_2, CLIENT), 0.25)
    assert world.client.events() == [PathEstablished(1, SERVER)]
    assert world.client.owner.answered == [(1, 0.25)]
    world.client.mp.handle(PathResponse(data), path0, over(SERVER, CLIENT), 0.5)  # a copy
    world.client.mp.handle(PathResponse(bytes(8)), path0, over(SERVER, CLIENT), 0.5)  # nobody's
    assert len(world.client.owner.answered) == 1


def test_an_old_challenge_of_the_same_path_counts_as_well(world):
    world.open(SERVER, CLIENT_2)
    first = world.client.mp.take_probes(0.0)[0].frames[0][0].data
    world.client.mp.handle_timeout(0.2)
    assert world.client.mp.take_probes(0.2)[0].frames[0][0].data != first
    assert world.client.mp.paths.on_response(first, 0.3).path_id == 1


def test_the_server_is_held_to_three_times_until_the_address_is_proven(world):
    world.open(SERVER, CLIENT_2)
    packet, *_ = world.client.transmit(0.0)
    packet.size = 100
    world.server.receive(packet, 0.0)
    path = world.server.mp.paths.get(1)
    assert path.can_send(300)
    assert not path.can_send(301)
    (probe,) = world.server.mp.take_probes(0.0)
    assert [type(f).__name__ for f, _ in probe.frames] == ["PathChallenge", "PathResponse"]
    assert not probe.pad  # 1200 would be too much
    data = probe.frames[0][0].data
    world.server.mp.timers.on_sent(path, 250, True, 0.0)
    world.server.mp.paths.on_response(data, 0.1)
    assert path.validated
    # A second validation, now with 1200 bytes (RFC 9000 section 8.2.1), but only so often.
    tries = 0
    for step in range(100):
        now = 0.1 + step
        world.server.mp.handle_timeout(now)
        for probe in world.server.mp.take_probes(now):
            tries += 1
            assert probe.pad
    assert tries == 3


def test_a_server_out_of_credit_sends_no_challenge(world):
    world.open(SERVER, CLIENT_2)
    packet, *_ = world.client.transmit(0.0)
    packet.size = 19
    world.server.receive(packet, 0.0)
    assert world.server.mp.take_probes(0.0) == []
    packet.size = 1200
    world.server.receive(packet, 0.0)
    assert len(world.server.mp.take_probes(0.0)) == 1


# -- choosing ----------------------------------------------------------------------------------


def test_the_lowest_available_path_is_the_best(world):
    world.open(SERVER, CLIENT_2)
    world.open(SERVER_2, CLIENT)
    world.settle()
    choice, statuses = world.client.mp.choice, world.client.mp.statuses

    def ids():
        return [path.path_id for path in choice.usable()]

    assert ids() == [0, 1, 2]
    statuses.set(0, False)
    assert ids() == [1, 2]
    statuses.set(1, False)
    assert ids() == [2]
    statuses.set(2, False)
    assert ids() == [0, 1, 2]
    statuses.set(1, True)
    assert choice.best().path_id == 1
    path_1 = world.client.mp.paths.get(1)
    path_2 = world.client.mp.paths.get(2)
    assert choice.best_for_acks(path_1) is path_1
    assert choice.best_for_acks(path_2) is path_1
    world.client.mp.paths.abandon(1, 0, 0.0)
    assert choice.best().path_id == 0
    assert choice.best_for_acks(path_1).path_id == 0


def test_an_unproven_path_carries_only_the_end(world):
    world.open(SERVER_2, CLIENT_2)
    world.client.mp.paths.get(0).validated = False
    choice = world.client.mp.choice
    assert choice.best() is None
    assert choice.best_for_acks(world.client.mp.paths.get(0)) is None
    assert choice.best_for_close().path_id == 0


def test_in_the_handshake_there_is_path_0(world):
    world.server.mp.paths.established = False
    world.server.mp.paths.get(0).validated = False
    assert world.server.mp.choice.best().path_id == 0


# -- status ------------------------------------------------------------------------------------


def test_changes_of_status_are_told_in_order(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.server.events()
    world.client.mp.statuses.set(1, False)
    world.client.mp.statuses.set(1, False)
    world.settle()
    assert world.server.events() == [PathStatusChanged(1, False)]
    path = world.server.mp.paths.get(1)
    assert (path.remote_available, path.remote_status_seq) == (False, 1)
    assert path.available  # ours stays ours
    world.client.mp.statuses.set(1, True)
    world.client.mp.statuses.set(1, False)
    world.client.mp.statuses.set(1, True)
    frames = [f for p in world.client.transmit(0.0) for f in p.frames()]
    assert [f for f in frames if isinstance(f, PathStatus)] == [PathStatus(1, 4, True)]


def test_a_status_that_goes_backwards_is_ignored(world):
    path = world.server.mp.paths.get(0)
    handle = world.server.mp.handle
    for seq, available in ((5, False), (4, True), (5, True), (0, True)):
        handle(PathStatus(0, seq, available), path, over(CLIENT), 0.0)
    assert path.remote_available is False
    assert path.remote_status_seq == 5
    assert world.server.events() == [PathStatusChanged(0, False)]
    handle(PathStatus(0, 6, False), path, over(CLIENT), 0.0)
    assert world.server.events() == []


def test_a_lost_status_is_told_again_unless_it_changed(world):
    world.client.mp.statuses.set(0, False)
    packet, *_ = world.client.transmit(0.0)
    packet.lost()
    (again,) = world.client.transmit(0.0)
    assert PathStatus(0, 1, False) in again.frames()
    world.client.mp.statuses.set(0, True)
    world.client.transmit(0.0)
    again.lost()
    assert world.client.transmit(0.0) == []


def test_status_of_paths_that_are_not(world):
    with pytest.raises(PathGone):
        world.client.mp.statuses.set(1, False)
    violation(world.server, PathStatus(MAX_PATH_ID + 1, 0, True))
    path = world.server.mp.paths.get(0)
    world.server.mp.handle(PathStatus(3, 0, True), path, over(CLIENT), 0.0)
    assert world.server.events() == []


# -- ids that come with a path --------------------------------------------------------------------


def test_a_path_brings_its_ids_along():
    """Found at random: who has no id of a path cannot answer on it, and nobody ever proves it."""
    world = World()
    world.filter = lambda packet: packet.source != CLIENT  # the client's ids are lost,
    world.client.mp.local_cids.take_frames(0.0, 10_000)
    for packet in world.server.transmit(0.0):
        world.deliver(packet)
    world.open(SERVER, CLIENT_2)
    world.client.mp.paths.abandon(0, 0, 0.0)  # and the path that would carry them again is left
    world.settle()
    assert world.client.mp.paths.get(1).validated
    assert world.client.names()[-1] == "PathEstablished"
