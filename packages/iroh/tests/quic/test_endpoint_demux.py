"""The new engine's endpoint with connections that only take notes: who gets what, and what not."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.quic import packet as pk
from iroh.quic import strangers
from iroh.quic.api import ServerConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint, is_one_run
from iroh.quic.errors import CONNECTION_REFUSED, LocallyClosed, Reset
from iroh.quic.frames import INITIAL, ConnectionClose, decode_payload
from iroh.quic.incoming import MAX_HELD
from iroh.quic.keys import AES_128_GCM_SHA256, HeaderKey, PacketKey, initial_secrets, seal_packet
from iroh.quic.limits import Limits
from iroh.quic.local_cids import CidChange
from iroh.quic.opening import open_long
from iroh.quic.remote_cids import TokenChange
from iroh.quic.tokens import RetryToken
from iroh_base import SecretKey

CLIENT, OTHER, LOCAL = ("10.0.0.1", 1000), ("10.0.0.3", 3000), ("10.0.0.2", 2000)
KEY = SecretKey.from_bytes(bytes(32))
PEER = bytes(32)
CONFIG = ServerConfig([b"a"])
NOW = 100.0
STRANGER = b"nobody's"


class Notes:
    """A connection that takes notes. Its ids are numbers: 0 for path 0, and so on."""

    def __init__(self, **made: Any) -> None:
        self.made = made
        self.peer: bytes | None = None
        self.close_reason: Any = None
        self.runs: list[tuple[int, Any, bytes, int, int]] = []
        self.longs: list[tuple[bytes, Any, Any, int]] = []
        self.resets: list[Any] = []
        self.cid_changes: list[CidChange] = []
        self.token_changes: list[TokenChange] = []
        self.on_receive: Callable[[], None] = lambda: None
        self.source = made["shared"].new_cid()
        self.add(self.source)

    def add(self, cid: bytes, path_id: int = 0) -> bytes:
        self.cid_changes.append(CidChange(True, cid, path_id))
        return cid

    def receive_run(self, path_id, datagrams, now):
        d = datagrams
        self.runs.append((path_id, d.remote, d.data, d.segment_size, d.ecn))
        self.on_receive()

    def receive_long(self, data, remote, local, ecn, now):
        self.longs.append((data, remote, local, ecn))
        self.on_receive()

    def vanish(self, reason, now):
        self.resets.append(reason)

    def take_cid_changes(self):
        changes, self.cid_changes = self.cid_changes, []
        return changes

    def take_token_changes(self):
        changes, self.token_changes = self.token_changes, []
        return changes


def make(accepting=True, limits=None) -> Endpoint:
    rng = random.Random(4).randbytes
    return Endpoint(Notes, KEY, CONFIG if accepting else None, rng=rng, limits=limits)


def dial(endpoint: Endpoint, *paths: int) -> Notes:
    """A connection with an id for each path: 8 bytes of its number."""
    connection: Any = endpoint.connect(CLIENT, PEER, [b"a"], NOW)
    for path_id in paths:
        connection.add(bytes([path_id]) * 8, path_id)
    endpoint.update(connection)
    return connection


def short(cid: bytes, size: int = 100, fill: int = 7) -> bytes:
    return bytes((0x41,)) + cid + bytes([fill]) * (size - 1 - len(cid))


def initial(dcid=b"first id", scid=b"their id", token=b"", size=1200, payload=b"\x01") -> bytes:
    secret, _ = initial_secrets(dcid)
    overhead = pk.long_overhead(pk.INITIAL, dcid, scid, token)
    payload += bytes(size - overhead - len(payload))
    header = pk.long_header(pk.INITIAL, dcid, scid, 0, 4, len(payload), token)
    key, hp = PacketKey(AES_128_GCM_SHA256, secret), HeaderKey(AES_128_GCM_SHA256, secret)
    return seal_packet(key, hp, header, 0, payload)


def handshake(dcid: bytes) -> bytes:
    return pk.long_header(pk.HANDSHAKE, dcid, b"their id", 0, 4, 20) + bytes(36)


def feed(endpoint: Endpoint, *datagrams: bytes, remote=CLIENT, now=NOW, ecn=0):
    return endpoint.receive([Datagrams(remote, d, ecn=ecn, local=LOCAL) for d in datagrams], now)


def joined(*datagrams: bytes, size: int = 0, ecn: int = 2) -> Datagrams:
    return Datagrams(CLIENT, b"".join(datagrams), size or len(datagrams[0]), ecn, LOCAL)


def refusal_code(data: bytes, dcid=b"first id") -> int:
    """The code of an Initial with CONNECTION_CLOSE, opened as the client would."""
    header = pk.parse_long(data)
    _, secret = initial_secrets(dcid)
    key, hp = PacketKey(AES_128_GCM_SHA256, secret), HeaderKey(AES_128_GCM_SHA256, secret)
    opened = open_long(key, hp, data, header, -1)
    assert opened is not None
    (frame,) = decode_payload(opened[1], INITIAL)
    assert isinstance(frame, ConnectionClose)
    return frame.code


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


# -- attempts --------------------------------------------------------------------------------------


def test_an_attempt_is_offered_and_its_datagrams_are_kept():
    endpoint = make()
    received = feed(endpoint, initial(), ecn=1)
    (incoming,) = received.incoming
    assert received.connections == []
    assert (incoming.remote, incoming.local, incoming.remote_validated) == (CLIENT, LOCAL, False)
    more = initial(payload=b"\1\1")
    assert feed(endpoint, more).incoming == []
    feed(endpoint, initial(), remote=OTHER)
    assert endpoint.dropped["unexpected remote"] == 1
    connection: Any = incoming.accept(CONFIG, NOW)
    assert connection.longs == [(initial(), CLIENT, LOCAL, 1), (more, CLIENT, LOCAL, 0)]
    made = connection.made
    assert made["peer"] is None
    assert made["original_destination"] == b"first id"
    assert (made["retry_source"], made["remote_cid"]) == (None, b"their id")
    assert (made["alpns"], made["remote"], made["local"]) == ([b"a"], CLIENT, LOCAL)
    # what still carries the client's own id comes here, and what carries ours
    received = feed(endpoint, initial(), handshake(connection.source), remote=OTHER)
    assert received.connections == [connection]
    assert [long[1] for long in connection.longs[2:]] == [OTHER, OTHER]
    # a short header cannot carry the id that the client made up
    assert feed(endpoint, short(b"first id")).connections == []


def test_an_attempt_is_decided_once():
    endpoint = make()
    (incoming,) = feed(endpoint, initial()).incoming
    incoming.ignore()
    assert endpoint.remembered() == 0
    for decide in (
        lambda: incoming.accept(CONFIG, NOW),
        lambda: incoming.refuse(NOW),
        lambda: incoming.retry(NOW),
        incoming.ignore,
    ):
        with pytest.raises(ValueError):
            decide()
    assert len(feed(endpoint, initial()).incoming) == 1


def test_an_attempt_can_be_refused():
    endpoint = make()
    feed(endpoint, initial()).incoming[0].refuse(NOW)
    (answer,) = endpoint.transmit()
    assert (answer.remote, answer.local) == (CLIENT, LOCAL)
    header = pk.parse_long(answer.data)
    assert header.dcid == b"their id"
    assert refusal_code(answer.data) == CONNECTION_REFUSED
    assert endpoint.transmit() == []


def test_an_endpoint_that_does_not_accept_refuses():
    endpoint = make(accepting=False)
    assert feed(endpoint, initial()).incoming == []
    assert refusal_code(endpoint.transmit()[0].data) == CONNECTION_REFUSED
    endpoint.set_accepting(True)
    assert len(feed(endpoint, initial()).incoming) == 1


def follow_retry(endpoint: Endpoint) -> bytes:
    """The Initial with which a client answers the Retry that waits to be sent."""
    (answer,) = endpoint.transmit()
    header = pk.parse_long(answer.data)
    assert header.kind == pk.RETRY
    assert header.dcid == b"their id"
    assert pk.is_retry_authentic(b"first id", answer.data)
    return initial(dcid=header.scid, token=header.token)


def test_retry_validates_the_address():
    endpoint = make()
    feed(endpoint, initial()).incoming[0].retry(NOW)
    second = follow_retry(endpoint)
    assert feed(endpoint, second, remote=OTHER).incoming == []
    assert endpoint.dropped["unexpected remote"] == 1
    (incoming,) = feed(endpoint, second).incoming
    assert incoming.remote_validated
    with pytest.raises(ValueError):
        incoming.retry(NOW)
    connection: Any = incoming.accept(CONFIG, NOW)
    assert connection.made["original_destination"] == b"first id"
    assert connection.made["retry_source"] == pk.parse_long(second).dcid


def test_an_expired_token_is_invalid():
    endpoint = make()
    feed(endpoint, initial()).incoming[0].retry(NOW)
    second = follow_retry(endpoint)
    assert feed(endpoint, second, now=NOW + 16).incoming == []
    (answer,) = endpoint.transmit()
    assert refusal_code(answer.data, pk.parse_long(second).dcid) == 0xB


def test_a_token_that_is_not_ours_is_none():
    endpoint = make()
    (incoming,) = feed(endpoint, initial(token=b"from NEW_TOKEN, or another server")).incoming
    assert not incoming.remote_validated


def test_what_is_no_first_packet():
    endpoint = make()
    changed = bytearray(initial())
    changed[-1] ^= 1
    for data in (
        initial(size=1199),
        initial(dcid=b"7 bytes"),
        handshake(b"first id") + bytes(1200),
        bytes(changed),
        initial()[:1] + bytes(4) + initial()[5:],
        b"\xc0\x00\x00\x00\x01\x15" + bytes(1300),  # an id of 21 bytes
    ):
        assert feed(endpoint, data).incoming == []
    assert endpoint.transmit() == []
    assert endpoint.dropped["unknown connection"] == 5
    assert endpoint.dropped["not authentic or duplicate"] == 1


@given(st.binary(min_size=1194, max_size=1194), st.sampled_from([0, 1, 0xFF00001D]))
@settings(max_examples=100, deadline=None)
def test_long_headers_of_noise(noise, version):
    endpoint = make()
    data = b"\xc0" + version.to_bytes(4, "big") + b"\x08" + noise
    received = endpoint.receive([Datagrams(CLIENT, data)], NOW)
    assert received.incoming == []
    assert sum(len(answer.data) for answer in endpoint.transmit()) < len(data)


# -- limits ----------------------------------------------------------------------------------------


def flood(endpoint: Endpoint, count: int, start: int = 0):
    """Attempts of as many clients; the accepted ones."""
    return [
        incoming.accept(CONFIG, NOW)
        for number in range(start, start + count)
        for incoming in feed(endpoint, initial(dcid=b"first%03d" % number)).incoming
    ]


def test_half_open_connections_bring_retry_then_silence():
    endpoint = make(limits=Limits(half_open_soft=2, half_open_hard=3))
    accepted = flood(endpoint, 4)
    assert len(accepted) == 2
    assert [pk.parse_long(a.data).kind for a in endpoint.transmit()] == [pk.RETRY, pk.RETRY]
    made = endpoint._tokens.make(RetryToken(b"first id", b"8 bytes."), CLIENT, NOW)
    (incoming,) = feed(endpoint, initial(dcid=b"8 bytes.", token=made)).incoming
    assert incoming.remote_validated
    assert flood(endpoint, 1, 10) == []
    assert endpoint.dropped["too many half-open"] == 1
    assert endpoint.transmit() == []


def test_done_or_over_is_not_half_open():
    endpoint = make(limits=Limits(half_open_soft=2, half_open_hard=2))
    first, second = flood(endpoint, 2)
    assert flood(endpoint, 1, 10) == []
    first.peer = PEER
    second.close_reason = LocallyClosed()
    feed(endpoint, handshake(first.source), handshake(second.source))
    assert len(flood(endpoint, 2, 20)) == 2
    for connection in (first, second):
        endpoint.forget(connection)


def test_waiting_attempts_hold_a_bounded_number_of_bytes():
    endpoint = make(limits=Limits(waiting_bytes=3000))
    (incoming,) = feed(endpoint, *[initial()] * 4).incoming
    assert endpoint.dropped["too much waits"] == 2
    assert feed(endpoint, initial(dcid=b"another.")).incoming == []
    assert pk.parse_long(endpoint.transmit()[0].data).kind == pk.RETRY
    incoming.ignore()
    assert endpoint._waiting_bytes == 0
    assert len(feed(endpoint, initial(dcid=b"another.")).incoming) == 1


def test_one_attempt_holds_a_bounded_number_of_datagrams():
    endpoint = make()
    feed(endpoint, *[initial()] * (MAX_HELD + 9))
    assert endpoint.dropped["too much waits"] == 9


def test_answers_to_strangers_are_bounded(monkeypatch):
    monkeypatch.setattr("iroh.quic.endpoint.MAX_OUTBOX", 2)
    endpoint = make(accepting=False)
    flood(endpoint, 4)
    assert len(endpoint.transmit()) == 2
    assert endpoint.dropped["outbox full"] == 2


# -- versions --------------------------------------------------------------------------------------


def with_version(data: bytes, version: int) -> bytes:
    return data[:1] + version.to_bytes(4, "big") + data[5:]


def test_unknown_versions_are_negotiated():
    endpoint = make()
    assert feed(endpoint, with_version(initial(), 0xFF00001D)).incoming == []
    (answer,) = endpoint.transmit()
    header = pk.parse_long(answer.data)
    assert header.kind == pk.VERSION_NEGOTIATION
    assert (header.dcid, header.scid) == (b"their id", b"first id")
    assert pk.VERSION_1 in pk.offered_versions(answer.data, header.pn_at)
    assert endpoint.dropped["unknown version"] == 1


def test_versions_of_small_packets_or_without_accepting_are_not_negotiated():
    endpoint = make()
    feed(endpoint, with_version(initial(size=1199), 0xFF00001D))
    endpoint.set_accepting(False)
    feed(endpoint, with_version(initial(), 0xFF00001D))
    assert endpoint.transmit() == []


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
    assert (made["peer"], made["alpns"], made["remote"]) == (PEER, [b"a", b"b"], CLIENT)
    assert made["original_destination"] is made["retry_source"] is made["remote_cid"] is None
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
