"""Raw public keys, ALPN, transport parameters; and every way to get the handshake wrong."""

from contextlib import contextmanager, suppress

import pytest
from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.packet import pull_quic_transport_parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from quic_sim import ALPN, connect, make_net

from aioquic_engine import handshake_core, hello, params
from aioquic_engine.packets import parse_first
from aioquic_engine.raw_keys import RawKeyContext
from iroh.quic.config import TransportConfig
from iroh.quic.errors import ConnectionClosed, QuicError, TransportError
from iroh.quic.events import Closed, Connected, HandshakeDataReady
from iroh.quic.tls.certificate import decode_spki, encode_spki
from iroh.quic.tls.opaque import OpaqueText
from iroh_base import SecretKey

# -- what goes right ---------------------------------------------------------------------------


def test_both_prove_their_keys():
    pair = connect()
    assert pair.client.peer == pair.server_peer.key
    assert pair.server.peer == pair.client_peer.key
    for peer, connection in (
        (pair.client_peer, pair.client),
        (pair.server_peer, pair.server),
    ):
        kinds = [
            event
            for event in peer.events[connection]
            if isinstance(event, HandshakeDataReady | Connected)
        ]
        assert kinds == [HandshakeDataReady(ALPN), Connected(ALPN, connection.peer)]


@pytest.mark.parametrize("alpn", [b"\xff\x00\x80", b"x" * 255, "ü".encode(), b"\x00"])
def test_alpns_are_bytes(alpn):
    net, client, server = make_net()
    server.config = type(server.config)([b"other", alpn])
    connection = client.dial(server, alpns=[b"\xfe", alpn])
    net.run(lambda: bool(client.got(connection, Connected)))
    assert connection.alpn == server.connections[0].alpn == alpn


def test_the_server_prefers_by_its_own_order():
    net, client, server = make_net()
    server.config = type(server.config)([b"new", b"old"])
    connection = client.dial(server, alpns=[b"old", b"new"])
    net.run(lambda: bool(client.got(connection, Connected)))
    assert connection.alpn == b"new"


@pytest.mark.parametrize("alpns", [[], [b""], [b"x" * 256], [b"x" * 255] * 33])
def test_alpns_that_cannot_be_sent(alpns):
    _, client, server = make_net()
    with pytest.raises(ValueError):
        client.dial(server, alpns=alpns)


def test_a_dial_needs_a_key():
    _, client, server = make_net()
    with pytest.raises(ValueError):
        client.dial(server, key=b"short")


def test_a_client_hello_of_several_packets():
    net, client, server = make_net()
    connection = client.dial(server, alpns=[b"%02d" % n + b"x" * 200 for n in range(30)] + [ALPN])
    net.run(lambda: bool(client.got(connection, Connected)))


def test_client_hello_on_the_wire():
    net, client, server = make_net()
    client.dial(server)
    client.flush()
    (_, _, datagram) = net.log[0]
    assert len(datagram) == 1200
    first = parse_first(datagram)
    assert (len(first.destination), len(first.source)) == (20, 8)
    message = first_crypto(datagram)
    found = hello.client_hello_extensions(message)
    assert set(found) == {10, 13, 16, 19, 20, 43, 51, 57}  # no SNI, no tickets
    assert found[19] == found[20] == b"\x01\x02"
    assert found[13] == bytes.fromhex("00020807")
    assert found[43] == bytes.fromhex("020304")
    assert found[51][:4] == bytes.fromhex("0024001d")
    parsed = tls.pull_client_hello(Buffer(data=message))
    assert parsed.cipher_suites == [0x1302, 0x1301, 0x1303]
    assert parsed.legacy_session_id == b""


def first_crypto(datagram: bytes) -> bytes:
    """The CRYPTO data of a client's first Initial."""
    from aioquic.quic.crypto import CryptoPair

    first = parse_first(datagram)
    keys = CryptoPair()
    keys.setup_initial(cid=first.destination, is_client=False, version=1)
    _, payload, _ = keys.decrypt_packet(datagram[: first.length], first.start, 0)
    buf = Buffer(data=payload)
    assert (buf.pull_uint8(), buf.pull_uint_var()) == (6, 0)
    return buf.pull_bytes(buf.pull_uint_var())


def test_transport_parameters_on_the_wire():
    ids = params.ConnectionIds(initial_source=b"12345678")
    encoded = params.encode(TransportConfig(), ids)
    parsed = pull_quic_transport_parameters(Buffer(data=encoded))
    assert parsed.max_idle_timeout == 30_000
    assert parsed.max_udp_payload_size == 1472
    assert parsed.initial_max_data == 2**62 - 1
    assert parsed.initial_max_stream_data_bidi_local == 1_250_000
    assert parsed.initial_max_stream_data_bidi_remote == 1_250_000
    assert parsed.initial_max_stream_data_uni == 1_250_000
    assert (parsed.initial_max_streams_bidi, parsed.initial_max_streams_uni) == (100, 100)
    assert parsed.active_connection_id_limit == 5
    assert parsed.initial_source_connection_id == b"12345678"
    assert parsed.max_datagram_frame_size == 65535
    assert parsed.stateless_reset_token is None
    assert encoded.startswith(bytes.fromhex("010480007530" + "030245c0"))


def test_unknown_transport_parameters_are_skipped(monkeypatch):
    plain = params.encode
    monkeypatch.setattr(
        params, "encode", lambda *a: plain(*a) + bytes.fromhex("3e0107" + "c0003d7f911204010120")
    )
    connect()


@given(st.binary(max_size=80))
def test_parameter_check_raises_only_value_error(data):
    with suppress(ValueError):
        params.check(data)


def test_exported_keying_material():
    pair = connect()
    ours = pair.client.export_keying_material(64, b"label", b"context")
    assert ours == pair.server.export_keying_material(64, b"label", b"context")
    assert len(ours) == 64
    assert ours != pair.client.export_keying_material(64, b"label", b"other")
    assert ours != pair.client.export_keying_material(64, b"lebal", b"context")
    for length in (0, 255 * 48 + 1):
        with pytest.raises(ValueError):
            pair.client.export_keying_material(length, b"l", b"")
    _, client, server = make_net()
    with pytest.raises(QuicError):
        client.dial(server).export_keying_material(1, b"l", b"")


# -- what goes wrong ---------------------------------------------------------------------------


@contextmanager
def context_class(kind):
    """Connections made inside use another TLS class: one end becomes evil."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshake_core, "RawKeyContext", kind)
        yield


def meet(evil_client=None, evil_server=None, **dial):
    """Run a handshake to its bitter end; give both close reasons."""
    net, client, server = make_net()
    server.auto_accept = False
    with context_class(evil_client or RawKeyContext):
        ours = client.dial(server, **dial)
    net.run(lambda: bool(server.incoming))
    with context_class(evil_server or RawKeyContext):
        theirs = server.add(server.incoming[0].accept(server.config, net.now))
    net.run(lambda: bool(client.got(ours, Closed)) and bool(server.got(theirs, Closed)), seconds=20)
    assert not client.endpoint.dropped["internal error"]
    assert not server.endpoint.dropped["internal error"]
    return client.got(ours, Closed)[0].reason, server.got(theirs, Closed)[0].reason


def without(kind):
    class Evil(RawKeyContext):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.handshake_extensions = [e for e in self.handshake_extensions if e[0] != kind]

    return Evil


class X509Offer(RawKeyContext):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        x509 = b"\x01\x00" if self._is_client else b"\x00"
        self.handshake_extensions = [
            (kind, x509 if kind == 19 else data) for kind, data in self.handshake_extensions
        ]


class Certificate:
    def __init__(self, data):
        self.data = data

    def public_bytes(self, encoding):
        return self.data


def showing(data, chain=()):
    class Evil(RawKeyContext):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            if data is not None:
                self.certificate = Certificate(data)
            self.certificate_chain = [Certificate(entry) for entry in chain]

    return Evil


class Signer:
    def __init__(self, sign):
        self.sign = sign


def signing(signature):
    class Evil(RawKeyContext):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.certificate_private_key = Signer(signature)

    return Evil


class ShowsNothing(RawKeyContext):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.certificate = None


class IgnoresRequest(RawKeyContext):
    """Goes from CertificateRequest straight to Finished."""

    def _client_handle_finished(self, input_buf, output_buf):
        self._certificate_request = None
        super()._client_handle_finished(input_buf, output_buf)


OTHER_SPKI = encode_spki(SecretKey.from_bytes(bytes(32)).public().to_bytes())


@pytest.mark.parametrize(
    ("evil", "alert"),
    [
        (without(19), 40),
        (without(20), 40),
        (X509Offer, 40),
        (without(57), 109),
        (ShowsNothing, 116),
        (IgnoresRequest, 10),
        (showing(None, [OTHER_SPKI]), 48),
        (showing(b"junk"), 42),
        (showing(OTHER_SPKI[:-1]), 42),
        (showing(OTHER_SPKI), 51),
        (signing(lambda data: bytes(64)), 51),
        (signing(lambda data: b"short"), 51),
    ],
)
def test_server_refuses_the_client(evil, alert):
    client, server = meet(evil_client=evil)
    assert isinstance(server, TransportError)
    assert server.code == 0x100 + alert
    assert isinstance(client, ConnectionClosed)
    assert client.code == 0x100 + alert


@pytest.mark.parametrize(
    ("evil", "alert"),
    [
        (without(19), 40),
        (without(20), 40),
        (X509Offer, 40),
        (without(57), 109),
        (showing(None, [OTHER_SPKI]), 48),
        (showing(OTHER_SPKI), 48),
        (showing(b"junk"), 42),
        (signing(lambda data: bytes(64)), 51),
    ],
)
def test_client_refuses_the_server(evil, alert):
    client, server = meet(evil_server=evil)
    assert isinstance(client, TransportError)
    assert client.code == 0x100 + alert
    assert isinstance(server, ConnectionClosed)
    assert server.code == 0x100 + alert


def test_dialling_the_wrong_key():
    client, server = meet(key=SecretKey.from_bytes(bytes(32)).public().to_bytes())
    assert client == TransportError(0x130, "invalid peer certificate: UnknownIssuer")
    assert server == ConnectionClosed(0x130, b"invalid peer certificate: UnknownIssuer", 6)


def test_no_common_alpn():
    client, server = meet(alpns=[b"else", b"\xff"])
    assert server == TransportError(0x178, "peer doesn't support any known protocol")
    assert client == ConnectionClosed(0x178, b"peer doesn't support any known protocol", 6)
    assert str(client) == (
        "aborted by peer: the cryptographic handshake failed: error 120: "
        "peer doesn't support any known protocol"
    )


def test_small_order_key_signs_nothing():
    """OpenSSL would take this signature for any message (Taming the many EdDSAs)."""
    identity = bytes([1]) + bytes(31)

    class Evil(showing(encode_spki(identity))):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.certificate_private_key = Signer(lambda data: identity + bytes(32))

    _, server = meet(evil_client=Evil)
    assert isinstance(server, TransportError)
    assert server.code == 0x133
    client, _ = meet(evil_server=Evil, key=identity)
    assert isinstance(client, TransportError)
    assert client.code == 0x133


def test_other_signature_scheme_is_illegal():
    context = RawKeyContext(
        is_client=False,
        secret_key=SecretKey.from_bytes(bytes(32)),
        alpns=[ALPN],
        transport_parameters=b"",
    )
    with pytest.raises(tls.AlertIllegalParameter):
        context._check_certificate_verify_signature(tls.CertificateVerify(0x0403, bytes(64)))


def test_request_without_ed25519():
    class Evil(RawKeyContext):
        """Asks for ECDSA only."""

        def _server_handle_hello(self, input_buf, initial_buf, handshake_buf):
            self._signature_algorithms = [0x0403]
            super()._server_handle_hello(input_buf, initial_buf, handshake_buf)

    client, _ = meet(evil_server=Evil)
    assert isinstance(client, TransportError)
    assert client.code == 0x128


def test_answer_to_what_was_not_asked():
    class Evil(RawKeyContext):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.handshake_extensions.append((45, b"\x01\x01"))

    client, _ = meet(evil_server=Evil)
    assert isinstance(client, TransportError)
    assert client.code == 0x16E
    with_it = meet_ok(evil_client=Evil)  # the server ignores what it does not know
    assert with_it


def meet_ok(evil_client):
    net, client, server = make_net()
    with context_class(evil_client):
        ours = client.dial(server)
    net.run(lambda: bool(client.got(ours, Connected)))
    return True


@pytest.mark.parametrize(
    "extra", ["010480007530", "0110", "02", "0e0101", "030204af", "0b024000ff", "0a0115"]
)
def test_bad_transport_parameters(extra, monkeypatch):
    plain = params.encode
    calls = []

    def encode(transport, ids):
        calls.append(ids)
        evil = ids.original_destination is None  # only the client
        return plain(transport, ids) + (bytes.fromhex(extra) if evil else b"")

    monkeypatch.setattr(params, "encode", encode)
    client, server = meet()
    assert isinstance(server, TransportError)
    assert server.code == 0x8
    assert isinstance(client, ConnectionClosed)
    assert client.code == 0x8


def test_a_message_in_the_wrong_packet():
    context = RawKeyContext(
        is_client=False,
        secret_key=SecretKey.from_bytes(bytes(32)),
        alpns=[ALPN],
        transport_parameters=b"",
    )
    context.epoch = tls.Epoch.HANDSHAKE
    with pytest.raises(tls.AlertUnexpectedMessage):
        context.handle_message(b"\x01\x00\x00\x00", {})


def test_a_message_that_claims_to_be_huge():
    context = RawKeyContext(
        is_client=False,
        secret_key=SecretKey.from_bytes(bytes(32)),
        alpns=[ALPN],
        transport_parameters=b"",
    )
    with pytest.raises(tls.AlertDecodeError):
        context.handle_message(b"\x01\xff\xff\xff", {})


@given(st.data())
@settings(max_examples=150)
def test_mutated_client_hello_raises_only_alerts(data):
    net, client, server = make_net()
    client.dial(server)
    client.flush()
    message = bytearray(first_crypto(net.log[0][2]))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(4, len(message) - 1))] = data.draw(st.integers(0, 255))
    context = RawKeyContext(
        is_client=False,
        secret_key=SecretKey.from_bytes(bytes(32)),
        alpns=[ALPN],
        transport_parameters=b"",
    )
    out = {epoch: Buffer(capacity=4096) for epoch in tls.Epoch}
    with suppress(tls.Alert):
        context.handle_message(bytes(message), out)


@given(st.binary(max_size=200))
def test_extension_parsers_raise_only_alerts(data):
    for parse in (hello.client_hello_extensions, hello.encrypted_extensions):
        with suppress(tls.Alert):
            hello.alpn_names(parse(data))
    with suppress(tls.Alert):
        hello.alpn_names({16: data})


@given(st.binary(max_size=50))
def test_spki(data):
    assert decode_spki(encode_spki(bytes(32))) == bytes(32)
    with pytest.raises(ValueError):
        decode_spki(data)


@given(st.binary())
def test_opaque_text_is_bytes(raw):
    text = OpaqueText(raw)
    assert text.encode("ascii") == text.encode("utf8") == raw
    assert len(text) == len(raw)
