"""The handshake tests of the Rust relay, and every illegal move."""

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh_base.keys import SecretKey
from iroh_relay.protos.auth import (
    ClientAuth,
    ServerChallenge,
    ServerConfirmsAuth,
    ServerDeniesAuth,
)
from iroh_relay.protos.errors import (
    AuthDeniedError,
    ClientAuthHeaderError,
    FrameError,
    HandshakeError,
)
from iroh_relay.protos.frames import split_frame
from iroh_relay.protos.handshake import (
    ClientHandshake,
    HandshakeState,
    Mechanism,
    ServerHandshake,
)
from iroh_relay.protos.keying import EXPORT_LABEL, EXPORT_LEN, Exporter, KeyMaterialClientAuth

from .keys import KEY, NO_POINT, OTHER, SECRET

CHALLENGE = ServerChallenge(bytes(range(16)))
AUTH = (
    "01197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d6140"
    "a28b5ebc6a930b5d80ad5aca2a8e48ad4a064e699c0866674c8b8e61a5f4ea94"
    "0ee8b9f06732930250ac0735555abe77e8df740165edc3163be432f0e4f3cf0f"
)
HEADER = (
    "GX9rI-FshTLGq8g4-s1ep4m-DHaykgM0A5v6iz02jWFAQb98VXtFUshaBKOJKabtiBrsmgnPjpFdRpJqAzcy9jOAPc"
    "-kOvzLgXjeT9vCG8qx2yO7aDoF4n5vbE4kJbh2CBAREhMUFRYXGBkaGxwdHh8"
)


def exporter(material: bytes | None = bytes(range(32))) -> Exporter:
    """An exporter of a TLS session that gives this, whatever the context."""

    def export(label: bytes, context: bytes, length: int) -> bytes | None:
        assert (label, length) == (EXPORT_LABEL, EXPORT_LEN)
        assert len(context) == 32
        return material

    return export


# -- the messages --------------------------------------------------------------------------


def test_bytes_of_the_messages() -> None:
    assert CHALLENGE.encode().hex() == "00000102030405060708090a0b0c0d0e0f"
    assert ClientAuth.answer(SECRET, CHALLENGE).encode().hex() == AUTH
    assert ServerConfirmsAuth().encode() == b"\x02"
    assert ServerDeniesAuth("not authorized").encode().hex() == ("030e6e6f7420617574686f72697a6564")


def test_client_auth_round_trip_and_verification() -> None:
    auth = ClientAuth.decode(bytes.fromhex(AUTH)[1:])
    assert auth == ClientAuth.answer(SECRET, CHALLENGE)
    assert auth.verify(CHALLENGE)
    assert not auth.verify(ServerChallenge(bytes(16)))
    assert not ClientAuth(OTHER, auth.signature).verify(CHALLENGE)


def test_bytes_after_a_message_are_ignored() -> None:
    assert ServerChallenge.decode(CHALLENGE.challenge + b"more") == CHALLENGE
    assert ServerConfirmsAuth.decode(b"more") == ServerConfirmsAuth()
    assert ClientAuth.decode(bytes.fromhex(AUTH)[1:] + b"more").verify(CHALLENGE)


@given(st.text(max_size=300))
def test_reasons_round_trip(reason: str) -> None:
    frame_type, payload = split_frame(ServerDeniesAuth(reason).encode())
    assert frame_type == 3
    assert ServerDeniesAuth.decode(payload).reason == reason


@pytest.mark.parametrize("payload", [b"", b"\x05abc", b"\x02\xff\xff", b"\xff" * 11, b"\x80" * 3])
def test_unreadable_denials(payload: bytes) -> None:
    with pytest.raises(FrameError):
        ServerDeniesAuth.decode(payload)


@pytest.mark.parametrize(
    "payload",
    [b"", KEY.to_bytes(), KEY.to_bytes() + b"\x3f" + bytes(63), NO_POINT + b"\x40" + bytes(64)],
)
def test_unreadable_client_auth(payload: bytes) -> None:
    with pytest.raises(FrameError):
        ClientAuth.decode(payload)


@settings(max_examples=60)
@given(st.binary(max_size=130))
def test_decoding_anything_raises_only_its_own_error(raw: bytes) -> None:
    for decode in (ServerChallenge.decode, ClientAuth.decode, ServerDeniesAuth.decode):
        with contextlib.suppress(FrameError):
            decode(raw)


# -- the exporter header -------------------------------------------------------------------


def test_the_header_of_the_vector() -> None:
    auth = KeyMaterialClientAuth.create(SECRET, exporter())
    assert auth is not None
    assert auth.to_header() == HEADER
    assert KeyMaterialClientAuth.from_header(HEADER) == auth
    assert auth.verify(exporter())


def test_no_exporter_gives_no_header() -> None:
    assert KeyMaterialClientAuth.create(SECRET, exporter(None)) is None


@pytest.mark.parametrize("material", [None, bytes(32), bytes(range(1, 33))])
def test_another_session_does_not_verify(material: bytes | None) -> None:
    assert not KeyMaterialClientAuth.from_header(HEADER).verify(exporter(material))


def test_the_right_suffix_with_a_wrong_signature_does_not_verify() -> None:
    auth = KeyMaterialClientAuth.from_header(HEADER)
    assert not auth.verify(exporter(bytes(16) + bytes(range(16, 32))))


@pytest.mark.parametrize(
    "value", ["", "!!", HEADER + "=", HEADER[:-4], HEADER[:60], HEADER[:-1] + "9", "é", "AB\nCD"]
)
def test_unreadable_headers(value: str) -> None:
    with pytest.raises(ClientAuthHeaderError):
        KeyMaterialClientAuth.from_header(value)


@settings(max_examples=60)
@given(st.text(max_size=200))
def test_reading_any_header_raises_only_its_own_error(value: str) -> None:
    with contextlib.suppress(ClientAuthHeaderError):
        KeyMaterialClientAuth.from_header(value)


# -- the machines --------------------------------------------------------------------------


def challenged() -> tuple[ClientHandshake, ServerHandshake, bytes]:
    """Both machines, and the challenge on its way."""
    server = ServerHandshake(rng=lambda n: bytes(n))
    challenge = server.start()
    assert challenge is not None
    return ClientHandshake(SECRET), server, challenge


def test_challenge_path() -> None:
    client, server, challenge = challenged()
    answer = client.receive(challenge)
    assert answer is not None
    assert server.receive(answer) is None
    assert server.endpoint_id == KEY
    assert server.mechanism is Mechanism.SIGNED_CHALLENGE
    assert client.receive(server.confirm()) is None
    assert client.done
    assert server.state is HandshakeState.DONE


def test_key_material_path_needs_no_challenge() -> None:
    server = ServerHandshake()
    assert server.start(HEADER, exporter()) is None
    assert server.endpoint_id == KEY
    assert server.mechanism is Mechanism.SIGNED_KEY_MATERIAL
    client = ClientHandshake(SECRET)
    client.receive(server.confirm())
    assert client.done


@pytest.mark.parametrize(
    ("header", "export"),
    [
        (HEADER, exporter(bytes(32))),  # mismatching secrets
        (HEADER, exporter(None)),  # no exporter at our end of the session
        (HEADER, None),  # plain HTTP
        (None, exporter()),  # a client without exporter
        ("!!", None),  # nothing to check it against, so it is not read
    ],
)
def test_falls_back_to_the_challenge(header: str | None, export: Exporter | None) -> None:
    server = ServerHandshake()
    challenge = server.start(header, export)
    assert challenge is not None
    answer = ClientHandshake(SECRET).receive(challenge)
    assert answer is not None
    assert server.receive(answer) is None
    assert server.mechanism is Mechanism.SIGNED_CHALLENGE


def test_an_unreadable_header_ends_the_handshake() -> None:
    server = ServerHandshake()
    with pytest.raises(ClientAuthHeaderError):
        server.start("!!", exporter())
    assert server.state is HandshakeState.FAILED


@pytest.mark.parametrize(
    ("given_reason", "told"), [(None, "not authorized"), ("closed on Sundays", "closed on Sundays")]
)
@pytest.mark.parametrize("header", [None, HEADER])
def test_denial(given_reason: str | None, told: str, header: str | None) -> None:
    client, server = ClientHandshake(SECRET), ServerHandshake()
    challenge = server.start(header, exporter())
    if challenge is not None:
        answer = client.receive(challenge)
        assert answer is not None
        server.receive(answer)
    with pytest.raises(AuthDeniedError) as caught:
        client.receive(server.deny(given_reason))
    assert caught.value.reason == told
    assert str(caught.value) == f"The relay denied our authentication ({told})"
    assert (client.state, server.state) == (HandshakeState.FAILED, HandshakeState.FAILED)


def test_a_wrong_signature_is_denied() -> None:
    client, server, challenge = challenged()
    forged = ClientAuth(OTHER, ClientAuth.answer(SECRET, CHALLENGE).signature)
    client.receive(challenge)
    denial = server.receive(forged.encode())
    assert denial is not None
    assert server.endpoint_id is None
    assert server.state is HandshakeState.FAILED
    with pytest.raises(AuthDeniedError, match="signature invalid"):
        client.receive(denial)


def test_every_challenge_is_new() -> None:
    assert ServerHandshake().start() != ServerHandshake().start()


MESSAGES = {
    0: CHALLENGE.encode(),
    1: bytes.fromhex(AUTH),
    2: b"\x02",
    3: ServerDeniesAuth("no").encode(),
    9: b"\x09" + bytes(8),
    14: b"\x0e",
    -1: b"",
}
CLIENT_LEGAL = {
    (): {0, 2, 3},
    (0,): {2, 3},
    (2,): set[int](),
    (0, 2): set[int](),
}


@pytest.mark.parametrize(
    ("history", "kind"),
    list(itertools.product(CLIENT_LEGAL, MESSAGES)),
    ids=lambda value: str(value),
)
def test_every_message_in_every_state_of_the_client(history: tuple[int, ...], kind: int) -> None:
    client = ClientHandshake(SECRET)
    for earlier in history:
        client.receive(MESSAGES[earlier])
    if kind in CLIENT_LEGAL[history] - {3}:
        client.receive(MESSAGES[kind])
        return
    with pytest.raises(HandshakeError) as caught:
        client.receive(MESSAGES[kind])
    assert isinstance(caught.value, AuthDeniedError) == (kind in CLIENT_LEGAL[history])
    with pytest.raises(HandshakeError):  # dead for good
        client.receive(MESSAGES[2])


@pytest.mark.parametrize("kind", sorted(set(MESSAGES) - {1}))
def test_the_relay_takes_nothing_but_client_auth(kind: int) -> None:
    _, server, _ = challenged()
    with pytest.raises(HandshakeError):
        server.receive(MESSAGES[kind])
    with pytest.raises(HandshakeError):
        server.receive(MESSAGES[1])


def test_the_order_of_calls_is_checked() -> None:
    with pytest.raises(HandshakeError):
        ServerHandshake().confirm()
    with pytest.raises(HandshakeError):
        ServerHandshake().receive(MESSAGES[1])
    _, server, _ = challenged()
    with pytest.raises(HandshakeError):
        server.start()
    _, server, _ = challenged()
    with pytest.raises(HandshakeError):
        server.deny()


@settings(max_examples=60)
@given(st.binary(max_size=120))
def test_any_bytes_raise_only_the_handshakes_error(raw: bytes) -> None:
    client, server, _ = challenged()
    for receive in (client.receive, server.receive):
        with contextlib.suppress(HandshakeError):
            receive(raw)


def test_the_key_never_shows() -> None:
    secret = SecretKey.from_bytes(bytes(range(32)))
    assert secret.to_bytes().hex() not in repr(vars(ClientHandshake(secret)))
