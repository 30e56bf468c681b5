"""Tickets and 0-RTT, both roles."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tls_kit import (
    ALPN,
    CLIENT,
    EPOCHS,
    SERVER,
    START,
    World,
    changed,
    make_client,
    make_server,
    params,
    talk,
)

from iroh.quic.errors import PeerError
from iroh.quic.tls import INITIAL, ONE_RTT, ZERO_RTT, Handshake, Ticket, TicketStore, messages
from iroh.quic.tls.early_data import limits_shrank
from iroh.quic.tls.server import TICKET_LIFETIME


def epochs(end: Handshake) -> list[tuple[int, bool]]:
    return [(epoch, is_send) for epoch, is_send, _, _ in end.take_keys()]


def test_second_time_without_certificates():
    world = World()
    first = world.meet()
    assert [end.resumed for end in first] == [False, False]
    assert first[0].remembered is None
    assert len(world.received) == len(world.issued) == 2
    world.now += 3600
    client, server = world.meet()
    assert client.resumed
    assert server.resumed
    assert client.early_data_accepted
    assert server.early_data_accepted
    assert client.remembered is not None
    assert (client.remembered.alpn, client.remembered.params) == (ALPN, params())
    assert epochs(client)[0] == (ZERO_RTT, True)
    assert epochs(server)[0] == (ZERO_RTT, False)


def test_the_early_keys_are_known_before_anything_is_answered():
    world = World()
    world.meet()
    client, server = world.ends()
    client.start(world.now)
    ((epoch, is_send, suite, secret),) = client.take_keys()
    assert (epoch, is_send) == (ZERO_RTT, True)
    server.receive(INITIAL, client.take(INITIAL), world.now)
    assert server.take_keys()[0] == (ZERO_RTT, False, suite, secret)
    assert server.peer == CLIENT


def test_secrets_differ_from_connection_to_connection():
    world = World()
    found = set()
    for _ in range(4):
        client, _ = world.meet()
        found.update(secret for _, _, _, secret in client.take_keys())
    assert len(found) == 4 + 3 * 5


def test_a_ticket_is_good_once():
    """A second time it looks like a replay of 0-RTT: a full handshake is what follows."""
    world = World()
    world.meet()
    ticket = world.received.take(SERVER, world.now)
    assert ticket is not None
    for resumed in (True, False):
        world.received = TicketStore()
        world.received.add(ticket)
        client, server = world.meet()
        assert client.resumed == server.resumed == resumed
        assert client.early_data_accepted == server.early_data_accepted == resumed
        assert client.remembered is not None
        assert (ZERO_RTT, False) not in epochs(server) or resumed


def test_without_a_store_there_are_no_tickets():
    world = World()
    world.meet(client={"ticket_store": None})
    assert len(world.issued) == 0
    world.meet(server={"ticket_store": None})
    assert len(world.received) == 0
    world.meet()
    client, _ = world.meet(server={"ticket_store": None})
    assert not client.resumed
    assert client.remembered is not None
    assert not client.early_data_accepted


def test_a_store_needs_the_time():
    client, server = World().ends()
    with pytest.raises(ValueError):
        client.start()
    with pytest.raises(ValueError):
        server.receive(INITIAL, b"x")


def test_tickets_expire():
    world = World()
    world.meet()
    world.now += TICKET_LIFETIME
    client, _ = world.meet()
    assert not client.resumed
    assert client.remembered is None


def test_an_expired_ticket_that_is_offered_all_the_same():
    world = World()
    world.meet()
    changed(world, expires_at=1e12)
    world.now += TICKET_LIFETIME
    client, server = world.meet()
    assert client.remembered is not None
    assert not server.resumed


def test_a_wrong_age_costs_the_early_data():
    world = World()
    world.meet()
    changed(world, received_at=world.now - 61)
    client, server = world.meet()
    assert not client.resumed
    assert not client.early_data_accepted
    assert (ZERO_RTT, False) not in epochs(server)
    changed(world, received_at=world.now - 59)
    assert world.meet()[0].early_data_accepted


def test_another_alpn_costs_the_early_data():
    world = World()
    world.meet()
    both = [b"new", ALPN]
    client, _ = world.meet({"alpns": both}, {"alpns": both})
    assert client.remembered is not None
    assert not client.early_data_accepted
    world.meet()
    client, _ = world.meet({"alpns": [b"new"]}, {"alpns": both})
    assert client.remembered is None  # what is remembered is for another one
    assert client.resumed


def test_lower_limits_cost_the_early_data():
    world = World()
    world.meet()
    client, _ = world.meet(server={"params": params(initial_max_data=999)})
    assert not client.early_data_accepted
    world.meet()
    client, _ = world.meet(server={"params": params(initial_max_data=2000)})
    assert client.early_data_accepted


def test_a_server_that_takes_early_data_with_lower_limits():
    world = World()
    world.meet()
    client, server = world.ends(server={"params": params(initial_max_data=999)})
    server._context._takes_early_data = lambda ticket: True
    with pytest.raises(PeerError) as caught:
        talk(client, server, now=world.now)
    assert caught.value.code == 0xA


@pytest.mark.parametrize(
    ("extra", "code"), [((42, b""), 0x16E), ((42, b"x"), 0x16E), ((41, b"\0\0"), 0x16E)]
)
def test_answers_to_an_offer_that_was_not_made(extra, code):
    client, server = make_client(), make_server()
    server._context.extensions[extra[0]] = extra[1]
    with pytest.raises(PeerError) as caught:
        talk(client, server)
    assert caught.value.code == code


def test_early_data_without_resumption():
    world = World()
    world.meet()
    client, server = world.ends(server={"ticket_store": TicketStore()})
    server._context.extensions[42] = b""
    with pytest.raises(PeerError) as caught:
        talk(client, server, now=world.now)
    assert caught.value.code == 0x12F


def test_a_wrong_secret_is_found_out():
    world = World()
    world.meet()
    changed(world, secret=bytes(48))
    client, server = world.ends()
    with pytest.raises(PeerError) as caught:
        talk(client, server, now=world.now)
    assert 0x100 < caught.value.code < 0x200
    assert not server.complete
    assert server.peer is None


def test_a_ticket_without_its_mode():
    world = World()
    world.meet()
    client, server = world.ends()
    client._context.extensions[45] = b"\x01\x00"  # psk_ke: no fresh keys; nobody speaks it
    talk(client, server, now=world.now)
    assert not server.resumed
    assert server.complete
    client, server = world.ends()
    client.start(world.now)
    hello = client.take(INITIAL)
    modes = bytes.fromhex("002d00020101")
    assert hello.count(modes) == 1
    hello = hello.replace(modes, bytes.fromhex("0a2d00020101"))
    with pytest.raises(PeerError) as caught:
        server.receive(INITIAL, hello, world.now)
    assert caught.value.code == 0x16D


# -- NewSessionTicket ------------------------------------------------------------------------------


def ticket_message(lifetime=100, ticket=b"t", size=0xFFFFFFFF):
    return messages.encode_ticket(messages.TicketOffer(lifetime, 0, b"n", ticket, size))


def test_what_tickets_say():
    world = World()
    client, _ = world.meet()
    world.received = client._context._store = TicketStore()
    client.receive(ONE_RTT, ticket_message(size=None, ticket=b"a"), world.now)
    client.receive(ONE_RTT, ticket_message(size=0, ticket=b"b"), world.now)
    client.receive(ONE_RTT, ticket_message(lifetime=0, ticket=b"c"), world.now)
    client.receive(ONE_RTT, ticket_message(lifetime=1 << 31, ticket=b"d"), world.now)
    client.receive(ONE_RTT, ticket_message(ticket=b""), world.now)
    assert len(world.received) == 4
    newest = world.received.take(SERVER, world.now)
    assert newest.expires_at == world.now + 7 * 24 * 3600
    assert newest.early_data
    assert world.received.take(SERVER, world.now).identity == b"b"
    last = world.received.take(SERVER, world.now)
    assert not last.early_data
    assert world.received.take(SERVER, world.now) is None


def test_another_size_of_early_data_is_no_quic():
    world = World()
    client, _ = world.meet()
    with pytest.raises(PeerError) as caught:
        client.receive(ONE_RTT, ticket_message(size=1000), world.now)
    assert caught.value.code == 0xA


@given(st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_tickets_of_noise(noise):
    client, _ = World().meet()
    with suppress(PeerError):
        client.receive(ONE_RTT, b"\x04" + len(noise).to_bytes(3, "big") + noise, START)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_offer_never_resumes(data):
    world = World()
    world.meet()
    client, server = world.ends()
    client.start(world.now)
    hello = bytearray(client.take(INITIAL))
    at = data.draw(st.integers(4, len(hello) - 1))
    hello[at] ^= data.draw(st.integers(1, 255))
    try:
        server.receive(INITIAL, bytes(hello), world.now)
        for epoch in EPOCHS:
            flight = server.take(epoch)
            if flight:
                client.receive(epoch, flight, world.now)
    except PeerError:
        pass
    assert not client.complete
    assert not server.complete


# -- the store -------------------------------------------------------------------------------------


def ticket(peer: int, number: int, expires_at: float = 1e9) -> Ticket:
    return Ticket(
        peer=bytes([peer]) * 32,
        identity=bytes([peer, number]),
        secret=b"",
        cipher_suite=0x1302,
        age_add=7,
        alpn=ALPN,
        params=b"",
        early_data=True,
        received_at=0.0,
        expires_at=expires_at,
    )


def test_the_newest_ticket_first():
    store = TicketStore()
    for number in range(3):
        store.add(ticket(1, number))
    assert [store.take(bytes([1]) * 32, 0.0).identity[1] for _ in range(3)] == [2, 1, 0]
    assert store.take(bytes([1]) * 32, 0.0) is None
    assert len(store) == 0
    assert not store._peers


def test_one_peer_has_eight_and_all_have_their_number():
    store = TicketStore(20)
    for number in range(100):
        store.add(ticket(1, number))
    assert len(store) == 8
    for peer in range(2, 50):
        store.add(ticket(peer, 0))
        store.add(ticket(peer, 1))
        assert len(store) <= 20
    assert store.take(bytes([1]) * 32, 0.0) is None
    assert store.take(bytes([49]) * 32, 0.0) == ticket(49, 1)
    assert store.redeem(bytes([48, 0]), 0.0) == ticket(48, 0)
    assert store.redeem(bytes([48, 0]), 0.0) is None
    assert sum(map(len, store._peers.values())) == len(store)


def test_the_same_ticket_twice_is_one():
    store = TicketStore()
    store.add(ticket(1, 1))
    store.add(ticket(1, 1))
    assert len(store) == 1


def test_expired_tickets_are_dropped():
    store = TicketStore()
    store.add(ticket(1, 1, expires_at=5.0))
    store.add(ticket(1, 2, expires_at=4.0))
    assert store.take(bytes([1]) * 32, 4.0) == ticket(1, 1, expires_at=5.0)
    store.add(ticket(1, 3, expires_at=5.0))
    assert store.redeem(bytes([1, 3]), 5.0) is None
    assert len(store) == 0


@given(st.floats(0, 1e7), st.floats(0, 1e5), st.integers(0, 2**32 - 1))
def test_ages(received_at, age, age_add):
    made = replace(ticket(1, 1), received_at=received_at, age_add=age_add)
    now = received_at + age
    assert made.age_error(made.obfuscated_age(now), now) < 0.01


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "shrank"),
    [
        ({}, False),
        ({"initial_max_data": 1001}, False),
        ({"initial_max_data": 999}, True),
        ({"initial_max_streams_bidi": 1}, False),
        ({"active_connection_id_limit": 5}, False),
        ({"max_nat_traversal_addresses": 33}, True),
        ({"max_nat_traversal_addresses": None}, True),
        ({"observed_address_role": 1}, True),
        ({"grease_quic_bit": True}, False),
        ({"max_idle_timeout": 5, "max_udp_payload_size": 1300}, False),
    ],
)
def test_limits(values, shrank):
    assert limits_shrank(params(), params(**values)) == shrank


@given(st.binary(max_size=60))
def test_limits_of_noise(noise):
    assert limits_shrank(noise, params()) in (True, False)
    assert limits_shrank(params(), noise) is True
