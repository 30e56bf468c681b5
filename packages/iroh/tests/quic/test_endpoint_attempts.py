"""The engine's endpoint and attempts to connect: decisions, tokens, limits, versions."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.quic import packet as pk
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint
from iroh.quic.errors import CONNECTION_REFUSED, LocallyClosed
from iroh.quic.incoming import MAX_HELD
from iroh.quic.limits import Limits
from iroh.quic.roles import Attempt

from .demux_kit import (
    CLIENT,
    CONFIG,
    LOCAL,
    NOW,
    OTHER,
    PEER,
    feed,
    handshake,
    initial,
    make,
    refusal_code,
    short,
)

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
    assert made["role"] == Attempt(b"their id", b"first id", None, False)
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
    retry_source = pk.parse_long(second).dcid
    assert connection.made["role"] == Attempt(b"their id", b"first id", retry_source, True)


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
    made = endpoint._tokens.for_retry(b"first id", b"8 bytes.", CLIENT, NOW)
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
