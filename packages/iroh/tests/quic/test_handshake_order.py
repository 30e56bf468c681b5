"""Handshake packets that overtake the Initial with their keys: a few are kept, and read then."""

from iroh.quic import packet as pk
from iroh.quic.datagrams import Datagrams
from iroh.quic.receive import MAX_HELD

from .engine_pair import CLIENT, SERVER, Pair


def first_answer():
    """A client, and the packets of the server's first answer."""
    pair = Pair()
    client = pair.client.connection
    assert client is not None
    (hello,) = client.transmit(0.0)
    hello.remote = CLIENT
    (incoming,) = pair.server.endpoint.receive([hello], 0.0).incoming
    server = pair.server.connection = incoming.accept(pair.served, 0.0)
    packets = []
    for batch in server.transmit(0.0):
        for data in batch:
            at = 0
            while at < len(data) and data[at] & pk.LONG:
                header = pk.parse_long(data, at)
                packets.append((header.kind, data[at : header.end]))
                at = header.end
    return pair, client, packets


def give(client, packets):
    for packet in packets:
        client.receive(Datagrams(SERVER, packet), 0.01)


def test_handshake_packets_before_the_initial():
    pair, client, packets = first_answer()
    kinds = [kind for kind, _ in packets]
    assert kinds.count(pk.HANDSHAKE) >= 1
    give(client, [data for kind, data in packets if kind == pk.HANDSHAKE])
    assert client.alpn is None
    give(client, [data for kind, data in packets if kind == pk.INITIAL])
    assert client.peer == pair.server.key.public().to_bytes()
    assert not pair.client.endpoint.dropped
    pair.run(lambda: client._p.confirmed)
    assert pair.now < 0.1, "without a probe timeout"


def test_few_are_kept():
    pair, client, packets = first_answer()
    late = next(data for kind, data in packets if kind == pk.HANDSHAKE)
    noise = late[:-1] + bytes([late[-1] ^ 1])
    give(client, [noise] * 100)
    assert len(client._receiver._held) == MAX_HELD
    assert pair.client.endpoint.dropped["no keys for the packet"] == 100 - MAX_HELD
    give(client, [data for _, data in packets])
    assert client.peer is not None
    assert client._receiver._held == []
    assert pair.client.endpoint.dropped["not authentic"] == MAX_HELD


def test_a_server_keeps_none():
    pair, _, _ = first_answer()
    server = pair.server.connection
    assert server is not None
    server._p.levels[1].recv_keys = None
    scid = server._p.peer_source_cid
    packet = pk.long_header(pk.HANDSHAKE, server._p.source_cid, scid, 0, 4, 50) + bytes(66)
    server.receive(Datagrams(CLIENT, packet), 0.01)
    assert server._receiver._held == []
