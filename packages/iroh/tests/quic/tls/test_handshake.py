"""Two ends of a handshake that talk in memory."""

import pytest
from tls_kit import ALPN, CLIENT_KEY, SERVER_KEY, meet, pair

from iroh.quic.errors import QuicError
from iroh.quic.tls import HANDSHAKE, INITIAL, ONE_RTT


def test_both_prove_their_keys():
    client, server = meet()
    assert client.complete
    assert server.complete
    assert client.peer == SERVER_KEY.public().to_bytes()
    assert server.peer == CLIENT_KEY.public().to_bytes()
    assert client.alpn == server.alpn == ALPN
    assert client.peer_params == b"server params"
    assert server.peer_params == b"client params"


def test_keys_match_and_come_in_order():
    client, server = pair()
    client.start()
    assert client.take_keys() == []
    server.receive(INITIAL, client.take(INITIAL))
    first = server.take_keys()
    assert [(epoch, send) for epoch, send, _, _ in first] == [
        (HANDSHAKE, True),
        (HANDSHAKE, False),
        (ONE_RTT, True),
    ]
    client.receive(INITIAL, server.take(INITIAL))
    early = client.take_keys()
    assert [(epoch, send) for epoch, send, _, _ in early] == [(HANDSHAKE, False), (HANDSHAKE, True)]
    client.receive(HANDSHAKE, server.take(HANDSHAKE))
    late = client.take_keys()
    assert [(epoch, send) for epoch, send, _, _ in late] == [(ONE_RTT, False), (ONE_RTT, True)]
    server.receive(HANDSHAKE, client.take(HANDSHAKE))
    last = server.take_keys()
    assert [(epoch, send) for epoch, send, _, _ in last] == [(ONE_RTT, False)]
    assert {(e, not s, c, k) for e, s, c, k in first + last} == set(early + late)
    assert client.take_keys() == []


def test_what_is_known_when():
    client, server = pair()
    client.start()
    assert (client.alpn, client.peer, client.peer_params) == (None, None, None)
    server.receive(INITIAL, client.take(INITIAL))
    assert (server.alpn, server.peer) == (ALPN, None)
    with pytest.raises(QuicError):
        server.export_keying_material(32, b"label", b"")
    client.receive(INITIAL, server.take(INITIAL))
    client.receive(HANDSHAKE, server.take(HANDSHAKE))
    assert client.complete
    assert not server.complete


def test_byte_by_byte():
    client, server = meet(step=1)
    assert client.complete
    assert server.complete


def test_exporter():
    client, server = meet()
    ours = client.export_keying_material(40, b"label", b"context")
    assert ours == server.export_keying_material(40, b"label", b"context")
    assert len(ours) == 40
    assert ours != client.export_keying_material(40, b"label", b"other")
    with pytest.raises(ValueError):
        client.export_keying_material(0, b"label", b"")
