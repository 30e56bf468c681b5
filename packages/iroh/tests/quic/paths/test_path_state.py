"""The table of path states: every pair, and random inputs against a real table of paths."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths_kit import CLIENT_2, SERVER, World

from iroh.quic import path_state as ps
from iroh.quic.frames import PathAbandon

LIVE = (ps.OPENING, ps.VALIDATING, ps.OPEN)
PAIRS = list(itertools.product(range(len(ps.STATES)), range(len(ps.INPUTS))))


def test_no_pair_is_missing():
    assert sorted(ps.TRANSITIONS) == sorted(PAIRS)
    assert len(PAIRS) == 42


@pytest.mark.parametrize(("state", "what"), PAIRS)
def test_every_pair(state, what):
    action, after = ps.TRANSITIONS[state, what]
    if what == ps.PEER_LEFT and state in LIVE:
        assert (action, after) == (ps.ABANDON_AND_DRAIN, ps.DRAINING)
    elif what == ps.PEER_LEFT and state == ps.ABANDONING:
        assert (action, after) == (ps.DRAIN, ps.DRAINING)
    elif what == ps.LEFT and state in LIVE:
        assert (action, after) == (ps.ABANDON, ps.ABANDONING)
    elif what == ps.DRAINED and state == ps.DRAINING:
        assert (action, after) == (ps.DISCARD, ps.DISCARDED)
    elif what == ps.MIGRATED and state in LIVE:
        assert (action, after) == (ps.REVALIDATE, ps.OPENING)
    elif what == ps.PROVEN and state in (ps.OPENING, ps.VALIDATING):
        assert (action, after) == (ps.ESTABLISH, ps.OPEN)
    elif what == ps.REVERTED and state in (ps.OPENING, ps.VALIDATING):
        assert (action, after) == (ps.RESTORE, ps.OPENING)
    elif what == ps.CHALLENGED and state == ps.OPENING:
        assert (action, after) == (ps.NOTHING, ps.VALIDATING)
    else:
        assert (action, after) == (ps.NOTHING, state)


def test_nothing_leads_back_to_life():
    for (state, _), (_, after) in ps.TRANSITIONS.items():
        assert after >= min(state, ps.ABANDONING) or state in LIVE


@given(st.lists(st.integers(0, len(ps.INPUTS) - 1), max_size=12))
def test_the_driver_takes_any_sequence(inputs):
    world = World()
    world.settle()
    path_id = world.open()
    table = world.client.mp.paths
    path = table.get(path_id)
    events = []
    for what in inputs:
        table.feed(path, what, 1.0)
        events += world.client.names()
        assert (table.get(path_id) is path) == (path.state != ps.DISCARDED)
        assert path.is_live() == (path in list(table))
        assert table.ids.is_open(path_id) == path.is_live()
    for name in ("PathEstablished", "PathAbandoned", "PathClosed"):
        assert events.count(name) <= 1
    if "PathClosed" in events:
        assert events[-1] == "PathClosed"
        assert "PathAbandoned" in events
        assert world.client.owner.discarded == [path_id]


@pytest.mark.parametrize("kind", ["open", "validating", "opening"])
@pytest.mark.parametrize("who", ["client", "server", "both"])
def test_abandoned_in_any_state_by_anyone(kind, who):
    world = World()
    world.settle()
    path_id = world.open(SERVER, CLIENT_2)
    if kind != "opening":
        packets = world.client.transmit(world.now)
        for packet in packets:
            world.deliver(packet)
    if kind == "open":
        world.settle()
    if who in ("client", "both"):
        world.client.mp.paths.abandon(path_id, 5, world.now)
    if who in ("server", "both"):
        if world.server.mp.paths.get(path_id) is None:
            # A frame of a server that has seen nothing of the path yet.
            world.client.mp.paths.on_abandon(PathAbandon(path_id, 5), world.now)
        else:
            world.server.mp.paths.abandon(path_id, 5, world.now)
    world.settle()
    world.run(3.0)
    assert world.client.mp.paths.get(path_id) is None
    assert world.server.mp.paths.get(path_id) is None
    assert path_id not in world.client.mp.remote_cids
    assert world.server.mp.local_cids.cids(path_id) == []
    assert "PathClosed" in world.client.names()
