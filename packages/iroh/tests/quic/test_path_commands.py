"""Paths opened, chosen, closed and found through NATs, between two engines."""

import pytest

from iroh.quic import make
from iroh.quic.errors import StreamGone
from iroh.quic.own_params import own_params
from iroh.quic.path_errors import (
    LastPath,
    MigrationDisabled,
    PathError,
    PathIdsExhausted,
    ServerCannotOpen,
)
from iroh.quic.path_events import (
    PathAbandoned,
    PathClosed,
    PathEstablished,
    PathSilent,
    PathStatusChanged,
    RemoteCandidateAdded,
)

from .engine_pair import CLIENT, SERVER, Pair, connected

SECOND = SERVER._replace(port=2001)


def ids(pair: Pair) -> tuple[list[int], list[int]]:
    client, server = pair.ends
    return [p.path_id for p in client.paths()], [p.path_id for p in server.paths()]


def events_of(side, kind) -> list:
    return [event for event in side.events if isinstance(event, kind)]


def transfer(pair: Pair, size: int) -> None:
    """Move bytes from the client to the server, and compare them."""
    client, server = pair.ends
    stream = client.open_stream(False)
    assert stream is not None
    left, got = size, 0
    while got < size:
        if left:
            left -= client.write(stream, b"x" * min(left, 65_536))
        pair.step()
        try:
            data = server.read(stream, 1 << 20)
        except StreamGone:  # not there yet
            data = b""
        got += len(data or b"")
        if not data and not pair.step():
            pair._pass_time()
    client.finish(stream)
    pair.settle(0.1)


def test_a_second_path_is_opened_proven_and_used() -> None:
    pair = connected()
    client, _ = pair.ends
    commands = client.path_commands
    assert commands is not None
    assert commands.is_multipath
    assert commands.open(SECOND, None, pair.now) == 1
    pair.run(lambda: bool(events_of(pair.server, PathEstablished)))
    assert ids(pair) == ([0, 1], [0, 1])
    assert events_of(pair.client, PathEstablished) == [PathEstablished(1, SECOND)]
    commands.set_status(0, False)
    pair.run(lambda: bool(events_of(pair.server, PathStatusChanged)))
    before = {p.path_id: p.stats.udp_tx_bytes for p in client.paths()}
    transfer(pair, 300_000)
    after = {p.path_id: p.stats.udp_tx_bytes for p in client.paths()}
    assert after[1] - before[1] > 300_000
    assert after[0] - before[0] < 5_000
    assert [p.path_id for p in client.paths() if p.is_selected] == [1]


def test_an_abandoned_path_ends_at_both_sides_and_its_id_moves_on() -> None:
    pair = connected()
    client, _ = pair.ends
    commands = client.path_commands
    assert commands is not None
    commands.open(SECOND, None, pair.now)
    pair.settle(0.2)
    commands.close(0, pair.now)
    pair.run(lambda: bool(events_of(pair.client, PathClosed)))
    pair.run(lambda: bool(events_of(pair.server, PathClosed)))
    assert ids(pair) == ([1], [1])
    assert [e.path_id for e in events_of(pair.server, PathAbandoned)] == [0]
    transfer(pair, 100_000)
    with pytest.raises(LastPath):
        commands.close(1, pair.now)
    for expected in range(2, 9):  # id 8 exists because id 0 ended
        assert commands.open(SERVER._replace(port=2000 + expected), None, pair.now) == expected
        pair.settle(0.2)
    with pytest.raises(PathIdsExhausted):
        commands.open(SERVER._replace(port=2100), None, pair.now)


def test_only_the_client_opens() -> None:
    pair = connected()
    commands = pair.ends[1].path_commands
    assert commands is not None
    with pytest.raises(ServerCannotOpen):
        commands.open(CLIENT, None, pair.now)
    with pytest.raises(PathError):
        commands.start_round(pair.now)


def test_a_dead_path_is_given_up_and_the_data_goes_on() -> None:
    pair = connected()
    client, _ = pair.ends
    commands = client.path_commands
    assert commands is not None
    commands.open(SECOND, None, pair.now, available=False)
    pair.settle(0.2)
    pair.dead.add(SERVER)  # the first path dies
    pair.dead.add(CLIENT)
    stream = client.open_stream(False)
    assert stream is not None
    client.write(stream, b"survives")
    pair.run(lambda: 0 not in ids(pair)[0], seconds=40)
    pair.settle(1.0)
    assert pair.ends[1].read(stream, 100) == b"survives"
    assert client.close_reason is None


def test_candidates_rounds_and_the_path_they_find() -> None:
    pair = connected()
    client, server = pair.ends
    assert client.path_commands is not None
    assert server.path_commands is not None
    server.path_commands.set_candidates([SECOND])
    pair.run(lambda: bool(events_of(pair.client, RemoteCandidateAdded)))
    assert client.path_commands.remote_candidates() == [SECOND]
    client.path_commands.set_candidates([CLIENT._replace(port=1001)])
    assert client.path_commands.start_round(pair.now) == [SECOND]
    pair.run(lambda: bool(events_of(pair.client, PathEstablished)))
    (found,) = events_of(pair.client, PathEstablished)
    assert found.remote == SECOND


def test_a_path_that_gives_no_answer_says_so_and_when_it_lives_again() -> None:
    pair = connected()
    client, _ = pair.ends
    commands = client.path_commands
    assert commands is not None
    commands.open(SECOND, None, pair.now, available=False)
    pair.settle(0.2)
    assert [view.established for view in commands.views()] == [True, True]
    assert commands.best() == SERVER
    pair.dead.add(SERVER)
    commands.ping(0)
    pair.run(lambda: len(events_of(pair.client, PathSilent)) >= 2, seconds=5)
    told = events_of(pair.client, PathSilent)
    assert [(event.path_id, event.timeouts) for event in told[:2]] == [(0, 2), (0, 3)]
    view = commands.view(0)
    assert view is not None
    assert view.unanswered >= 3
    pair.dead.clear()
    commands.challenge(0)
    asked = pair.now
    pair.settle(1.0)
    view = commands.view(0)
    assert view is not None
    assert view.unanswered == 0
    assert view.answered >= asked
    assert commands.view(9) is None


def test_data_on_its_way_over_a_dead_path_is_sent_elsewhere() -> None:
    pair = connected()
    client, server = pair.ends
    commands = client.path_commands
    assert commands is not None
    commands.open(SECOND, None, pair.now, available=False)
    pair.settle(0.2)
    pair.dead.add(SERVER)
    stream = client.open_stream(False)
    assert stream is not None
    client.write(stream, b"once")
    pair.step()
    commands.set_status(0, False)
    commands.set_status(1, True)
    commands.send_elsewhere(0)
    pair.step()
    pair.step()
    assert server.read(stream, 100) == b"once"


def test_a_candidate_that_may_not_be_probed_is_not() -> None:
    pair = connected()
    client, server = pair.ends
    assert client.path_commands is not None
    assert server.path_commands is not None
    client.path_commands.filter_candidates(lambda addr: addr.port != SECOND.port)
    server.path_commands.set_candidates([SECOND])
    pair.run(lambda: bool(events_of(pair.client, RemoteCandidateAdded)))
    client.path_commands.set_candidates([CLIENT._replace(port=1001)])
    assert client.path_commands.start_round(pair.now) == []
    assert client.path_commands.peer_candidates() == [SECOND]


# -- a peer that wants no migration --------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["plain", "traversing"])
def staying(request, monkeypatch):
    """A pair whose server sends disable_active_migration; and whether both traverse NATs."""

    def params(config, source_cid):
        made = own_params(config, source_cid)
        made.disable_active_migration = True
        if not request.param:
            made.max_nat_traversal_addresses = None
        return made

    monkeypatch.setattr(make, "own_params", params)
    return connected(), request.param


def test_a_peer_that_forbids_migration_is_reached_from_one_address(staying) -> None:
    """RFC 9000 sections 9 and 18.2; with NAT traversal a server takes what comes, as noq does."""
    pair, traversing = staying
    client, _ = pair.ends
    assert client._p.peer_params.disable_active_migration
    path = client._p.paths.get(0)
    path.local = CLIENT
    if traversing:
        assert client.path_commands.open(SERVER, None, pair.now) == 1
    else:
        with pytest.raises(MigrationDisabled, match="no second path"):
            client.path_commands.open(SERVER, None, pair.now)
        assert client.path_commands.open(SECOND, None, pair.now) == 1, "another address of the peer"
        pair.settle(0.5)
        assert ids(pair) == ([0, 1], [0, 1])
    client.path_commands.on_network_change(lambda path: False, pair.now)
    assert (path.local is None) is traversing
    assert path.is_live() is not traversing
    if not traversing:
        assert client._p.paths.get(1) is None or not client._p.paths.get(1).is_live(), "replaced"
    pair.settle(1.0)
    transfer(pair, 10_000)
