"""HelloRetryRequest on the client, the key log, and what a ClientHello offers."""

import hashlib
import random

import pytest
from aioquic import tls
from aioquic._buffer import Buffer
from hypothesis import given, settings
from hypothesis import strategies as st
from tls_kit import EPOCHS, SERVER, START, World, changed, make_client, make_server, params, talk

from iroh.quic.errors import PeerError
from iroh.quic.tls import HANDSHAKE, INITIAL, ONE_RTT, Handshake, TicketStore
from iroh.quic.tls.messages import RETRY_RANDOM, decode_client_hello, decode_offer
from iroh.quic.tls.schedule import DIGESTS, Schedule

P256, P384, X25519 = 0x17, 0x18, 0x1D
COOKIE = b"\x00\x05bread"

# -- a server that asks for another ClientHello ----------------------------------------------------


def retry_request(suite=0x1302, group=P256, cookie=None, extra=(), version=b"\x03\x04"):
    extensions = [(43, version)] if version is not None else []
    if group is not None:
        extensions.append((51, group.to_bytes(2, "big")))
    if cookie is not None:
        extensions.append((44, cookie))
    block = b"".join(
        kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data
        for kind, data in (*extensions, *extra)
    )
    body = b"\x03\x03" + RETRY_RANDOM + b"\x00" + suite.to_bytes(2, "big") + b"\x00"
    body += len(block).to_bytes(2, "big") + block
    return b"\x02" + len(body).to_bytes(3, "big") + body


def transcript(first: bytes, request: bytes, suite: int) -> bytes:
    """What stands for both in the transcript (RFC 8446 section 4.4.1)."""
    value = hashlib.new(DIGESTS[suite], first).digest()
    return bytes((254, 0, 0, len(value))) + value + request


class AfterRetry(Schedule):
    """A key schedule whose transcript starts with a ClientHello and a HelloRetryRequest."""

    before = b""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.update(self.before)


def meet_after_retry(monkeypatch, client: Handshake, server: Handshake, now=None, **options):
    """Let the client be asked once for another ClientHello; give both of them."""
    client.start(now)
    first = client.take(INITIAL)
    request = retry_request(**options)
    client.receive(INITIAL, request, now)
    second = client.take(INITIAL)
    suite = options.get("suite", 0x1302)
    server._context.suites = (suite,)
    server._context.groups = (P256, P384, X25519)
    monkeypatch.setattr(AfterRetry, "before", transcript(first, request, suite))
    with monkeypatch.context() as patched:
        patched.setattr("iroh.quic.tls.server.Schedule", AfterRetry)
        server.receive(INITIAL, second, now)
    moved = True
    while moved:
        moved = False
        for sender, receiver in ((server, client), (client, server)):
            for epoch in EPOCHS:
                data = sender.take(epoch)
                if data:
                    receiver.receive(epoch, data, now)
                    moved = True
    return decode_client_hello(first).extensions, decode_client_hello(second).extensions


@pytest.mark.parametrize("group", [P256, P384, None])
@pytest.mark.parametrize("cookie", [COOKIE, None])
@pytest.mark.parametrize("suite", [0x1301, 0x1302, 0x1303])
def test_the_second_client_hello(monkeypatch, group, cookie, suite):
    if group is None and cookie is None:
        return
    client, server = make_client(), make_server()
    first, second = meet_after_retry(
        monkeypatch, client, server, group=group, cookie=cookie, suite=suite
    )
    assert client.complete
    assert server.complete
    assert client.peer == SERVER
    assert client.export_keying_material(32, b"", b"") == server.export_keying_material(
        32, b"", b""
    )
    assert int.from_bytes(second[51][2:4], "big") == (group or X25519)
    assert second.pop(44, None) == cookie
    if group is None:
        assert first[51] == second[51]  # the same share again
    for kind in first:
        assert kind == 51 or first[kind] == second[kind]
    assert first[10] == bytes.fromhex("0006001d00170018")


@pytest.mark.parametrize("group", [P256, None])
def test_tickets_survive_a_retry_early_data_does_not(monkeypatch, group):
    world = World()
    world.meet()
    client, server = world.ends()
    first, second = meet_after_retry(
        monkeypatch, client, server, now=world.now, group=group, cookie=COOKIE
    )
    assert client.complete
    assert client.resumed
    assert server.resumed
    assert 42 in first
    assert 42 not in second
    assert client.remembered is not None
    assert not client.early_data_accepted
    assert client.peer == SERVER


def test_a_ticket_of_another_suite_is_left_out(monkeypatch):
    world = World()
    world.meet()
    client, server = world.ends()
    first, second = meet_after_retry(monkeypatch, client, server, now=world.now, suite=0x1301)
    assert client.complete
    assert not client.resumed
    assert 41 in first
    assert 41 not in second
    assert client.remembered is not None


@pytest.mark.parametrize(
    ("options", "alert"),
    [
        ({"group": X25519}, 47),  # we sent a share of it
        ({"group": 0x1E}, 47),  # we do not speak it
        ({"group": None}, 47),  # no change at all
        ({"suite": 0x1304}, 47),
        ({"version": None}, 47),
        ({"version": b"\x03\x03"}, 47),
        ({"cookie": b""}, 50),
        ({"cookie": b"\x00\x00"}, 50),
        ({"cookie": b"\x00\x05four"}, 50),
        ({"extra": [(16, b"")]}, 110),
        ({"extra": [(51, b"\x00\x17")]}, 47),  # twice
        ({"group": None, "extra": [(51, b"\x00")]}, 50),
    ],
)
def test_retry_requests_that_cannot_be(options, alert):
    client = make_client()
    client.start()
    with pytest.raises(PeerError) as caught:
        client.receive(INITIAL, retry_request(**options))
    assert caught.value.code == 0x100 + alert


def test_one_retry_is_enough():
    client = make_client()
    client.start()
    client.receive(INITIAL, retry_request())
    with pytest.raises(PeerError) as caught:
        client.receive(INITIAL, retry_request(group=P384))
    assert caught.value.code == 0x10A


@pytest.mark.parametrize("change", ["suite", "group", "no group"])
def test_a_server_hello_that_differs_from_the_request(change):
    client, server = make_client(), make_server()
    client.start()
    client.take(INITIAL)
    client.receive(INITIAL, retry_request())
    server._context.groups = (P256,)
    server.receive(INITIAL, client.take(INITIAL))
    answer = bytearray(server.take(INITIAL))
    at = 4 + 2 + 32 + 1
    assert answer[at : at + 2] == b"\x13\x02"
    share = answer.index(b"\x00\x33\x00\x45\x00\x17")
    if change == "suite":
        answer[at : at + 2] = b"\x13\x01"
    elif change == "group":
        answer[share + 5] = 0x18
    else:
        answer[share + 1] = 0x29
    with pytest.raises(PeerError) as caught:
        client.receive(INITIAL, bytes(answer))
    assert caught.value.code == 0x12F


@given(st.binary(max_size=120), st.booleans())
@settings(max_examples=150, deadline=None)
def test_server_hellos_of_noise(noise, is_retry):
    client = make_client()
    client.start()
    random_bytes = RETRY_RANDOM if is_retry else bytes(32)
    body = b"\x03\x03" + random_bytes + b"\x00\x13\x02\x00" + noise
    with pytest.raises(PeerError):
        client.receive(INITIAL, b"\x02" + len(body).to_bytes(3, "big") + body)


# -- the key log -----------------------------------------------------------------------------------


def test_key_log():
    lines: dict[str, list[str]] = {"client": [], "server": []}
    world = World()
    for _ in range(2):
        client, server = world.ends(
            {"keylog": lines["client"].append}, {"keylog": lines["server"].append}
        )
        talk(client, server, now=world.now)
    assert sorted(lines["client"]) == sorted(lines["server"])
    labels = [line.split()[0] for line in lines["client"]]
    once = [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "EXPORTER_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_TRAFFIC_SECRET_0",
    ]
    assert sorted(labels) == sorted([*once, *once, "CLIENT_EARLY_TRAFFIC_SECRET"])
    for line in lines["client"]:
        _, client_random, secret = line.split(" ")
        assert len(bytes.fromhex(client_random)) == 32
        assert len(bytes.fromhex(secret)) == 48
    secrets = {secret for _, _, _, secret in client.take_keys()}
    assert {line.split()[2] for line in lines["client"][5:]} >= {s.hex() for s in secrets}


def test_the_client_random_comes_from_the_generator():
    client = make_client(rng=random.Random(7).randbytes)
    client.start()
    assert client.take(INITIAL)[6:38] == random.Random(7).randbytes(32)


# -- what is offered -------------------------------------------------------------------------------


def test_who_asks_for_no_tickets_gets_none():
    server = make_server(ticket_store=TicketStore(), params=params())
    client = make_client()
    client.start()
    server.receive(INITIAL, client.take(INITIAL), START)
    client.receive(INITIAL, server.take(INITIAL))
    client.receive(HANDSHAKE, server.take(HANDSHAKE))
    server.receive(HANDSHAKE, client.take(HANDSHAKE), START)
    assert server.complete
    assert server.take(ONE_RTT) == b""


def test_hello_offers_what_rust_offers():
    world = World()
    client, _ = world.ends()
    client.start(world.now)
    found = decode_client_hello(client.take(INITIAL)).extensions
    assert set(found) == {10, 13, 16, 19, 20, 43, 45, 51, 57}  # 45: tickets are welcome
    assert found[45] == b"\x01\x01"
    world.meet()
    changed(world)
    client, _ = world.ends()
    client.start(world.now)
    message = client.take(INITIAL)
    found = decode_client_hello(message).extensions
    assert set(found) == {10, 13, 16, 19, 20, 43, 45, 51, 57, 42, 41}
    assert tls.pull_client_hello(Buffer(data=message)).early_data
    assert len(decode_offer(found[41]).tickets) == 1
