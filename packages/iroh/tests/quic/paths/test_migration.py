"""Packets from elsewhere: the handshake, migration of a client, probes, changes of our network."""

import pytest
from paths_kit import CLIENT, CLIENT_2, SERVER, SERVER_2, End, World

from iroh.quic.frames import PathChallenge, Ping
from iroh.quic.network_change import on_network_change
from iroh.quic.path_events import AbandonReason, PathAbandoned, PathMoved
from iroh.quic.path_state import OPEN, OPENING
from iroh_base import SocketAddr

REBOUND = SocketAddr(CLIENT.ip, 4444)


@pytest.fixture
def world():
    world = World()
    world.settle()
    return world


def packet(world, source, payload=b"\x01", size=1200, path_id=0):
    cid = world.client.mp.remote_cids.active(path_id)
    return world.client._send(cid, source, SERVER, payload, size, [])


def from_server(world, source, payload):
    cid = world.server.mp.remote_cids.active(0)
    return world.server._send(cid, source, CLIENT, payload, 1200, [])


# -- the handshake -----------------------------------------------------------------------------


def test_the_server_may_answer_from_elsewhere_until_a_handshake_packet():
    client = End(True, CLIENT, SERVER)
    migration, path = client.mp.migration, client.mp.paths.get(0)
    assert migration.accepts(0, SERVER_2, CLIENT)
    assert migration.on_handshake_packet(path, SERVER_2, CLIENT, False)
    assert (path.remote, path.local) == (SERVER_2, CLIENT)
    assert migration.on_handshake_packet(path, SERVER, CLIENT_2, True)
    assert (path.remote, path.local) == (SERVER, CLIENT_2)
    assert not migration.accepts(0, SERVER_2, CLIENT)
    assert not migration.on_handshake_packet(path, SERVER_2, CLIENT, True)
    assert migration.on_handshake_packet(path, SERVER, None, True)


def test_a_client_must_not_change_its_address_in_the_handshake():
    server = End(False, SERVER, CLIENT)
    migration, path = server.mp.migration, server.mp.paths.get(0)
    assert not migration.accepts(0, CLIENT_2, SERVER)
    assert not migration.on_handshake_packet(path, CLIENT_2, SERVER, False)
    assert migration.on_handshake_packet(path, CLIENT, SERVER, False)
    assert path.local == SERVER
    assert not migration.accepts(0, CLIENT, SERVER_2)


def test_late_handshake_packets_move_nothing(world):
    path = world.client.mp.paths.get(0)
    assert world.client.mp.migration.on_handshake_packet(path, SERVER, CLIENT, True)
    assert not world.client.mp.migration.on_handshake_packet(path, SERVER_2, CLIENT, True)
    assert path.remote == SERVER


# -- migration ---------------------------------------------------------------------------------


def test_a_client_that_migrates_is_challenged_there(world):
    old_cid = world.server.mp.remote_cids.active(0)
    assert world.server.receive(packet(world, CLIENT_2), 0.0)
    path = world.server.mp.paths.get(0)
    assert (path.remote, path.validated, path.state) == (CLIENT_2, False, OPENING)
    assert path.bytes_received == 1200  # the packet counts for the new address
    assert path.generation == 1
    assert world.server.owner.moved == [(0, CLIENT_2, False)]
    assert world.server.events() == [PathMoved(0, CLIENT_2)]
    assert world.server.mp.choice.best() is None
    old, new = world.server.mp.take_probes(0.0)
    assert (old.remote, old.cid, old.on_path, old.pad) == (CLIENT, old_cid, False, True)
    assert (new.remote, new.on_path, new.pad) == (CLIENT_2, True, True)
    assert new.cid != old_cid
    world.server.mp.paths.on_response(new.frames[0][0].data, 0.1)
    assert path.validated
    assert path.state == OPEN
    assert path.previous is None
    assert world.server.names() == []  # no second PathEstablished
    world.server.mp.handle_timeout(3.0)
    assert path.remote == CLIENT_2


def test_only_the_port_changed(world):
    world.server.receive(packet(world, REBOUND), 0.0)
    assert world.server.owner.moved == [(0, REBOUND, True)]


def test_the_old_proof_proves_nothing_about_the_new_address(world):
    path = world.server.mp.paths.get(0)
    path.challenges.want()
    (probe,) = world.server.mp.take_probes(0.0)
    world.server.receive(packet(world, CLIENT_2), 0.0)
    assert world.server.mp.paths.on_response(probe.frames[0][0].data, 0.1) is None
    assert not path.validated


def test_back_to_the_proven_address_when_the_new_one_does_not_answer(world):
    world.server.receive(packet(world, CLIENT_2), 0.0)
    world.server.mp.take_probes(0.0)
    world.server.mp.handle_timeout(0.37)
    path = world.server.mp.paths.get(0)
    assert path.remote == CLIENT_2
    world.server.mp.handle_timeout(0.38)
    assert (path.remote, path.validated, path.state) == (CLIENT, True, OPENING)
    assert world.server.events() == [PathMoved(0, CLIENT_2), PathMoved(0, CLIENT)]
    assert world.server.owner.moved[-1] == (0, CLIENT, False)
    (probe,) = world.server.mp.take_probes(1.0)
    world.server.mp.paths.on_response(probe.frames[0][0].data, 1.1)
    assert path.state == OPEN


def test_a_forged_source_does_not_keep_the_client_away(world):
    """An attacker copies packets from ever new addresses (RFC 9000 section 9.3.2)."""
    path = world.server.mp.paths.get(0)
    now = 0.0
    for port in range(20):
        world.server.receive(packet(world, SocketAddr("203.0.113.9", 7000 + port)), now)
        world.server.mp.take_probes(now)
        now += 0.1
        world.server.mp.handle_timeout(now)
    assert path.previous is None or path.previous.remote == CLIENT
    world.server.receive(packet(world, CLIENT), now)
    assert (path.remote, path.validated) == (CLIENT, True)


def test_what_does_not_migrate(world):
    path = world.server.mp.paths.get(0)
    probing = PathChallenge(b"8 bytes.").encode()
    assert world.server.receive(packet(world, CLIENT_2, probing), 0.0)  # NAT traversal
    assert path.remote == CLIENT
    assert world.server.receive(packet(world, CLIENT_2), 0.0, is_largest=False)
    assert path.remote == CLIENT
    world.server.mp.migration.confirmed = False
    assert not world.server.receive(packet(world, CLIENT_2), 0.0)
    world.server.mp.migration.confirmed = True
    world.server.mp.migration.allowed = False
    assert world.server.receive(packet(world, CLIENT_2), 0.0)  # only for the sake of probes
    assert path.remote == CLIENT
    world.server.mp.migration.nat_traversal = False
    assert not world.server.mp.migration.accepts(0, CLIENT_2, SERVER)


def test_a_server_never_migrates(world):
    path = world.client.mp.paths.get(0)
    assert world.client.receive(from_server(world, SERVER_2, b"\x01"), 0.0)
    assert path.remote == SERVER
    world.client.mp.migration.nat_traversal = False
    assert not world.client.receive(from_server(world, SERVER_2, b"\x01"), 0.0)


def test_without_nat_traversal_any_packet_migrates():
    world = World(nat=False)
    world.settle()
    probing = PathChallenge(b"8 bytes.").encode()
    world.server.receive(packet(world, CLIENT_2, probing), 0.0)
    assert world.server.mp.paths.get(0).remote == CLIENT_2


def test_an_unmultipath_client_migrates_with_data_only():
    world = World(max_path_id=None)
    world.settle()
    probing = PathChallenge(b"8 bytes.").encode()
    world.server.receive(packet(world, CLIENT_2, probing), 0.0)
    assert world.server.mp.paths.get(0).remote == CLIENT
    (probe,) = world.server.mp.take_probes(0.0)
    assert (probe.remote, probe.on_path, len(probe.frames)) == (CLIENT_2, False, 1)
    world.server.receive(packet(world, CLIENT_2, Ping().encode()), 0.0)
    assert world.server.mp.paths.get(0).remote == CLIENT_2


def test_our_own_address_follows_the_packets(world):
    migration, path = world.client.mp.migration, world.client.mp.paths.get(0)
    assert path.local == CLIENT
    assert migration.accepts(0, SERVER, CLIENT_2)
    migration.on_packet(path, SERVER, CLIENT_2, False, True, 0.0)
    assert path.local == CLIENT_2
    migration.on_packet(path, SERVER_2, CLIENT, False, True, 0.0)
    migration.on_packet(path, SERVER, CLIENT, True, True, 0.0)
    migration.on_packet(path, SERVER, None, False, True, 0.0)
    assert path.local == CLIENT_2
    migration.confirmed = False
    assert not migration.accepts(0, SERVER, CLIENT)
    path.local = None
    assert migration.accepts(0, SERVER, CLIENT)
    migration.on_packet(path, SERVER, CLIENT, False, True, 0.0)
    assert path.local == CLIENT


def test_an_abandoned_path_stays_where_it_is(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.server.mp.paths.abandon(1, 0, 0.0)
    path = world.server.mp.paths.get(1)
    world.server.mp.migration.on_packet(path, REBOUND, SERVER, False, True, 0.0)
    assert path.remote == CLIENT_2


# -- our network changed -----------------------------------------------------------------------


def change(end, recoverable, now=0.0):
    mp = end.mp
    nudged = on_network_change(mp.paths, mp.remote_cids, recoverable, now)
    return [path.path_id for path in nudged]


def test_recoverable_paths_are_nudged(world):
    path = world.client.mp.paths.get(0)
    before = world.client.mp.remote_cids.active(0)
    assert change(world.client, lambda path: True) == [0]
    assert path.wants_ping
    assert path.local is None
    assert world.client.mp.remote_cids.active(0) != before


def test_lost_paths_are_replaced_the_last_one_after_its_successor(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.client.events()
    assert change(world.client, lambda path: path.path_id == 0) == [0]
    assert [p.path_id for p in world.client.mp.paths] == [0, 2]
    (event,) = world.client.events()
    assert isinstance(event, PathAbandoned)
    assert event.reason is AbandonReason.NETWORK_CHANGE
    assert change(world.client, lambda path: False) == []
    assert [p.path_id for p in world.client.mp.paths] == [3, 4]


def test_a_server_gives_up_what_it_cannot_replace_but_for_the_last(world):
    world.open(SERVER, CLIENT_2)
    world.settle()
    world.server.events()
    assert change(world.server, lambda path: path.path_id == 0) == [0]
    assert [p.path_id for p in world.server.mp.paths] == [0]
    (event,) = world.server.events()
    assert event.reason is AbandonReason.NETWORK_CHANGE
    world.settle()
    assert [p.path_id for p in world.client.mp.paths] == [0]
    assert change(world.server, lambda path: False) == [0]
    assert [p.path_id for p in world.server.mp.paths] == [0]


def test_a_path_that_cannot_be_replaced_is_nudged(world):
    for _ in range(1, 8):
        world.open(SERVER, CLIENT_2)
    for path_id in range(1, 8):
        world.client.mp.paths.abandon(path_id, 0, 0.0)
    assert change(world.client, lambda path: False) == [0]


def test_a_server_only_nudges(world):
    assert change(world.server, lambda path: False) == [0]
    world = World(max_path_id=None)
    world.settle()
    assert change(world.client, lambda path: False) == [0]
