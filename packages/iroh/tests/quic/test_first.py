from quic_sim import connect, transfer


def test_it():
    pair = connect()
    assert pair.client.peer == pair.server_peer.key
    assert pair.server.peer == pair.client_peer.key
    data = bytes(range(256)) * 8000
    assert transfer(pair, data) == data
