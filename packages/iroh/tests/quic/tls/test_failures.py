"""Every way to get the handshake wrong: what each end says, and that it says nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tls_kit import EPOCHS, make_client, make_server, pair, talk

from iroh.quic.errors import PeerError
from iroh.quic.tls import HANDSHAKE, INITIAL, ONE_RTT, Handshake
from iroh.quic.tls.certificate import encode_spki
from iroh_base import SecretKey

OTHER = SecretKey.from_bytes(bytes(32)).public().to_bytes()


def without(extension):
    def change(context):
        del context.extensions[extension]

    return change


def offering_x509(context):
    """A list of types from a client, one type from a server."""
    context.extensions[19] = context.extensions[20] = b"\x01\x00" if context.is_client else b"\x00"


def showing(data, *chain):
    def change(context):
        context.entries = [*context.entries, *chain] if data is None else [data, *chain]

    return change


def showing_nothing(context):
    context.entries = []


def signing(sign):
    def change(context):
        context._sign = sign

    return change


def ignoring_the_request(context):
    """Go from CertificateRequest straight to Finished."""
    finish = context.on_finished

    def handle(message):
        context._request = None
        finish(message)

    context.on_finished = handle


def asking_for_ecdsa(context):
    context.schemes = (0x0403,)


def answering(extension):
    def change(context):
        context.extensions[extension] = b"\x01\x01"

    return change


def meet(client_change=None, server_change=None, **client_options):
    """Let two ends talk of which one is changed: the error of the one that noticed."""
    client, server = make_client(**client_options), make_server()
    if client_change:
        client_change(client._context)
    if server_change:
        server_change(server._context)
    with pytest.raises(PeerError) as caught:
        talk(client, server)
    assert not server.complete
    assert caught.value.frame_type == 6
    return client, server, caught.value


SPKI = encode_spki(OTHER)


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (without(19), 40),
        (without(20), 40),
        (offering_x509, 40),
        (without(57), 109),
        (showing_nothing, 116),
        (ignoring_the_request, 10),
        (showing(None, SPKI), 48),
        (showing(b"junk"), 42),
        (showing(SPKI[:-1]), 42),
        (showing(SPKI), 51),
        (signing(lambda data: bytes(64)), 51),
        (signing(lambda data: b"short"), 51),
    ],
)
def test_server_refuses_the_client(change, alert):
    _, server, error = meet(client_change=change)
    assert server._error is error
    assert server.peer is None
    assert error.code == 0x100 + alert
    assert error.reason


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        (without(19), 40),
        (without(20), 40),
        (offering_x509, 40),
        (without(57), 109),
        (showing(None, SPKI), 48),
        (showing(SPKI), 48),
        (showing(b"junk"), 42),
        (signing(lambda data: bytes(64)), 51),
        (asking_for_ecdsa, 40),
        (answering(45), 110),
        (answering(42), 110),
    ],
)
def test_client_refuses_the_server(change, alert):
    client, _, error = meet(server_change=change)
    assert client._error is error
    assert client.peer is None or alert == 40
    assert error.code == 0x100 + alert
    assert error.reason


def test_the_words_of_rustls():
    """Both ends show them to users, who compare them."""
    assert str(meet(peer=OTHER)[2]).endswith("invalid peer certificate: UnknownIssuer")
    assert meet(peer=OTHER)[2].code == 0x130
    error = meet(alpns=[b"else", b"\xff"])[2]
    assert (error.code, error.reason) == (0x178, "peer doesn't support any known protocol")
    error = meet(client_change=offering_x509)[2]
    assert error.reason == "peer is incompatible: IncorrectCertificateTypeExtension"


def test_small_order_key_signs_nothing():
    """OpenSSL would take this signature for any message (Taming the many EdDSAs)."""
    identity = bytes([1]) + bytes(31)

    def evil(context):
        showing(encode_spki(identity))(context)
        signing(lambda data: identity + bytes(32))(context)

    assert meet(client_change=evil)[2].code == 0x133
    assert meet(server_change=evil, peer=identity)[2].code == 0x133


def test_a_session_id_is_no_quic():
    client = make_client()
    client.start()
    hello = bytearray(client.take(INITIAL))
    at = 4 + 2 + 32
    assert hello[at] == 0
    hello[at : at + 1] = b"\x20" + bytes(32)
    hello[1:4] = (len(hello) - 4).to_bytes(3, "big")
    with pytest.raises(PeerError) as caught:
        make_server().receive(INITIAL, bytes(hello))
    assert caught.value.code == 0xA


def test_a_server_that_answers_another_session_id():
    client, server = pair()
    client.start()
    server.receive(INITIAL, client.take(INITIAL))
    hello = bytearray(server.take(INITIAL))
    hello[4 + 2 + 32 : 4 + 2 + 33] = b"\x01\x99"
    hello[1:4] = (len(hello) - 4).to_bytes(3, "big")
    with pytest.raises(PeerError) as caught:
        client.receive(INITIAL, bytes(hello))
    assert caught.value.code == 0x12F


# -- messages in the wrong place -----------------------------------------------------------------


def flights():
    """The messages of a good handshake: (receiver is the client, epoch, bytes), in order."""
    client, server = pair()
    client.start()
    found = []
    done = False
    while not done:
        done = True
        for sender, receiver in ((client, server), (server, client)):
            for epoch in EPOCHS:
                data = sender.take(epoch)
                if data:
                    found.append((receiver is client, epoch, data))
                    receiver.receive(epoch, data)
                    done = False
    return found


def ends(index):
    """A client and a server that took all flights before `index`, and the flight that is due."""
    client, server = pair()
    client.start()
    count = 0
    while True:
        for sender, receiver in ((client, server), (server, client)):
            for epoch in EPOCHS:
                data = sender.take(epoch)
                if data:
                    if count == index:
                        return receiver, epoch, data
                    receiver.receive(epoch, data)
                    count += 1


FLIGHTS = range(len(flights()))


def test_there_are_four_flights():
    assert [(to_client, epoch) for to_client, epoch, _ in flights()] == [
        (False, INITIAL),
        (True, INITIAL),
        (True, HANDSHAKE),
        (False, HANDSHAKE),
    ]


@pytest.mark.parametrize("index", FLIGHTS)
def test_a_truncated_flight_only_waits(index):
    receiver, epoch, data = ends(index)
    receiver.receive(epoch, data[:-1])
    assert not receiver.complete
    receiver.receive(epoch, data[-1:])


@pytest.mark.parametrize("index", FLIGHTS)
def test_a_doubled_flight_is_unexpected(index):
    receiver, epoch, data = ends(index)
    with pytest.raises(PeerError) as caught:
        receiver.receive(epoch, data + data)
    assert caught.value.code == 0x10A


@pytest.mark.parametrize("index", FLIGHTS)
@pytest.mark.parametrize("wrong", EPOCHS)
def test_a_flight_in_the_wrong_epoch_is_unexpected(index, wrong):
    receiver, epoch, data = ends(index)
    if wrong == epoch:
        return
    with pytest.raises(PeerError) as caught:
        receiver.receive(wrong, data)
    assert caught.value.code == 0x10A


@pytest.mark.parametrize("index", FLIGHTS)
def test_messages_do_not_span_epochs(index):
    receiver, epoch, data = ends(index)
    receiver.receive(epoch, data[:7])
    with pytest.raises(PeerError) as caught:
        receiver.receive((epoch + 1) % 4 if epoch != INITIAL else HANDSHAKE, data[7:])
    assert caught.value.code == 0x10A


@pytest.mark.parametrize("index", FLIGHTS)
def test_a_flight_without_its_first_message_is_refused(index):
    receiver, epoch, data = ends(index)
    rest = data[4 + int.from_bytes(data[1:4], "big") :]
    if rest:
        with pytest.raises(PeerError) as caught:
            receiver.receive(epoch, rest)
        assert caught.value.code in (0x10A, 0x133)  # CertificateRequest may be left out in TLS


@pytest.mark.parametrize("kind", [0, 1, 2, 4, 5, 8, 20, 24, 25, 255])
def test_no_messages_after_the_handshake(kind):
    """The client would take a ticket; a KeyUpdate (24) is never allowed (RFC 9001 section 6)."""
    client, server = pair()
    talk(client, server)
    message = bytes((kind, 0, 0, 1, 0))
    for end in (server, client):
        with pytest.raises(PeerError) as caught:
            end.receive(ONE_RTT, message)
        expected = 0x132 if kind == 4 and end is client else 0x10A
        assert caught.value.code == expected


def test_a_message_that_claims_to_be_huge():
    with pytest.raises(PeerError) as caught:
        make_server().receive(INITIAL, b"\x01\xff\xff\xff")
    assert caught.value.code == 0x132


def test_after_a_failure_nothing_more_is_taken():
    server = make_server()
    with pytest.raises(PeerError) as first:
        server.receive(INITIAL, b"\x02\x00\x00\x00")
    for data in (b"", b"\x01"):
        with pytest.raises(PeerError) as again:
            server.receive(INITIAL, data)
        assert again.value is first.value


def test_keys_from_before_the_failure_can_be_taken():
    """The close goes out in the packets of the level that was reached."""
    client, server = make_client(peer=OTHER), make_server()
    with pytest.raises(PeerError):
        talk(client, server)
    assert {epoch for epoch, _, _, _ in client.take_keys()} == {HANDSHAKE}


def test_construction():
    with pytest.raises(ValueError):
        make_client(peer=None)
    with pytest.raises(ValueError):
        make_server(peer=OTHER)
    for alpns in ([b""], [b"x" * 256], [b"x" * 255] * 33):
        with pytest.raises(ValueError):
            make_client(alpns=alpns)


# -- hostile bytes -------------------------------------------------------------------------------


def takes(end: Handshake, epoch: int, data: bytes) -> bool:
    """Whether the bytes were taken; anything but PeerError gets through and fails the test."""
    try:
        end.receive(epoch, data)
    except PeerError:
        return False
    return True


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whoever_changes_a_byte_is_found_out(data):
    """Nothing but PeerError is raised, and two ends never both complete over changed bytes."""
    client, server = pair()
    client.start()
    victim = data.draw(st.sampled_from(FLIGHTS))
    count, fine, changed = 0, True, False
    while fine:
        moved = False
        for sender, receiver in ((client, server), (server, client)):
            for epoch in EPOCHS:
                flight = sender.take(epoch)
                if not flight or not fine:
                    continue
                moved = True
                if count == victim:
                    mutated = mutate(data, flight)
                    changed = mutated != flight
                    flight = mutated
                count += 1
                fine = takes(receiver, epoch, flight)
        if not moved:
            break
    assert not (changed and client.complete and server.complete)
    assert changed or not fine or (client.complete and server.complete)


def mutate(data: st.DataObject, flight: bytes) -> bytes:
    out = bytearray(flight)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(out)))
        match data.draw(st.sampled_from(["set", "insert", "delete", "cut"])):
            case "set" if at < len(out):
                out[at] = data.draw(st.integers(0, 255))
            case "insert":
                out[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del out[at : at + data.draw(st.integers(1, 8))]
            case "cut":
                del out[at:]
    return bytes(out)


@given(st.sampled_from(FLIGHTS), st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_noise_raises_only_peer_errors(index, noise):
    receiver, epoch, _ = ends(index)
    takes(receiver, epoch, noise)


@given(st.sampled_from(FLIGHTS), st.integers(0, 40), st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_noise_behind_a_good_header_raises_only_peer_errors(index, kind, noise):
    receiver, epoch, data = ends(index)
    body = bytes((kind if kind < 30 else data[0],)) + len(noise).to_bytes(3, "big") + noise
    takes(receiver, epoch, body)
