"""How connections end, datagrams, keep-alive, statistics, and the shape of what is sent."""

import pytest
from quic_sim import CLIENT, SERVER, Wire, connect, make_net

from iroh.quic.config import TransportConfig
from iroh.quic.errors import (
    ApplicationClosed,
    ConnectionClosed,
    DatagramTooLarge,
    DatagramUnsupported,
    LocallyClosed,
    TimedOut,
    TransportError,
)
from iroh.quic.events import Closed, Connected, DatagramReceived, Drained, Event


def ends(peer, connection) -> list[Event]:
    return [e for e in peer.events[connection] if isinstance(e, Closed | Drained)]


def both_ends(pair):
    pair.net.run(
        lambda: (
            len(ends(pair.client_peer, pair.client)) == 2
            and len(ends(pair.server_peer, pair.server)) == 2
        )
    )
    for peer, connection in ((pair.client_peer, pair.client), (pair.server_peer, pair.server)):
        first, second = ends(peer, connection)
        assert isinstance(first, Closed)
        assert isinstance(second, Drained)
        assert peer.events[connection][-2:] == [first, second]
        assert connection.close_reason == first.reason
        assert connection.next_timeout() is None
        assert connection.transmit(pair.net.now) == []
        assert connection.paths() == []
        connection.handle_timeout(pair.net.now)
        assert connection.events() == []
    return pair.client.close_reason, pair.server.close_reason


@pytest.mark.parametrize("reason", [b"", b"bye", b"\xff\x00raw", "größe".encode()])
@pytest.mark.parametrize("by_client", [True, False])
def test_application_close(reason, by_client):
    pair = connect()
    closer = pair.client if by_client else pair.server
    closer.close(2**62 - 1, reason, pair.net.now)
    closer.close(1, b"later calls do nothing", pair.net.now)
    client, server = both_ends(pair)
    ours, theirs = (client, server) if by_client else (server, client)
    assert ours == LocallyClosed(2**62 - 1, reason)
    assert theirs == ApplicationClosed(2**62 - 1, reason)


def test_local_close_is_told_at_once():
    pair = connect()
    pair.client.events()
    pair.client.close(1, b"x", pair.net.now)
    assert pair.client.events() == [Closed(LocallyClosed(1, b"x"))]


def test_a_long_reason_is_cut():
    pair = connect()
    pair.client.close(7, bytes(5000), pair.net.now)
    _, server = both_ends(pair)
    assert server.code == 7
    assert 1000 < len(server.reason) < 1200


def test_a_lost_close_is_repeated_when_the_peer_still_talks():
    lost = []
    wire = Wire()
    pair = connect(wire, server=TransportConfig(keep_alive_interval=None))
    wire.lose = lambda n, data: not lost and (lost.append(data) or True)
    pair.client.close(5, b"once more", pair.net.now)
    pair.client_peer.flush()
    assert lost
    pair.server.ping()
    _, server = both_ends(pair)
    assert server == ApplicationClosed(5, b"once more")


def test_late_datagrams_are_answered_ever_more_rarely():
    pair = connect()
    pair.client.close(5, b"", pair.net.now)
    pair.client_peer.flush()
    answers = 0
    for _ in range(64):
        pair.client.feed(b"\x40" + bytes(40), SERVER, None, pair.net.now)
        answers += bool(pair.client.transmit(pair.net.now))
    assert answers == 7  # the 1st, 2nd, 4th, ... 64th


def test_close_during_the_handshake():
    net, client, server = make_net()
    connection = client.dial(server)
    net.run(lambda: bool(server.connections))
    connection.close(9, b"changed my mind", net.now)
    accepted = server.connections[0]
    net.run(lambda: bool(server.got(accepted, Closed)))
    assert connection.close_reason == LocallyClosed(9, b"changed my mind")
    # Before 1-RTT an application close travels as APPLICATION_ERROR without a reason.
    assert accepted.close_reason == ConnectionClosed(0xC, b"", 0)
    net.run(lambda: bool(client.got(connection, Drained)))
    assert not client.got(connection, Connected)


def test_close_before_anything_was_sent():
    net, client, server = make_net()
    connection = client.dial(server)
    connection.close(1, b"", net.now)
    net.run(lambda: bool(client.got(connection, Drained)))


def test_idle_connections_time_out_on_both_sides():
    quiet = TransportConfig(keep_alive_interval=None, max_idle_timeout=10)
    pair = connect(client=quiet, server=quiet)
    start = pair.net.now
    assert both_ends(pair) == (TimedOut(), TimedOut())
    assert 9 < pair.net.now - start < 12


def test_the_shorter_idle_timeout_counts():
    pair = connect(
        client=TransportConfig(keep_alive_interval=None),
        server=TransportConfig(keep_alive_interval=None, max_idle_timeout=4),
    )
    start = pair.net.now
    assert both_ends(pair) == (TimedOut(), TimedOut())
    assert 3 < pair.net.now - start < 6


def test_without_idle_timeouts_a_connection_lasts():
    for_ever = TransportConfig(keep_alive_interval=None, max_idle_timeout=0)
    pair = connect(client=for_ever, server=for_ever)
    pair.net.sleep(10_000)
    assert not pair.closed(pair.client)
    assert not pair.closed(pair.server)


def test_keep_alive_keeps_alive():
    pair = connect(server=TransportConfig(keep_alive_interval=None))
    sent = pair.client.stats().udp_tx_datagrams
    pair.net.sleep(300)
    assert not pair.closed(pair.client)
    assert not pair.closed(pair.server)
    assert 50 <= pair.client.stats().udp_tx_datagrams - sent <= 130


def test_a_silent_peer_times_out_in_spite_of_keep_alive():
    wire = Wire()
    pair = connect(wire)
    wire.loss = 1.0
    start = pair.net.now
    both_ends(pair)
    assert pair.client.close_reason == TimedOut()
    assert 29 < pair.net.now - start < 40


def test_a_dial_to_nobody_times_out():
    net, client, server = make_net(Wire(loss=1.0))
    connection = client.dial(server)
    start = net.now
    net.run(lambda: bool(client.got(connection, Closed)))
    assert connection.close_reason == TimedOut()
    assert 29 < net.now - start < 32
    sent = [entry for entry in net.log if entry[0] == CLIENT]
    assert 6 <= len(sent) <= 20  # probe timeouts grow by a second, not for ever


# -- datagrams ---------------------------------------------------------------------------------


def test_datagrams_of_every_size():
    pair = connect()
    limit = pair.client.max_datagram_size()
    assert limit == pair.server.max_datagram_size() == 1170
    for size in (0, 1, 63, 64, 1000, limit):
        pair.client.send_datagram(bytes(size))
    with pytest.raises(DatagramTooLarge):
        pair.client.send_datagram(bytes(limit + 1))
    pair.net.sleep(1)
    got = pair.server_peer.got(pair.server, DatagramReceived)
    assert [len(event.data) for event in got] == [0, 1, 63, 64, 1000, limit]


def test_datagrams_need_the_peers_consent():
    pair = connect(server=TransportConfig(datagram_receive_buffer_size=0))
    assert pair.client.max_datagram_size() is None
    with pytest.raises(DatagramUnsupported):
        pair.client.send_datagram(b"x")
    _net, client, server = make_net()
    with pytest.raises(DatagramUnsupported):
        client.dial(server).send_datagram(b"x")


def test_the_oldest_datagrams_give_way_when_sending():
    pair = connect(client=TransportConfig(datagram_send_buffer_size=1000))
    assert pair.client.datagram_send_buffer_space() == 1000
    for n in range(5):
        pair.client.send_datagram(bytes([n]) * 300)
    assert pair.client.datagram_send_buffer_space() == 100
    pair.net.sleep(1)
    got = pair.server_peer.got(pair.server, DatagramReceived)
    assert [event.data[0] for event in got] == [2, 3, 4]
    assert pair.client.datagram_send_buffer_space() == 1000


def test_the_oldest_datagrams_give_way_when_receiving():
    pair = connect(server=TransportConfig(datagram_receive_buffer_size=1000))
    for n in range(5):
        pair.client.send_datagram(bytes([n]) * 300)
    for batch in pair.client.transmit(pair.net.now):
        for data in batch:
            pair.server.feed(data, CLIENT, None, pair.net.now)
    pair.server.settle()
    events = [e for e in pair.server.events() if isinstance(e, DatagramReceived)]
    assert [event.data[0] for event in events] == [2, 3, 4]


def test_a_datagram_that_no_longer_fits_does_not_block_the_others():
    pair = connect()
    pair.client.send_datagram(bytes(pair.client.max_datagram_size()))
    pair.client.send_datagram(b"small")
    pair.client._core._peer_cid.cid += bytes(12)  # as if the peer had given a longer id
    for batch in pair.client.transmit(pair.net.now):
        assert all(len(data) < 100 for data in batch)
    assert pair.client.datagram_send_buffer_space() == 1_048_576


# -- what is sent ------------------------------------------------------------------------------


def test_equal_datagrams_are_joined_in_order():
    pair = connect()
    stream_id = pair.client.open_stream(False)
    pair.client.write(stream_id, bytes(200_000))
    batches = []
    send = pair.net.send
    pair.net.send = lambda peer, batch: (batches.append(batch), send(peer, batch))
    pair.net.sleep(3)
    assert max(map(len, batches)) > 5
    for batch in batches:
        sizes = [len(data) for data in batch]
        assert len(sizes) <= 10
        assert set(sizes[:-1]) <= {batch.segment_size}
        assert sizes[-1] <= batch.segment_size


def test_packing():
    pair = connect()
    pack = pair.server._pack
    pairs = [
        (bytes(size), remote)
        for size, remote in [
            (9, "a"),
            (9, "a"),
            (5, "a"),
            (9, "a"),
            (10, "a"),
            (10, "b"),
            (10, "b"),
        ]
    ]
    got = [(b.remote, [len(d) for d in b]) for b in pack(pairs)]
    assert got == [("a", [9, 9, 5]), ("a", [9]), ("a", [10]), ("b", [10, 10])]
    assert [len(b) for b in pack([(bytes(7), "a")] * 25)] == [10, 10, 5]


def test_the_local_address_is_kept():
    net, client, server = make_net()
    connection = client.dial(server)
    from iroh.quic.datagrams import Datagrams

    (batch,) = connection.transmit(net.now)
    received = server.endpoint.receive(
        [Datagrams(CLIENT, batch.data, local=("10.0.0.2", 0))], net.now
    )
    incoming = received.incoming[0]
    assert incoming.local == ("10.0.0.2", 0)
    accepted = incoming.accept(server.config, net.now)
    assert all(b.local == ("10.0.0.2", 0) for b in accepted.transmit(net.now))


def test_statistics():
    pair = connect()
    pair.net.sleep(1)
    client, server = pair.client.stats(), pair.server.stats()
    assert client.udp_tx_datagrams == server.udp_rx_datagrams
    assert client.udp_tx_bytes == server.udp_rx_bytes
    (path,) = pair.client.paths()
    assert (path.path_id, path.remote, path.is_selected) == (0, SERVER, True)
    assert 0.019 < path.stats.rtt < 0.03
    assert path.stats.cwnd >= 12_000
    assert path.stats.current_mtu == 1200


def test_losses_are_counted():
    wire = Wire()
    pair = connect(wire)
    wire.loss = 0.1
    stream_id = pair.client.open_stream(False)
    pair.client.write(stream_id, bytes(300_000))
    pair.net.sleep(5)
    stats = pair.client.paths()[0].stats
    assert stats.lost_packets > 5
    assert stats.lost_bytes > 5000
    assert stats.congestion_events > 0


def test_ping_makes_the_peer_answer():
    pair = connect(
        client=TransportConfig(keep_alive_interval=None),
        server=TransportConfig(keep_alive_interval=None),
    )
    pair.net.sleep(2)
    before = pair.client.stats().udp_rx_datagrams
    pair.client.ping()
    pair.client.ping()
    pair.net.sleep(1)
    assert pair.client.stats().udp_rx_datagrams == before + 1


def test_keys_are_updated_in_time(monkeypatch):
    monkeypatch.setattr("aioquic_engine.connection.KEY_UPDATE_AFTER", 20)
    pair = connect()
    stream_id = pair.client.open_stream(False)
    pair.client.write(stream_id, bytes(100_000))
    pair.net.sleep(5)
    assert pair.server._core.find_stream(stream_id).receiver.highest_offset == 100_000
    assert not pair.closed(pair.client)


def test_an_engine_bug_closes_and_does_not_raise(monkeypatch):
    pair = connect()

    def broken(*_: object) -> None:
        raise IndexError("a bug")

    monkeypatch.setattr(pair.server._core, "_payload_received", broken)
    pair.client.ping()
    client, server = both_ends(pair)
    assert server == TransportError(1, "internal error")
    assert client == ConnectionClosed(1, b"internal error", 0)
    assert pair.server_peer.endpoint.dropped["internal error"] == 1


def test_an_engine_bug_while_sending_ends_the_connection(monkeypatch):
    pair = connect()

    def broken(*_: object, **__: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(pair.server._core, "datagrams_to_send", broken)
    pair.server.ping()
    pair.server_peer.flush()
    assert [type(e) for e in pair.server_peer.events[pair.server][-2:]] == [Closed, Drained]
    assert pair.server.close_reason == TransportError(1, "internal error")
