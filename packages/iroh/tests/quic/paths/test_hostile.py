"""A peer that breaks rules or floods: the right error, or bounded state."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths_kit import CLIENT, CLIENT_2, MAX_PATH_ID, SERVER, World, over, token_of

from iroh.quic.errors import (
    CONNECTION_ID_LIMIT_ERROR,
    NO_VIABLE_PATH,
    PROTOCOL_VIOLATION,
    PeerError,
)
from iroh.quic.frames import (
    AddAddress,
    MaxPathId,
    NewConnectionId,
    ObservedAddress,
    PathAbandon,
    PathChallenge,
    PathCidsBlocked,
    PathResponse,
    PathsBlocked,
    PathStatus,
    Ping,
    ReachOut,
    RemoveAddress,
    RetireConnectionId,
)
from iroh.quic.local_cids import UNOPENED
from iroh_base import SocketAddr


@pytest.fixture
def world():
    world = World()
    world.settle()
    return world


def tell(end, *frames, remote=CLIENT, now=0.0):
    path = end.mp.paths.get(0)
    for frame in frames:
        end.mp.handle(frame, path, over(remote), now)


def cid(number):
    return number.to_bytes(8, "big")


def new(seq, path_id, retire=0):
    name = cid(path_id * 10_000 + seq + 1)
    return NewConnectionId(seq, retire, name, token_of(name), path_id)


def test_connection_ids_beyond_the_limit(world):
    for path_id in range(8):
        with pytest.raises(PeerError) as error:
            tell(world.server, new(6 if path_id == 0 else 5, path_id))
        assert error.value.code == CONNECTION_ID_LIMIT_ERROR


def test_retire_storm(world):
    def storm():
        for seq in range(10, 10_000):
            tell(world.server, new(seq, 0, seq))
            world.server.mp.take_frames(0.0, 10_000)

    with pytest.raises(PeerError) as error:
        storm()
    assert error.value.code == CONNECTION_ID_LIMIT_ERROR
    assert len(world.server.mp.remote_cids.outbox) <= 51


def test_retiring_as_fast_as_we_issue(world):
    """Each frame of the peer makes one of ours, and no more."""
    for seq in range(1000):
        tell(world.server, RetireConnectionId(seq, 3))
        assert len(world.server.mp.local_cids.cids(3)) == UNOPENED
        ((_, keys),) = world.server.mp.local_cids.take_frames(0.0, 10_000)
        assert len(keys) == 1
        world.server.mp.local_cids.on_acked(keys)
        world.server.update_routes()
    assert len(world.server.routes) == 5 + 7 * UNOPENED


def test_challenge_flood(world):
    for n in range(10_000):
        tell(world.server, PathChallenge(cid(n)), remote=SocketAddr("203.0.113.1", n + 1))
    assert len(world.server.mp.take_probes(0.0)) == 32
    assert world.server.mp.take_probes(0.0) == []


def test_abandon_flood(world):
    """Ids above the limit are an error; so the peer has to wait for our packets to go on."""
    tell(world.server, *(PathAbandon(n, 0) for n in range(1, 8)))
    assert world.server.mp.ids.local_max == MAX_PATH_ID
    with pytest.raises(PeerError) as error:
        tell(world.server, PathAbandon(8, 0))
    assert error.value.code == PROTOCOL_VIOLATION
    for _ in range(500):
        world.server.transmit(0.0)  # nothing is acknowledged
        top = world.server.mp.ids.local_max
        tell(world.server, *(PathAbandon(n, 0) for n in range(top - 7, top + 1)))
    assert len(world.server.mp.ids._open) == 1
    assert len(world.server.mp.paths.all()) == 1
    assert len(world.server.routes) <= 5 * 9


def test_paths_opened_and_abandoned_as_fast_as_possible(world):
    for _ in range(1, 8):
        world.open(SERVER, CLIENT_2)
    for packet in world.client.transmit(0.0):
        world.server.receive(packet, 0.0)
    assert len(world.server.mp.paths.all()) == 8
    tell(world.server, *(PathAbandon(n, 0) for n in range(1, 8)))
    assert world.server.mp.paths.prospect(7, CLIENT, None) is None
    world.server.mp.handle_timeout(1.0)
    assert len(world.server.mp.paths.all()) == 1


def test_abandoning_everything(world):
    tell(world.server, *(PathAbandon(n, 0) for n in range(8)))
    assert list(world.server.mp.paths) == []
    assert world.server.mp.choice.best() is None
    world.server.mp.take_probes(0.0)
    with pytest.raises(PeerError) as error:
        world.server.mp.handle_timeout(1e6)
    assert error.value.code == NO_VIABLE_PATH


def test_a_limit_beyond_all_ids_issues_nothing_more(world):
    before = len(world.server.routes)
    tell(world.server, MaxPathId(2**32 - 1))
    world.server.update_routes()
    assert len(world.server.routes) == before


def test_migration_flood(world):
    """Every packet comes from another address; we neither run out nor grow."""
    for n in range(5000):
        packet = world.client._send(
            next(iter(world.server.routes)),
            SocketAddr("203.0.113.1", n + 1),
            SERVER,
            Ping().encode(),
            40,
            [],
        )
        world.server.receive(packet, n / 1000)
        world.server.mp.handle_timeout(n / 1000)
        for probe in world.server.mp.take_probes(n / 1000):
            assert probe.remote == CLIENT or not probe.pad  # 40 bytes earn no 1200
    assert len(world.server.mp.remote_cids.outbox) <= 50
    assert world.server.mp.remote_cids.active(0)


def test_status_flood(world):
    world.forget_events()
    tell(world.server, *(PathStatus(0, n, bool(n & 1)) for n in range(1000, 0, -1)))
    assert len(world.server.events()) == 1


ADDR = st.builds(SocketAddr, st.sampled_from(["203.0.113.1", "2001:db8::1"]), st.integers(0, 3))
PATH = st.integers(0, 9)
SEQ = st.integers(0, 9)
FRAME = st.one_of(
    st.builds(lambda seq, path, retire: new(seq, path, min(retire, seq)), SEQ, PATH, SEQ),
    st.builds(lambda seq: NewConnectionId(seq, 0, cid(seq + 77), bytes(16)), SEQ),
    st.builds(RetireConnectionId, SEQ, st.none() | PATH),
    st.builds(PathAbandon, PATH, SEQ),
    st.builds(PathStatus, PATH, SEQ, st.booleans()),
    st.builds(MaxPathId, PATH),
    st.builds(PathsBlocked, PATH),
    st.builds(PathCidsBlocked, PATH, SEQ),
    st.builds(PathChallenge, SEQ.map(cid)),
    st.builds(PathResponse, SEQ.map(cid)),
    st.builds(AddAddress, SEQ, ADDR),
    st.builds(ReachOut, SEQ, ADDR),
    st.builds(RemoveAddress, SEQ),
    st.builds(ObservedAddress, SEQ, ADDR),
)


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, MAX_PATH_ID]),
    st.lists(st.tuples(FRAME, PATH, ADDR | st.just(CLIENT), st.floats(0, 5)), max_size=40),
)
def test_any_frames_raise_nothing_but_peer_errors(at_server, nat, max_path_id, steps):
    world = World(max_path_id, nat and max_path_id is not None)
    world.settle()
    end = world.server if at_server else world.client
    now = 0.0
    for frame, path_id, remote, later in steps:
        now += later
        path = end.mp.paths.get(path_id) or end.mp.paths.prospect(path_id, remote, None)
        if path is None or not end.mp.migration.accepts(path_id, remote, None):
            continue
        end.mp.paths.admit(path, now)
        try:
            assert end.mp.handle(frame, path, over(remote), now)
            end.mp.migration.on_packet(path, remote, None, frame.PROBING, True, now)
            end.mp.timers.on_received(path, remote, 50, now)
            end.mp.handle_timeout(now)
        except PeerError as error:
            if error.code in (PROTOCOL_VIOLATION, CONNECTION_ID_LIMIT_ERROR, NO_VIABLE_PATH):
                return
            raise
        end.transmit(now)
        end.events()
        due = end.mp.next_timeout()
        assert due is None or due > now
        assert len(end.mp.paths.all()) <= 8 + len(steps)
        assert len(end.mp.ids._open) <= MAX_PATH_ID + 1
