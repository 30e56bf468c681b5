"""Routing, attempts, Retry, version negotiation, stateless reset, limits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quic_sim import ALPN, CLIENT, SERVER, Wire, connect, make_net, seeded, transfer

from aioquic_engine import Limits, packets
from aioquic_engine.incoming import MAX_HELD
from iroh.quic.api import ServerConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.errors import ConnectionClosed, ConnectionGone, Reset, TimedOut, VersionMismatch
from iroh.quic.events import Closed, Connected, Drained, PathChanged
from iroh.quic.tokens import RetryToken, RetryTokens, TokenExpired, TokenMisplaced

OTHER = ("10.9.9.9", 9)


def initial(client, server, **options):
    """The first datagram of a new dial."""
    connection = client.dial(server, **options)
    (batch,) = connection.transmit(client.net.now)
    return connection, batch.data


# -- routing -----------------------------------------------------------------------------------


def test_one_call_touches_each_connection_once():
    net, client, server = make_net()
    dials = [client.dial(server) for _ in range(5)]
    net.run(lambda: all(client.got(dial, Connected) for dial in dials))
    net.sleep(1)
    batches = []
    for dial in dials * 2:
        dial.ping()
        out = dial.transmit(net.now)
        batches += [Datagrams(CLIENT, batch.data, batch.segment_size) for batch in out]
    received = server.endpoint.receive(batches, net.now)
    assert len(batches) == 10
    assert len(received.connections) == 5 == len(set(received.connections))
    assert received.incoming == []


def test_a_batch_may_hold_several_connections():
    net, client, server = make_net()
    a, b = client.dial(server), client.dial(server)
    net.run(lambda: bool(client.got(a, Connected) and client.got(b, Connected)))
    net.sleep(1)
    datagrams = []
    for dial in (a, b):
        dial.send_datagram(bytes(100))
        datagrams += [data for batch in dial.transmit(net.now) for data in batch]
    assert len({len(data) for data in datagrams}) == 1
    joined = Datagrams(CLIENT, b"".join(datagrams), len(datagrams[0]))
    assert len(server.endpoint.receive([joined], net.now).connections) == 2


def test_connection_takes_its_own_datagrams_directly():
    pair = connect()
    pair.client.ping()
    for batch in pair.client.transmit(pair.net.now):
        pair.server.receive(Datagrams(CLIENT, batch.data, batch.segment_size), pair.net.now)
    assert pair.server.next_timeout() < pair.net.now + 0.1  # an ACK is due


def test_forgotten_connections_leave_nothing():
    pair = connect()
    pair.net.sleep(1)
    pair.client.close(0, b"", pair.net.now)
    pair.net.run(lambda: bool(pair.server_peer.got(pair.server, Drained)))
    pair.net.sleep(5)
    for peer in (pair.client_peer, pair.server_peer):
        routes = peer.endpoint._shared.routes
        assert routes.by_cid == routes.by_token == routes._cids == routes._token == {}
        assert not peer.endpoint._shared.half_open


def test_connection_ids_can_be_retired_for_ever():
    pair = connect()
    pair.net.sleep(1)
    for _ in range(100):
        pair.client._core.change_connection_id()
        pair.client.ping()
        pair.net.sleep(0.2)
    assert not pair.closed(pair.server)
    assert len(pair.server_peer.endpoint._shared.routes.by_cid) <= 5 + 32 + 2
    assert transfer(pair, b"still here") == b"still here"


# -- attempts ----------------------------------------------------------------------------------


def test_an_attempt_can_be_refused():
    net, client, server = make_net()
    server.auto_accept = False
    connection = client.dial(server)
    net.run(lambda: bool(server.incoming))
    incoming = server.incoming[0]
    assert (incoming.remote, incoming.local, incoming.remote_validated) == (CLIENT, None, False)
    incoming.refuse(net.now)
    net.run(lambda: bool(client.got(connection, Closed)))
    assert connection.close_reason == ConnectionClosed(2, b"", 0)
    assert str(connection.close_reason) == (
        "aborted by peer: the server refused to accept a new connection"
    )


def test_an_attempt_can_be_ignored_and_comes_again():
    net, client, server = make_net()
    server.auto_accept = False
    client.dial(server)
    net.run(lambda: bool(server.incoming))
    server.incoming[0].ignore()
    net.run(lambda: len(server.incoming) == 2, seconds=3)
    server.add(server.incoming[1].accept(server.config, net.now))
    net.run(lambda: bool(server.got(server.connections[0], Connected)))


def test_an_attempt_is_decided_once():
    net, client, server = make_net()
    server.auto_accept = False
    client.dial(server)
    net.run(lambda: bool(server.incoming))
    server.incoming[0].ignore()
    for decide in (
        lambda: server.incoming[0].accept(server.config, net.now),
        lambda: server.incoming[0].refuse(net.now),
        lambda: server.incoming[0].retry(net.now),
        lambda: server.incoming[0].ignore(),
    ):
        with pytest.raises(ValueError):
            decide()


def test_an_endpoint_that_does_not_accept_refuses():
    net, client, server = make_net()
    server.endpoint.set_accepting(False)
    connection = client.dial(server)
    net.run(lambda: bool(client.got(connection, Closed)))
    assert connection.close_reason.code == 2
    server.endpoint.set_accepting(True)
    again = client.dial(server)
    net.run(lambda: bool(client.got(again, Connected)))


def test_retry_validates_the_address():
    net, client, server = make_net()
    server.auto_accept = False
    connection = client.dial(server)
    net.run(lambda: bool(server.incoming))
    server.incoming[0].retry(net.now)
    net.run(lambda: len(server.incoming) == 2)
    assert server.incoming[1].remote_validated
    with pytest.raises(ValueError):
        server.incoming[1].retry(net.now)
    server.add(server.incoming[1].accept(server.config, net.now))
    net.run(lambda: bool(client.got(connection, Connected)))
    assert len(server.incoming) == 2


def test_after_a_retry_only_the_address_that_got_it_counts():
    """Two copies of the Initial arrive from two addresses; each may be answered with a Retry."""
    net, client, server = make_net()
    server.auto_accept = False
    relayed, relay = ("relay", "c"), ("relay", "s")
    net.routes["mixed"] = [(SERVER, relayed), (SERVER, CLIENT)]
    net.routes[relayed] = [(CLIENT, relay)]
    net.routes[relay] = [(SERVER, relayed), (SERVER, OTHER)]  # copies go on, from a third address
    connection = client.dial(server, "mixed")
    net.run(lambda: bool(server.incoming))
    server.incoming[0].retry(net.now)
    net.run(lambda: len(server.incoming) == 2)
    assert connection.remote == relay
    assert PathChanged(relay) in client.events[connection]
    assert server.incoming[1].remote == relayed
    assert server.incoming[1].remote_validated
    server.add(server.incoming[1].accept(server.config, net.now))
    net.run(lambda: bool(client.got(connection, Connected)))
    assert server.endpoint.dropped["unexpected remote"] >= 2


def test_a_misplaced_token_makes_no_attempt():
    net, client, server = make_net()
    server.auto_accept = False
    connection = client.dial(server)
    net.run(lambda: bool(server.incoming))
    server.incoming[0].retry(net.now)
    net.wire.lose = lambda n, data: True
    server.flush()
    (_, _, answer) = net.log[-1]
    client.take([Datagrams(SERVER, answer)])
    (second,) = connection.transmit(net.now)
    received = server.endpoint.receive([Datagrams(OTHER, second.data)], net.now)
    assert received.incoming == []
    assert server.endpoint.transmit() == []
    received = server.endpoint.receive([Datagrams(CLIENT, second.data)], net.now)
    assert received.incoming[0].remote_validated


def test_an_expired_token_is_invalid():
    net, client, server = make_net()
    server.auto_accept = False
    connection = client.dial(server)
    net.run(lambda: bool(server.incoming))
    server.incoming[0].retry(net.now)
    net.wire.lose = lambda n, data: True
    server.flush()
    client.take([Datagrams(SERVER, net.log[-1][2])])
    (second,) = connection.transmit(net.now)
    assert not server.endpoint.receive([Datagrams(CLIENT, second.data)], net.now + 16).incoming
    (answer,) = server.endpoint.transmit()
    connection.feed(answer.data, SERVER, None, net.now + 16)
    connection.settle()
    assert connection.close_reason == ConnectionClosed(0xB, b"", 0)


@given(st.binary(max_size=100), st.binary(min_size=8, max_size=20), st.integers(0, 10**6))
@settings(max_examples=100)
def test_tokens(noise, destination, now):
    tokens = RetryTokens(seeded(1))
    token = RetryToken(destination, b"8 bytes.")
    sealed = tokens.make(destination, b"8 bytes.", CLIENT, now)
    assert tokens.open(sealed, CLIENT, b"8 bytes.", now + 15) == token
    assert tokens.open(noise, CLIENT, b"8 bytes.", now) is None
    assert tokens.open(sealed[:-1], CLIENT, b"8 bytes.", now) is None
    with pytest.raises(TokenMisplaced):
        tokens.open(sealed, OTHER, b"8 bytes.", now)
    with pytest.raises(TokenMisplaced):
        tokens.open(sealed, CLIENT, b"9 bytes.", now)
    with pytest.raises(TokenExpired):
        tokens.open(sealed, CLIENT, b"8 bytes.", now + 15.1)
    assert RetryTokens(seeded(2)).open(sealed, CLIENT, b"8 bytes.", now) is None


# -- limits ------------------------------------------------------------------------------------


def test_half_open_connections_bring_retry_then_silence():
    limits = Limits(half_open_soft=3, half_open_hard=6)
    net, client, server = make_net(limits=limits)
    for _ in range(3):
        _, data = initial(client, server)
        server.take([Datagrams(OTHER, data)])
    server.flush()
    assert len(server.connections) == 3
    honest = client.dial(server)
    net.run(lambda: bool(client.got(honest, Connected)), seconds=3)  # through a Retry
    assert honest._core.retries == 1
    flood = []
    for _ in range(10):
        _, data = initial(client, server)
        flood.append(Datagrams(OTHER, data))
    server.take(flood)
    out = server.endpoint.transmit()
    assert sum(len(b.data) for b in out) < sum(len(b.data) for b in flood)
    assert len(server.connections) == 4
    assert len(server.endpoint._shared.half_open) == 3
    for connection in client.connections:
        if connection is not honest:
            connection.close(0, b"", net.now)
    net.run(lambda: not server.endpoint._shared.half_open, seconds=40)
    assert [c.close_reason for c in server.connections if c.close_reason] == [TimedOut()] * 3


def test_beyond_the_hard_limit_attempts_are_dropped():
    _net, client, server = make_net(limits=Limits(half_open_soft=1, half_open_hard=1))
    server.take([Datagrams(CLIENT, initial(client, server)[1])])
    server.take([Datagrams(CLIENT, initial(client, server)[1])])
    assert server.endpoint.dropped["too many half-open"] == 1
    assert server.endpoint.transmit() == []


def test_waiting_attempts_hold_a_bounded_number_of_bytes():
    _net, client, server = make_net(limits=Limits(waiting_bytes=3000))
    server.auto_accept = False
    _, data = initial(client, server)
    server.take([Datagrams(CLIENT, data)] * 4)
    assert len(server.incoming) == 1
    assert server.endpoint.dropped["too much waits"] == 2
    server.take([Datagrams(CLIENT, initial(client, server)[1])])
    assert len(server.incoming) == 1
    assert len(server.endpoint.transmit()) == 1
    server.incoming[0].ignore()
    assert server.endpoint._waiting_bytes == 0
    server.take([Datagrams(CLIENT, data)])
    assert len(server.incoming) == 2


def test_one_attempt_holds_a_bounded_number_of_datagrams():
    _net, client, server = make_net()
    server.auto_accept = False
    _, data = initial(client, server)
    server.take([Datagrams(CLIENT, data)] * (MAX_HELD + 9))
    assert server.endpoint.dropped["too much waits"] == 9


def test_answers_to_strangers_are_bounded(monkeypatch):
    monkeypatch.setattr("aioquic_engine.endpoint.MAX_OUTBOX", 2)
    _net, client, server = make_net()
    server.endpoint.set_accepting(False)
    for _ in range(4):
        server.take([Datagrams(CLIENT, initial(client, server)[1])])
    assert len(server.endpoint.transmit()) == 2
    assert server.endpoint.dropped["outbox full"] == 2


def test_an_unvalidated_client_gets_at_most_three_times_its_bytes():
    net, client, server = make_net()
    _, data = initial(client, server)
    server.take([Datagrams(CLIENT, data)])
    sent = 0
    for _ in range(200):
        at = server.connections[0].next_timeout()
        if at is None:
            break
        net.now = max(net.now, at)
        server.connections[0].handle_timeout(net.now)
        while batches := server.connections[0].transmit(net.now):
            sent += sum(len(batch.data) for batch in batches)
    assert 0 < sent <= 3 * len(data)


# -- versions ----------------------------------------------------------------------------------


def with_version(data, version):
    return data[:1] + version.to_bytes(4, "big") + data[5:]


def test_unknown_versions_are_negotiated():
    _net, client, server = make_net()
    connection, data = initial(client, server)
    server.take([Datagrams(CLIENT, with_version(data, 0xFF00001D))])
    (answer,) = server.endpoint.transmit()
    first = packets.parse_first(data)
    assert answer.data[0] & 0x80
    assert answer.data[1:5] == bytes(4)
    assert packets.destination_of(answer.data) == first.source
    assert packets.source_of(answer.data) == first.destination
    assert bytes.fromhex("00000001") in answer.data[-8:]
    # It offers the version that the client speaks, so the client ignores it.
    client.take([Datagrams(SERVER, answer.data)])
    assert connection.close_reason is None
    client.take([Datagrams(SERVER, answer.data[:-8] + bytes.fromhex("ff00001d"))])
    assert connection.close_reason == VersionMismatch()
    assert [type(e) for e in connection.events()] == [Closed, Drained]


def test_version_negotiation_from_a_stranger_is_ignored():
    _net, client, server = make_net()
    connection, data = initial(client, server)
    first = packets.parse_first(data)
    ids = bytes([8]) + first.source + bytes([20]) + bytes(20)
    client.take([Datagrams(SERVER, b"\xc0" + bytes(4) + ids + bytes.fromhex("ff00001d"))])
    assert connection.close_reason is None


def test_no_version_negotiation_for_small_packets_or_without_accepting():
    _net, client, server = make_net()
    _, data = initial(client, server)
    strange = with_version(data, 0xFF00001D)
    server.take([Datagrams(CLIENT, strange[:1199])])
    assert server.endpoint.transmit() == []
    server.endpoint.set_accepting(False)
    server.take([Datagrams(CLIENT, strange)])
    assert server.endpoint.transmit() == []


def test_small_initials_are_dropped():
    _net, client, server = make_net()
    _, data = initial(client, server)
    server.take([Datagrams(CLIENT, data[:1199])])
    assert not server.connections
    assert server.endpoint.transmit() == []
    assert server.endpoint.dropped["unknown connection"] == 1


# -- stateless reset ---------------------------------------------------------------------------


def test_a_peer_that_forgot_us_resets():
    pair = connect()
    pair.net.sleep(1)
    pair.server_peer.events.clear()
    pair.server_peer.endpoint.forget(pair.server)
    pair.client.send_datagram(bytes(100))
    pair.net.run(lambda: bool(pair.client_peer.got(pair.client, Drained)), seconds=5)
    assert pair.client.close_reason == Reset()


def test_a_server_understands_a_reset_too():
    pair = connect()
    pair.net.sleep(1)
    pair.client_peer.events.clear()
    pair.client_peer.endpoint.forget(pair.client)
    pair.server.send_datagram(bytes(100))
    pair.net.run(lambda: bool(pair.server_peer.got(pair.server, Closed)), seconds=5)
    assert pair.server.close_reason == Reset()


def test_resets_are_rare_and_smaller_than_their_cause():
    net, _, server = make_net()
    sizes = []
    for n in range(100):
        server.take([Datagrams(OTHER, b"\x40" + bytes(20 + n))])
        sizes += [(len(b.data), 21 + n) for b in server.endpoint.transmit()]
        net.now += 0.005
    assert 15 <= len(sizes) <= 26
    assert all(21 <= answer < cause for answer, cause in sizes)
    assert server.endpoint.dropped["unknown connection"] == 100


def test_two_endpoints_do_not_reset_each_other_for_ever():
    net, _client, _server = make_net()
    net.put(CLIENT, SERVER, b"\x40" + bytes(1200))
    for _ in range(1000):
        if not net.step():
            break
        net.now += 0.1
    assert len(net.log) < 150  # each answer is smaller than what caused it


@given(st.binary(max_size=60), st.integers(0, 2000))
def test_packet_readers_never_raise(data, size):
    packets.parse_first(data)
    packets.parse_first(data + bytes(1200))
    packets.destination_of(data)
    packets.version_negotiation(data + bytes(6), seeded(1))
    reset = packets.stateless_reset(size, bytes(16), seeded(size))
    assert reset is None or 21 <= len(reset) < size


def test_gone_is_an_error_with_the_reason():
    pair = connect()
    pair.client.close(0, b"", pair.net.now)
    with pytest.raises(ConnectionGone) as caught:
        pair.client.ping()
    assert str(caught.value) == "closed"


def test_accepting_with_alpns_that_cannot_be():
    net, client, server = make_net(Wire())
    server.auto_accept = False
    client.dial(server)
    net.run(lambda: bool(server.incoming))
    with pytest.raises(ValueError):
        server.incoming[0].accept(ServerConfig([ALPN, b""]), net.now)
