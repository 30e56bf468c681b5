"""Where packets come from and go to: dials that race, copies, migration."""

from quic_sim import CLIENT, SERVER, connect, make_net, transfer

from iroh.quic.events import Connected, PathChanged

OTHER = ("10.9.9.9", 9)

# -- server_handshake_migration ----------------------------------------------------------------

RELAYED_CLIENT, RELAYED_SERVER = ("relay", "c"), ("relay", "s")


def test_client_follows_the_first_answer():
    net, client, server = make_net()
    net.routes["mixed"] = [(SERVER, RELAYED_CLIENT)]
    net.routes[RELAYED_SERVER] = [(SERVER, RELAYED_CLIENT)]
    net.routes[RELAYED_CLIENT] = [(CLIENT, RELAYED_SERVER)]
    connection = client.dial(server, "mixed")
    net.run(lambda: bool(client.got(connection, Connected)))
    assert connection.remote == RELAYED_SERVER
    assert connection.paths()[0].remote == RELAYED_SERVER
    assert server.connections[0].remote == RELAYED_CLIENT


def test_copies_of_the_initial_are_ignored():
    net, client, server = make_net()
    net.routes["mixed"] = [(SERVER, CLIENT), (SERVER, RELAYED_CLIENT)]
    net.routes[RELAYED_CLIENT] = [(CLIENT, RELAYED_SERVER)]
    connection = client.dial(server, "mixed")
    net.run(lambda: bool(client.got(connection, Connected)))
    assert connection.remote == SERVER
    assert len(server.connections) == 1
    assert server.endpoint.dropped["unexpected remote"] >= 1
    assert not [entry for entry in net.log if entry[0] == RELAYED_SERVER]


def test_copies_that_arrive_before_the_decision_are_ignored():
    net, client, server = make_net()
    server.auto_accept = False
    net.routes["mixed"] = [(SERVER, CLIENT), (SERVER, RELAYED_CLIENT)]
    client.dial(server, "mixed")
    net.run(lambda: bool(server.incoming))
    net.sleep(0.1)
    assert len(server.incoming) == 1
    assert server.endpoint.dropped["unexpected remote"] == 1


def test_the_remote_is_frozen_after_a_handshake_packet():
    pair = connect()
    net = pair.net
    stray = ("somewhere", "else")
    net.routes[CLIENT] = [(CLIENT, stray)]  # the server's packets now come from elsewhere
    pair.server.ping()
    net.sleep(0.1)
    assert pair.client.remote == SERVER
    assert pair.client_peer.endpoint.dropped["unexpected remote"] >= 1


# -- migration ---------------------------------------------------------------------------------


def test_a_client_whose_address_changes_is_followed():
    pair = connect()
    net = pair.net
    net.sleep(1)
    rebound = ("10.0.0.1", 4444)
    net.routes[SERVER] = [(SERVER, rebound)]
    net.routes[rebound] = [(CLIENT, SERVER)]
    assert transfer(pair, bytes(50_000)) == bytes(50_000)
    assert pair.server.remote == rebound
    assert pair.server_peer.got(pair.server, PathChanged) == [PathChanged(rebound)]
    assert pair.client_peer.got(pair.client, PathChanged) == []
    assert pair.server._core._network_paths[0].is_validated
    net.routes[SERVER] = [(SERVER, CLIENT)]
    pair.client.ping()
    net.sleep(1)
    assert pair.server.remote == CLIENT


def test_a_spoofed_address_does_not_get_a_flood():
    pair = connect()
    net = pair.net
    net.sleep(1)
    net.routes[SERVER] = [(SERVER, OTHER)]  # nobody answers there
    stream_id = pair.server.open_stream(False)
    pair.server.write(stream_id, bytes(500_000))
    net.log.clear()
    pair.client.ping()
    net.sleep(0.5)
    to_other = sum(len(data) for _, to, data in net.log if to == OTHER)
    from_other = sum(len(data) for source, _, data in net.log if source == OTHER)
    assert to_other <= 3 * from_other
    assert len(pair.server._locals) <= 16


def test_many_addresses_are_bounded():
    pair = connect()
    net = pair.net
    for n in range(60):
        net.routes[SERVER] = [(SERVER, ("10.0.0.1", n))]
        pair.client.ping()
        net.sleep(0.05)
    assert len(pair.server._locals) <= 16
    assert len(pair.server._core._network_paths) <= 8


def test_a_migration_that_is_never_validated_goes_back():
    pair = connect()
    net = pair.net
    net.sleep(1)
    net.routes[SERVER] = [(SERVER, OTHER)]
    pair.client.ping()
    net.sleep(0.03)
    assert pair.server.remote == OTHER
    net.routes[SERVER] = [(SERVER, CLIENT)]
    net.routes[OTHER] = []
    net.sleep(3)
    assert pair.server.remote == CLIENT
    assert not pair.closed(pair.server)
