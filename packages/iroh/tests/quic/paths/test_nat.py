"""n0's NAT traversal: candidates, rounds, the probes' clock, wrong sides, limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths_kit import CLIENT, CLIENT_2, SERVER, SERVER_2, World, over, rng_of

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames import AddAddress, PathChallenge, PathResponse, ReachOut, RemoveAddress
from iroh.quic.nat import MAX_TO_OPEN, NatTraversal, canonical, is_probeable
from iroh.quic.nat_probes import BURST, MAX_OUTSTANDING, MAX_SENDS, RATE, Probes
from iroh.quic.path_errors import NatTraversalError, ServerCannotOpen
from iroh.quic.path_events import PathEstablished, RemoteCandidateAdded, RemoteCandidateRemoved
from iroh_base import SocketAddr

A, B, C = (SocketAddr("203.0.113.1", port) for port in (1, 2, 3))


def make(is_client, local_limit=32, remote_limit=32, **more):
    return NatTraversal(is_client, local_limit, remote_limit, rng_of(0), **more)


def frames(nat):
    return [frame for frame, _ in nat.take_frames(0.0, 10_000)]


def violation(call):
    with pytest.raises(PeerError) as error:
        call()
    assert error.value.code == PROTOCOL_VIOLATION
    return error.value


def run_probes(nat, seconds=20.0):
    """The times at which each address is probed."""
    sent = {}
    now = 0.0
    while now < seconds:
        for addr, _ in nat.take_probes(now):
            sent.setdefault(addr, []).append(round(now * 1000))
        due = nat.next_timeout()
        if due is None:
            break
        now = due
        nat.handle_timeout(now)
    return sent


SCHEDULE = [0, 33, 67, 133, 266, 533, 1066, 2131, 4131]


# -- candidates --------------------------------------------------------------------------------


def test_the_server_tells_its_addresses_and_takes_them_back():
    nat = make(False)
    assert nat.set_local([A, B, A]) == []
    assert frames(nat) == [AddAddress(0, A), AddAddress(1, B)]
    assert nat.set_local([B, C]) == []
    assert frames(nat) == [RemoveAddress(0), AddAddress(2, C)]
    assert nat.local_candidates() == [B, C]
    nat.remove_local(A)
    nat.add_local(B)
    assert frames(nat) == []
    nat.add_local(A)
    assert frames(nat) == [AddAddress(3, A)]


def test_a_candidate_that_went_before_it_was_told():
    nat = make(False)
    nat.add_local(A)
    nat.remove_local(A)
    assert frames(nat) == [RemoveAddress(0)]


def test_a_lost_candidate_is_told_again_while_it_is_one():
    nat = make(False)
    nat.set_local([A, B])
    tokens = [token for _, token in nat.take_frames(0.0, 1000)]
    nat.remove_local(A)
    for token in tokens:
        nat.on_lost(token)
    assert sorted(map(repr, frames(nat))) == sorted(map(repr, [RemoveAddress(0), AddAddress(1, B)]))
    for token in tokens:
        nat.on_acked(token)


def test_no_more_candidates_than_the_peer_takes():
    nat = make(False, local_limit=2)
    assert nat.set_local([A, B, C]) == [C]
    with pytest.raises(NatTraversalError):
        nat.add_local(C)
    nat.add_local(A)
    nat.remove_local(A)
    nat.add_local(C)
    assert nat.local_candidates() == [B, C]


def test_a_better_candidate_takes_the_place_of_the_last():
    nat = make(False, local_limit=2)
    assert nat.set_local([A, B]) == []
    frames(nat)
    assert nat.set_local([C, A, B]) == [B]
    assert frames(nat) == [RemoveAddress(1), AddAddress(2, C)]
    assert set(nat.local_candidates()) == {A, C}


def test_candidates_are_canonical():
    nat = make(True)
    nat.add_local(SocketAddr("::ffff:203.0.113.1", 1))
    nat.add_local(SocketAddr("fe80::1%3", 1))
    assert nat.local_candidates() == [A, SocketAddr("fe80::1", 1)]
    assert frames(nat) == []
    assert canonical(("2001:DB8::0:1", 5)) == SocketAddr("2001:db8::1", 5)
    for no_address in (object(), "1.2.3.4:5", ("relay", 1), (1, 2, 3), ("1.2.3.4", "x")):
        assert canonical(no_address) is None


def test_the_client_learns_the_servers_addresses():
    nat = make(True)
    nat.on_add_address(AddAddress(0, A))
    nat.on_add_address(AddAddress(0, A))
    nat.on_add_address(AddAddress(1, A))
    assert nat.events == [RemoteCandidateAdded(A)]
    nat.on_remove_address(RemoveAddress(0))
    assert nat.remote_candidates() == [A]
    nat.on_remove_address(RemoveAddress(1))
    nat.on_remove_address(RemoveAddress(1))
    nat.on_remove_address(RemoveAddress(99))
    assert nat.events == [RemoteCandidateAdded(A), RemoteCandidateRemoved(A)]
    assert nat.remote_candidates() == []


def test_a_known_number_with_another_address_replaces_it():
    nat = make(True, remote_limit=1)
    nat.on_add_address(AddAddress(0, A))
    nat.on_add_address(AddAddress(0, B))
    assert nat.remote_candidates() == [B]
    assert nat.events[1:] == [RemoteCandidateRemoved(A), RemoteCandidateAdded(B)]


def test_too_many_candidates_are_counted_not_taken():
    nat = make(True, remote_limit=2)
    for number in range(1000):
        nat.on_add_address(AddAddress(number, SocketAddr("203.0.113.1", number + 1)))
    assert len(nat.remote_candidates()) == 2
    assert nat.ignored == 998
    assert len(nat.events) == 2


def test_addresses_that_are_not_one_host():
    for ip in ("0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"):
        assert not is_probeable(SocketAddr(ip, 5))
    assert not is_probeable(SocketAddr("203.0.113.1", 0))
    assert is_probeable(SocketAddr("127.0.0.1", 5))
    client, server = make(True), make(False)
    client.add_local(A)
    client.on_add_address(AddAddress(0, SocketAddr("224.0.0.1", 5)))
    assert client.start_round(0.0) == []
    server.on_reach_out(ReachOut(1, SocketAddr("224.0.0.1", 5)), 0.0)
    assert server.take_probes(0.0) == client.take_probes(0.0) == []
    assert client.ignored == server.ignored == 1


def test_a_socket_of_one_family():
    nat = make(True, usable=lambda addr: addr.is_ipv4)
    nat.add_local(A)
    nat.on_add_address(AddAddress(0, SocketAddr("2001:db8::1", 5)))
    nat.on_add_address(AddAddress(1, B))
    assert nat.start_round(0.0) == [B]


# -- wrong sides -------------------------------------------------------------------------------


def test_frames_of_the_wrong_side():
    server, client = make(False), make(True)
    v6 = SocketAddr("2001:db8::1", 5)
    assert violation(lambda: server.on_add_address(AddAddress(0, A))).frame_type == 0x3D7F90
    assert violation(lambda: server.on_add_address(AddAddress(0, v6))).frame_type == 0x3D7F91
    assert violation(lambda: server.on_remove_address(RemoveAddress(0))).frame_type == 0x3D7F94
    assert violation(lambda: client.on_reach_out(ReachOut(1, A), 0.0)).frame_type == 0x3D7F92
    assert violation(lambda: client.on_reach_out(ReachOut(1, v6), 0.0)).frame_type == 0x3D7F93
    with pytest.raises(ServerCannotOpen):
        server.start_round(0.0)


@pytest.mark.parametrize("frame", [AddAddress(0, A), RemoveAddress(0), ReachOut(1, A)])
def test_frames_without_the_extension(frame):
    world = World(nat=False)
    for end in (world.client, world.server):
        path = end.mp.paths.get(0)
        error = violation(lambda mp=end.mp, path=path: mp.handle(frame, path, over(A), 0.0))
        assert error.frame_type in type(frame).TYPES


# -- rounds ------------------------------------------------------------------------------------


def test_a_round_needs_own_addresses():
    with pytest.raises(NatTraversalError):
        make(True).start_round(0.0)


def test_a_round_of_the_client():
    nat = make(True)
    nat.set_local([A, B])
    nat.on_add_address(AddAddress(0, C))
    assert nat.start_round(0.0) == [C]
    assert frames(nat) == [ReachOut(1, A), ReachOut(1, B)]
    assert run_probes(nat) == {C: SCHEDULE}
    assert len(SCHEDULE) == MAX_SENDS
    assert nat.next_timeout() == float("inf")
    nat.start_round(0.0)
    assert frames(nat) == [ReachOut(2, A), ReachOut(2, B)]


def test_a_candidate_that_joins_a_running_round():
    nat = make(True)
    nat.add_local(A)
    nat.on_add_address(AddAddress(0, B))
    nat.start_round(0.0)
    nat.take_probes(0.0)
    nat.on_add_address(AddAddress(1, C))
    assert nat.take_probes(0.0) == []
    sent = run_probes(nat, 60.0)
    assert sent[B] == SCHEDULE[1:]
    assert sent[C][:8] == SCHEDULE[1:]
    assert len(sent[C]) == MAX_SENDS


def test_reach_outs_of_a_round_that_is_over_are_not_sent():
    nat = make(True)
    nat.set_local([A])
    nat.start_round(0.0)
    ((_, token),) = nat.take_frames(0.0, 1000)
    nat.start_round(0.0)
    nat.on_lost(token)
    assert frames(nat) == [ReachOut(2, A)]


def test_a_round_at_the_server():
    nat = make(False)
    nat.on_reach_out(ReachOut(3, A), 0.0)
    nat.on_reach_out(ReachOut(3, A), 0.0)
    nat.on_reach_out(ReachOut(2, B), 0.0)
    assert run_probes(nat) == {A: SCHEDULE}
    nat.on_reach_out(ReachOut(3, A), 0.0)  # a copy, long after
    assert nat.take_probes(0.0) == []
    nat.on_reach_out(ReachOut(4, B), 0.0)
    assert run_probes(nat) == {B: SCHEDULE}


def test_a_new_round_ends_the_answers_of_the_last_one():
    nat = make(False)
    nat.on_reach_out(ReachOut(1, A), 0.0)
    ((_, data),) = nat.take_probes(0.0)
    nat.on_reach_out(ReachOut(2, A), 0.0)
    assert not nat.on_response(data, A, None)


def test_more_reach_outs_than_we_take():
    nat = make(False, remote_limit=3)
    for port in (1, 2, 3, 3, 2):
        nat.on_reach_out(ReachOut(1, SocketAddr("203.0.113.1", port)), 0.0)
    violation(lambda: nat.on_reach_out(ReachOut(1, SocketAddr("203.0.113.1", 4)), 0.0))


def test_a_flood_of_rounds_costs_no_more_than_the_last_one():
    nat = make(False)
    for number in range(10_000):
        nat.on_reach_out(ReachOut(number + 1, SocketAddr("203.0.113.1", number % 60000 + 1)), 0.0)
    assert len(nat.take_probes(0.0)) == 1


# -- answers -----------------------------------------------------------------------------------


def test_an_answer_from_the_probed_address_ends_its_probes():
    nat = make(False)
    nat.on_reach_out(ReachOut(1, A), 0.0)
    ((_, data),) = nat.take_probes(0.0)
    assert not nat.on_response(data, B, None)
    assert not nat.on_response(b"another.", A, None)
    assert not nat.on_response(data, object(), None)
    assert nat.on_response(data, A, None)
    assert not nat.on_response(data, A, None)
    assert nat.path_to_open() is None  # the server opens nothing
    assert run_probes(nat) == {}


def test_the_client_opens_a_path_to_what_answered():
    nat = make(True)
    nat.set_local([A])
    nat.on_add_address(AddAddress(0, B))
    nat.start_round(0.0)
    ((_, data),) = nat.take_probes(0.0)
    assert nat.on_response(data, B, "local")
    assert nat.path_to_open() == (B, "local")
    nat.opened(object())
    nat.opened(B)
    assert nat.path_to_open() is None


def test_an_address_nobody_advertised():
    nat = make(True)
    data = nat.challenge_for(C)
    assert nat.on_response(data, C, None)
    assert nat.path_to_open() == (C, None)
    assert nat.challenge_for("a relay") is None
    assert make(False).challenge_for(C) is None


def test_what_waits_for_a_path_is_bounded():
    nat = make(True)
    for port in range(1, 200):
        addr = SocketAddr("203.0.113.1", port)
        assert nat.on_response(nat.challenge_for(addr), addr, None)
    assert len(nat._to_open) == MAX_TO_OPEN


def test_outstanding_probes_are_bounded():
    probes = Probes(rng_of(0), 0.333)
    data = [probes.challenge(A) for _ in range(5000)]
    assert len(probes._challenges) == MAX_OUTSTANDING
    assert probes.answered(data[-1], A)
    assert not probes.answered(data[0], A)


def test_probes_have_a_budget():
    """Whoever starts rounds as fast as it can does not make us a cannon."""
    probes = Probes(rng_of(0), 0.333)
    sent, now = 0, 50.0
    for turn in range(2000):
        probes.restart()
        for port in range(1, 33):
            probes.add(SocketAddr("203.0.113.9", 1 + (turn * 32 + port) % 60_000), now)
        sent += len(probes.take(now))
        now += 0.01
    assert sent <= BURST + RATE * 20 + 1
    assert sent + probes.held_back == 2000 * 32
    probes.restart()
    probes.add(A, now + 10)
    assert len(probes.take(now + 10)) == 1, "and goes on later"


def test_candidates_are_what_the_peer_told_in_this_round():
    server, client = make(False), make(True)
    server.on_reach_out(ReachOut(1, A), 0.0)
    client.on_add_address(AddAddress(0, B))
    assert (server.peer_candidates(), client.peer_candidates()) == ([A], [B])


# -- both ends ---------------------------------------------------------------------------------


def punch(world, local=CLIENT):
    world.server.mp.nat.set_local([SERVER_2])
    world.client.mp.nat.set_local([local])
    world.settle()
    assert world.client.events() == [RemoteCandidateAdded(SERVER_2)]
    assert world.client.mp.nat.start_round(world.now) == [SERVER_2]


def test_a_hole_is_punched():
    world = World()
    world.settle()
    punch(world)
    world.settle()
    (path,) = [path for path in world.client.mp.paths if path.path_id]
    assert path.remote == SERVER_2
    assert not path.available  # Backup, until magicsock selects it
    assert PathEstablished(1, SERVER_2) in world.client.events()
    # Probes are small, and so are their answers: they may go to somebody who never asked.
    probes = [p for p in world.client.sent if p.target == SERVER_2 and p.payload[0] == 0x1A]
    assert probes[0].size < 100
    answer = next(p for p in world.server.sent if p.payload[0] == 0x1B)
    assert answer.size <= 3 * probes[0].size
    assert world.server.mp.paths.get(0).remote == CLIENT


def test_the_answer_of_the_client_carries_a_challenge_of_its_own():
    world = World()
    world.settle()
    path = world.client.mp.paths.get(0)
    world.client.mp.handle(PathChallenge(b"12345678"), path, over(SERVER_2, CLIENT), 0.0)
    (probe,) = world.client.mp.take_probes(0.0)
    response, challenge = (frame for frame, _ in probe.frames)
    assert response == PathResponse(b"12345678")
    assert (probe.remote, probe.pad, probe.on_path) == (SERVER_2, True, False)
    world.client.mp.handle(PathResponse(challenge.data), path, over(SERVER_2, CLIENT), 0.0)
    assert [p.remote for p in world.client.mp.paths] == [SERVER, SERVER_2]
    # At a proven address there is nothing left to find out.
    path = world.client.mp.paths.get(1)
    path.validated = True
    path.local = None
    world.client.mp.handle(PathChallenge(b"12345678"), path, over(SERVER, CLIENT), 0.0)
    world.client.mp.take_probes(0.0)
    world.client.mp.handle(
        PathChallenge(b"12345678"), world.client.mp.paths.get(0), over(SERVER_2, CLIENT), 0.0
    )
    (probe,) = world.client.mp.take_probes(0.0)
    assert len(probe.frames) == 1


def test_another_address_of_ours_is_another_way():
    world = World()
    world.settle()
    punch(world, CLIENT_2)
    world.settle()
    ways = [(path.local, path.remote) for path in world.client.mp.paths]
    assert ways == [(CLIENT, SERVER), (CLIENT, SERVER_2), (CLIENT_2, SERVER)]
    # Each answer went back to where its challenge came from, from where it had gone to.
    for packet in world.server.sent:
        if packet.payload[0] == 0x1B and packet.target == CLIENT:
            assert packet.source == SERVER_2


def test_no_path_is_opened_twice():
    world = World()
    world.settle()
    punch(world)
    world.settle()
    world.client.mp.nat.start_round(world.now)
    world.settle()
    assert len(list(world.client.mp.paths)) == 2
    assert world.client.mp.nat.path_to_open() is None


def test_blocked_by_ids_it_opens_the_path_when_there_are_some():
    world = World()
    world.settle()
    for _ in range(1, 8):
        world.open(SERVER, CLIENT_2)
    world.settle()
    world.client.events()
    punch(world)
    world.settle()
    assert world.client.mp.nat.path_to_open() is not None
    world.client.mp.paths.abandon(7, 0, world.now)
    world.settle()
    assert world.client.mp.nat.path_to_open() is None
    assert world.client.mp.paths.get(8).remote == SERVER_2


def test_probes_wait_for_a_proven_path():
    world = World()
    world.settle()
    punch(world)
    world.client.mp.paths.get(0).validated = False
    assert world.client.mp.take_probes(0.0) == []
    world.client.mp.paths.get(0).validated = True
    assert len(world.client.mp.take_probes(0.0)) == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 4)), max_size=40))
def test_any_frames_keep_the_bounds(steps):
    client, server = make(True, 3, 3), make(False, 3, 3)
    client.add_local(A)
    now = 0.0
    for what, number, port in steps:
        addr = SocketAddr("203.0.113.1", port)
        try:
            if what == 0:
                client.on_add_address(AddAddress(number, addr))
            elif what == 1:
                client.on_remove_address(RemoveAddress(number))
            elif what == 2:
                server.on_reach_out(ReachOut(number, addr), now)
            elif what == 3:
                client.start_round(now)
            elif what == 4:
                now += number
                client.handle_timeout(now)
                server.handle_timeout(now)
            else:
                for nat in (client, server):
                    for to, data in nat.take_probes(now):
                        assert to.port
                        nat.on_response(data, addr, None)
        except PeerError as error:
            if error.code != PROTOCOL_VIOLATION:
                raise
        assert len(client.remote_candidates()) <= 3
        assert len(server._probes) <= 3
        known = {}
        for event in client.events:
            known[event.addr] = isinstance(event, RemoteCandidateAdded)
        assert {addr for addr, added in known.items() if added} == set(client.remote_candidates())
