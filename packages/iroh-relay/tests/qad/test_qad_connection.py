"""The relay's end of one QAD connection, in memory."""

import contextlib
from types import SimpleNamespace

import pytest
from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnection, QuicConnectionError
from aioquic.quic.packet import QuicErrorCode
from hypothesis import given
from hypothesis import strategies as st

from iroh_relay.qad import CLOSE_CODE, CLOSE_REASON
from iroh_relay.qad.connection import MAX_CRYPTO, MAX_REPORTS, QadConnection
from iroh_relay.qad.observed import BOTH, SENDS, canonical, client_receives, encode_role
from iroh_relay.qad.retry import LIFETIME, RetryTokens, Token

from .kit import CLIENT, SERVER, QadClient, Wire, connect


def test_a_client_that_asks_is_told_its_address() -> None:
    wire = connect()
    assert isinstance(wire.client, QadClient)
    assert wire.client.reports == [(0, *CLIENT)]


@pytest.mark.parametrize("role", [None, SENDS])
def test_others_are_told_nothing(role: int | None) -> None:
    wire = connect(role)
    assert isinstance(wire.client, QadClient)
    assert wire.client.reports == []


def test_both_ways_is_a_role_too() -> None:
    client = connect(BOTH).client
    assert isinstance(client, QadClient)
    assert client.reports


def test_a_role_that_does_not_exist_is_an_error() -> None:
    wire = connect(3)
    wire.wait()
    end = wire.server_end()
    while end is None:
        wire.wait()
        end = wire.server_end()
    assert end.error_code == QuicErrorCode.TRANSPORT_PARAMETER_ERROR


def test_a_client_that_moved_is_told_its_new_address() -> None:
    wire = connect()
    wire.client_addr = ("192.0.2.7", 5555)  # its NAT forgot the mapping
    wire.client.send_ping(1)
    wire.run()
    assert isinstance(wire.client, QadClient)
    assert wire.client.reports == [(0, *CLIENT), (1, "192.0.2.7", 5555)]


def test_a_report_that_is_lost_is_sent_again() -> None:
    client = QadClient()
    wire = Wire(client)
    client.connect(SERVER, now=wire.now)
    wire.run(drop_server=3)
    while not client.reports:
        wire.wait()
        wire.run()
    assert {report[1:] for report in client.reports} == {CLIENT}


def test_a_client_that_never_stops_moving_is_closed() -> None:
    wire = connect()
    assert wire.server is not None
    wire.server._next_seq = MAX_REPORTS - 1
    wire.client_addr = ("192.0.2.7", 5555)
    wire.client.send_ping(1)
    wire.run()
    assert wire.server._close_event is not None


def test_tls_bytes_far_ahead_close_the_connection() -> None:
    client = QadClient()
    wire = Wire(client)
    client.connect(SERVER, now=wire.now)
    wire.run()
    assert wire.server is not None
    frame = Buffer(capacity=64)
    frame.push_uint_var(MAX_CRYPTO + 1000)
    frame.push_uint_var(10)
    frame.push_bytes(bytes(10))
    frame.seek(0)
    with pytest.raises(QuicConnectionError) as caught:
        wire.server._handle_crypto_frame(SimpleNamespace(epoch=tls.Epoch.ONE_RTT), 6, frame)
    assert caught.value.error_code == QuicErrorCode.CRYPTO_BUFFER_EXCEEDED


def test_streams_cannot_be_opened() -> None:
    wire = connect()
    stream = wire.client.get_next_available_stream_id()
    wire.client._remote_max_streams_bidi = 1  # as if it had been allowed
    wire.client._remote_max_data = 10
    wire.client._remote_max_stream_data_bidi_remote = 10
    wire.client.send_stream_data(stream, b"x")
    wire.run()
    assert wire.server is not None
    assert wire.server._close_event is not None
    assert wire.server._close_event.error_code == QuicErrorCode.STREAM_LIMIT_ERROR


def test_a_client_leaves() -> None:
    wire = connect()
    wire.client.close(CLOSE_CODE, reason_phrase=CLOSE_REASON.decode())
    wire.run()
    end = wire.server_end()
    while end is None:
        wire.wait()
        end = wire.server_end()
    assert (end.error_code, end.frame_type, end.reason_phrase) == (1, None, "finished")


def test_the_hooks_into_aioquic_are_there() -> None:
    """They are not public; when this fails, look at what became of them."""
    for name in (
        "_serialize_transport_parameters",
        "_parse_transport_parameters",
        "_handle_crypto_frame",
        "_write_application",
    ):
        assert callable(getattr(QuicConnection, name))
        assert name in vars(QadConnection)


# -- bytes -------------------------------------------------------------------------------------


@given(st.binary(max_size=64))
def test_parameters_of_any_bytes(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        client_receives(data)


def test_the_role_is_found_among_others() -> None:
    assert client_receives(b"\x01\x02\x40\x64" + encode_role(1))
    assert not client_receives(b"\x01\x02\x40\x64" + encode_role(0))
    with pytest.raises(ValueError, match="no such role"):
        client_receives(encode_role(3))


@pytest.mark.parametrize(
    ("addr", "told"),
    [
        (("::ffff:192.0.2.1", 5, 0, 0), ("192.0.2.1", 5)),
        (("192.0.2.1", 5), ("192.0.2.1", 5)),
        (("fe80::1%eth0", 5, 0, 2), ("fe80::1", 5)),
        (("2001:db8::1", 65535, 0, 0), ("2001:db8::1", 65535)),
    ],
)
def test_addresses_are_told_as_they_are(addr: tuple[object, ...], told: tuple[str, int]) -> None:
    assert canonical(addr) == told


def test_retry_tokens() -> None:
    tokens = RetryTokens()
    token = Token(bytes(range(20)), b"retry-id")
    data = tokens.make(CLIENT, token, 5.0)
    assert tokens.open(CLIENT, data, 6.0) == token
    assert tokens.open(SERVER, data, 6.0) is None
    assert tokens.open(CLIENT, data, 6.0 + LIFETIME) is None
    assert RetryTokens().open(CLIENT, data, 6.0) is None


@given(st.binary(max_size=80))
def test_retry_tokens_of_any_bytes(data: bytes) -> None:
    assert RetryTokens().open(CLIENT, data, 6.0) is None
