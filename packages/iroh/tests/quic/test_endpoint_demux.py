"""The engine's endpoint with connections that only take notes: who gets what, and what not."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.quic import strangers
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import is_one_run
from iroh.quic.errors import Reset
from iroh.quic.local_cids import CidChange
from iroh.quic.remote_cids import TokenChange
from iroh.quic.roles import Dial
from iroh.quic.shared import Shared

from .demux_kit import (
    CLIENT,
    CONFIG,
    KEY,
    LOCAL,
    NOW,
    PEER,
    STRANGER,
    dial,
    feed,
    handshake,
    initial,
    joined,
    make,
    short,
)

# -- runs ----------------------------------------------------------------------------------------


def test_a_batch_of_one_id_is_handed_on_as_it_is():
    endpoint = make()
    connection = dial(endpoint, 1, 2)
    batch = joined(*[short(b"\2" * 8, fill=n) for n in range(40)], short(b"\2" * 8, size=30))
    taken: list[Datagrams] = []
    connection.receive_run = lambda path_id, datagrams, now: taken.append(datagrams)
    received = endpoint.receive([batch], NOW)
    assert taken == [batch]
    assert taken[0] is batch
    assert received.connections == [connection]
    assert received.incoming == []


def test_each_path_has_its_ids():
    endpoint = make()
    connection = dial(endpoint, 1, 2)
    feed(endpoint, short(connection.source), short(b"\1" * 8), short(b"\2" * 8), ecn=1)
    assert [(run[0], run[1], run[3], run[4]) for run in connection.runs] == [
        (0, CLIENT, 100, 1),
        (1, CLIENT, 100, 1),
        (2, CLIENT, 100, 1),
    ]


def test_a_batch_of_several_ids_is_split_into_runs():
    endpoint = make()
    one, two = dial(endpoint, 1, 2), dial(endpoint, 3)
    a, b, c = (b"\1" * 8, b"\2" * 8, b"\3" * 8)
    order = [a, a, b, c, c, c, a]
    batch = joined(*[short(cid, fill=n) for n, cid in enumerate(order)], short(a, size=40))
    received = endpoint.receive([batch], NOW)
    assert received.connections == [one, two]
    assert [(run[0], len(run[2]), run[3], run[4]) for run in one.runs] == [
        (1, 200, 100, 2),
        (2, 100, 100, 2),
        (1, 140, 100, 2),
    ]
    assert [(run[0], len(run[2])) for run in two.runs] == [(3, 300)]
    assert b"".join(run[2] for run in one.runs) == b"".join([batch.data[:300], batch.data[600:]])


def test_long_and_short_headers_in_one_batch():
    endpoint = make()
    connection = dial(endpoint, 1)
    long = handshake(connection.source)
    size = len(long)
    batch = joined(long, short(b"\1" * 8, size), short(b"\1" * 8, size), long, short(b"\1" * 8, 30))
    endpoint.receive([batch], NOW)
    assert connection.longs == [(long, CLIENT, LOCAL, 2)] * 2
    assert [(run[0], len(run[2])) for run in connection.runs] == [(1, 2 * size), (1, 30)]


def test_one_call_touches_each_connection_once():
    endpoint = make()
    one, two = dial(endpoint, 1), dial(endpoint, 2)
    received = feed(endpoint, *[short(b"\2" * 8), short(b"\1" * 8)] * 3, handshake(one.source))
    assert received.connections == [two, one]


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.integers(1, 60),
    st.integers(1, 60),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_every_datagram_goes_to_its_id_once_and_in_order(kinds, size, last, data):
    """0..2 are ids of paths, 3 is nobody's, 4 a long header, 5 noise."""
    endpoint = make()
    connection = dial(endpoint, 0, 1, 2)
    connection.runs.clear()
    pieces = []
    for index, kind in enumerate(kinds):
        wanted = size if index < len(kinds) - 1 else min(size, last)
        if kind == 4:
            piece = handshake(bytes([1]) * 8)
        elif kind == 5:
            piece = data.draw(st.binary(min_size=wanted, max_size=wanted))
        else:
            piece = short(bytes([kind]) * 8, 60, index)
        pieces.append((piece + bytes(60))[:wanted])
    endpoint.receive([Datagrams(CLIENT, b"".join(pieces), size)], NOW)
    assert b"".join(run[2] for run in connection.runs) == b"".join(
        piece
        for piece in pieces
        if piece[0] < 0x80 and piece[1:9] in [bytes([n]) * 8 for n in (0, 1, 2)]
    )
    for path_id, _, run, segment, _ in connection.runs:
        assert is_one_run(run, segment)
        assert run[1:9] == bytes([path_id]) * 8
    for long, *_ in connection.longs:
        assert long[0] & 0x80


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=70),
    st.integers(9, 40),
    st.integers(1, 40),
    st.booleans(),
)
def test_one_run_or_not(kinds, size, last, has_long):
    pieces = [short(bytes([kind]) * 8, size, n) for n, kind in enumerate(kinds)]
    pieces[-1] = pieces[-1][: min(size, last)]
    if has_long:
        at = len(pieces) // 2
        pieces[at] = b"\xc1" + pieces[at][1:]
    expected = not has_long and len({piece[1:9] for piece in pieces}) == 1
    assert is_one_run(b"".join(pieces), size) == expected


@given(st.binary(max_size=1500), st.integers(0, 1500))
@settings(max_examples=300)
def test_noise_harms_nobody(noise, size):
    endpoint = make()
    connection = dial(endpoint, 1)
    received = endpoint.receive([Datagrams(CLIENT, noise, size)], NOW)
    assert received.incoming == []
    assert received.connections == []
    assert connection.runs == []
    for answer in endpoint.transmit():
        assert len(answer.data) < len(noise)


def test_no_datagram_at_all():
    endpoint = make()
    assert endpoint.receive([Datagrams(CLIENT, b"")], NOW).connections == []
    assert endpoint.receive([], NOW).connections == []


# -- ids that come and go --------------------------------------------------------------------------


def test_ids_that_come_while_receiving_lead_here_at_once():
    endpoint = make()
    connection = dial(endpoint, 1)
    connection.on_receive = lambda: connection.add(b"new one.", 7) and None
    feed(endpoint, short(b"\1" * 8))
    connection.on_receive = lambda: None
    feed(endpoint, short(b"new one."))
    assert [run[0] for run in connection.runs] == [1, 7]


def test_ids_that_go_lead_nowhere():
    endpoint = make()
    connection = dial(endpoint, 1)
    connection.cid_changes.append(CidChange(False, b"\1" * 8, 1))
    connection.cid_changes.append(CidChange(False, b"unknown.", 1))
    endpoint.update(connection)
    feed(endpoint, short(b"\1" * 8))
    assert connection.runs == []
    assert endpoint.dropped["unknown connection"] == 1


def test_ids_that_came_by_a_timer_are_asked_for_before_a_stranger_is_believed():
    endpoint = make()
    connection = dial(endpoint)
    connection.add(b"by timer", 3)
    received = feed(endpoint, short(b"by timer"))
    assert received.connections == [connection]
    assert connection.runs[0][0] == 3
    # but not for every stranger
    connection.add(b"by timer"[::-1], 4)
    feed(endpoint, short(b"by timer"[::-1]), now=NOW + 0.01)
    assert len(connection.runs) == 1
    feed(endpoint, short(b"by timer"[::-1]), now=NOW + 0.03)
    assert len(connection.runs) == 2


def test_an_id_cannot_be_taken_away():
    endpoint = make()
    one, two = dial(endpoint, 1), dial(endpoint)
    two.add(b"\1" * 8, 5)
    endpoint.update(two)
    two.cid_changes.append(CidChange(False, b"\1" * 8, 5))
    endpoint.update(two)
    feed(endpoint, short(b"\1" * 8))
    assert len(one.runs) == 1


def test_forgotten_connections_leave_nothing():
    endpoint = make()
    connection = dial(endpoint, 1, 2)
    connection.token_changes.append(TokenChange(True, b"t" * 16))
    endpoint.update(connection)
    (incoming,) = feed(endpoint, initial()).incoming
    server: Any = incoming.accept(CONFIG, NOW)
    feed(endpoint, initial(dcid=b"another.")).incoming[0].ignore()
    assert endpoint.remembered() == 3 + 1 + 1 + 1 + 1
    for each in (connection, server, connection):
        endpoint.forget(each)
    assert endpoint.remembered() == 0
    assert not list(endpoint.routes.connections)


# -- stateless reset -------------------------------------------------------------------------------


def test_a_reset_reaches_its_connection():
    endpoint = make()
    connection, bystander = dial(endpoint, 1), dial(endpoint, 2)
    token = b"the peer's token"
    connection.token_changes.append(TokenChange(True, token))
    endpoint.update(connection)
    bystander.token_changes.append(TokenChange(True, token))  # cannot be taken from the first
    endpoint.update(bystander)
    received = feed(endpoint, bytes((0x51,)) + bytes(30) + token)
    assert connection.resets == [Reset()]
    assert bystander.resets == []
    assert received.connections == [connection]
    assert endpoint.transmit() == []
    connection.token_changes.append(TokenChange(False, token))
    endpoint.update(connection)
    feed(endpoint, bytes((0x51,)) + bytes(30) + token)
    assert connection.resets == [Reset()]


def test_strangers_are_answered_with_a_reset_that_is_smaller():
    endpoint = make()
    sizes = []
    for number, size in enumerate([21, 22, 30, 60, 300, 1452]):
        feed(endpoint, short(STRANGER, size), now=NOW + number)
        for answer in endpoint.transmit():
            sizes.append(len(answer.data))
            assert len(answer.data) < size
            assert answer.data[0] & 0xC0 == 0x40
            assert answer.data[-16:] == endpoint.shared.reset_token(STRANGER)
            assert (answer.remote, answer.local) == (CLIENT, LOCAL)
    assert len(sizes) == 5
    assert sizes[0] == 21


def test_reset_tokens_follow_from_the_ids_and_differ_between_endpoints():
    shared, other = make().shared, Shared(KEY)
    cids = [bytes([n]) * 8 for n in range(40)]
    tokens = shared.reset_tokens(cids)
    assert [len(token) for token in tokens] == [16] * 40
    assert len({*tokens, *other.reset_tokens(cids)}) == 80
    assert [shared.reset_token(cid) for cid in cids] == tokens
    assert shared.reset_tokens([]) == []


def test_resets_are_rare():
    endpoint = make()
    feed(endpoint, *[short(STRANGER)] * 5)
    feed(endpoint, short(STRANGER), now=NOW + 0.019)
    assert len(endpoint.transmit()) == 1
    feed(endpoint, short(STRANGER), now=NOW + 0.02)
    assert len(endpoint.transmit()) == 1


def test_what_has_no_fixed_bit_is_not_answered():
    """STUN and other things that are not QUIC."""
    endpoint = make()
    feed(endpoint, b"\x00\x01" + bytes(98))
    assert endpoint.transmit() == []


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=1))
def test_reset_sizes(received, draw):
    answer = strangers.stateless_reset(received, bytes(16), lambda n: draw * n)
    if answer is None:
        assert received < 22
    else:
        assert 21 <= len(answer) < received
        assert len(answer) <= 16 + strangers.MAX_RESET_PADDING


# -- dialling --------------------------------------------------------------------------------------


def test_what_a_dial_is_made_with():
    endpoint = make()
    connection: Any = endpoint.connect(CLIENT, PEER, [b"a", b"b"], NOW)
    made = connection.made
    assert (made["role"], made["alpns"], made["remote"]) == (
        Dial(PEER, early_data=False),
        [b"a", b"b"],
        CLIENT,
    )
    assert made["shared"] is endpoint.shared
    assert endpoint.routes.by_cid == {connection.source: (connection, 0)}


@pytest.mark.parametrize(
    ("peer", "alpns"),
    [
        (b"short", [b"a"]),
        (PEER, []),
        (PEER, [b""]),
        (PEER, [b"x" * 256]),
        (PEER, [b"x" * 255] * 33),
    ],
)
def test_dials_that_cannot_be(peer, alpns):
    with pytest.raises(ValueError):
        make().connect(CLIENT, peer, alpns, NOW)
