"""HelloRetryRequest on the server: a client offers our group, but no key share of it."""

import pytest
from tls_kit import CLIENT, SERVER, START, World, make_client, make_server, talk

from iroh.quic.errors import PeerError
from iroh.quic.tls import INITIAL
from iroh.quic.tls.messages import RETRY_RANDOM, decode_client_hello, decode_server_hello

P256, P384, X25519 = 0x17, 0x18, 0x1D


def only(server, *groups):
    """Let a server take these groups."""
    server._context.groups = groups
    return server


@pytest.mark.parametrize("group", [P256, P384])
@pytest.mark.parametrize("step", [1 << 20, 1])
def test_the_client_is_asked_again(group, step):
    client, server = make_client(), only(make_server(), group)
    talk(client, server, step)
    assert client.complete
    assert server.complete
    assert (client.peer, server.peer) == (SERVER, CLIENT)
    exported = [end.export_keying_material(32, b"", b"") for end in (client, server)]
    assert exported[0] == exported[1]


def test_what_is_asked_for():
    client, server = make_client(), only(make_server(), P384, P256)
    client.start()
    server.receive(INITIAL, client.take(INITIAL))
    request = decode_server_hello(server.take(INITIAL))
    assert request.random == RETRY_RANDOM
    assert request.extensions == {43: b"\x03\x04", 51: P384.to_bytes(2, "big")}
    assert not server.take_keys()
    assert not server.complete


@pytest.mark.parametrize("early_data", [True, False])
def test_a_ticket_is_taken_after_it_but_no_early_data(early_data):
    world = World()
    world.meet()
    client, server = world.ends({"early_data": early_data})
    only(server, P256)
    talk(client, server, now=world.now)
    assert server.resumed
    assert client.resumed
    assert not client.early_data_accepted
    assert not server.early_data_accepted


def failure(second):
    """The alert that a second ClientHello brings; `second` makes it of client and first hello."""
    client, server = make_client(), only(make_server(), P256)
    client.start()
    first = client.take(INITIAL)
    server.receive(INITIAL, first)
    request = server.take(INITIAL)
    with pytest.raises(PeerError) as caught:
        server.receive(INITIAL, second(client, first, request))
    return caught.value.code - 0x100


def test_the_same_hello_again_is_refused():
    assert failure(lambda _client, first, _request: first) == 47  # illegal_parameter


def test_another_cipher_suite_is_refused():
    def second(client, _first, request):
        client.receive(INITIAL, request)
        hello = client.take(INITIAL)
        suites = decode_client_hello(hello).suites
        offered = b"".join(suite.to_bytes(2, "big") for suite in suites)
        fewer = b"\x13\x03" * len(suites)
        assert hello.count(offered) == 1
        return hello.replace(offered, fewer)

    assert failure(second) == 47


def test_a_client_without_any_of_our_groups_is_refused():
    client, server = make_client(), only(make_server(), 0x19)
    client.start()
    with pytest.raises(PeerError) as caught:
        server.receive(INITIAL, client.take(INITIAL))
    assert caught.value.code == 0x100 + 40  # handshake_failure


def test_nothing_is_kept_of_the_first_hello_but_its_hash():
    client, server = make_client(), only(make_server(), P256)
    client.start(START)
    first = client.take(INITIAL)
    server.receive(INITIAL, first, START)
    assert len(server._context._before) < 200
    assert X25519 not in server._context.groups
