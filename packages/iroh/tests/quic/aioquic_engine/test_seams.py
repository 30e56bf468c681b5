"""aioquic's private parts that the engine overrides or reads: each must exist in this version."""

import inspect

import pytest
from aioquic import tls
from aioquic.quic import connection, packet, recovery, stream
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.recovery import QuicPacketRecovery

from aioquic_engine.core import Core
from aioquic_engine.handshake_core import HandshakeCore
from aioquic_engine.raw_keys import RawKeyContext
from aioquic_engine.receiving import ReceiveHalf
from aioquic_engine.recovery import Recovery
from aioquic_engine.sending import SendHalf
from aioquic_engine.stream_core import StreamCore
from aioquic_engine.streams import Stream, StreamLimit

CONNECTION_METHODS = [
    "_alpn_handler",
    "_assert_stream_can_send",
    "_close_begin",
    "_close_end",
    "_consume_peer_cid",
    "_get_or_create_stream",
    "_handle_connection_close_frame",
    "_handle_crypto_frame",
    "_handle_datagram_frame",
    "_handle_retire_connection_id_frame",
    "_handle_stop_sending_frame",
    "_idle_timeout",
    "_initialize",
    "_on_connection_limit_delivery",
    "_on_max_stream_data_delivery",
    "_parse_transport_parameters",
    "_payload_received",
    "_receive_version_negotiation_packet",
    "_replenish_connection_ids",
    "_send_probe",
    "_serialize_transport_parameters",
    "_stream_is_discarded",
    "_stream_limit",
    "_unblock_streams",
    "_update_traffic_key",
    "_write_connection_close_frame",
    "_write_connection_limits",
    "_write_datagram_frame",
    "_write_stream_limits",
    "datagrams_to_send",
    "get_next_available_stream_id",
    "get_peer_address",
    "get_timer",
    "handle_timer",
    "receive_datagram",
    "request_key_update",
]
CONNECTION_FIELDS = [
    "_close_at",
    "_close_event",
    "_configuration",
    "_crypto_streams",
    "_datagrams_pending",
    "_events",
    "_handshake_complete",
    "_host_cid_seq",
    "_host_cids",
    "_is_client",
    "_local_active_connection_id_limit",
    "_local_initial_source_connection_id",
    "_local_max_data",
    "_local_max_streams_bidi",
    "_local_max_streams_uni",
    "_local_next_stream_id_bidi",
    "_local_next_stream_id_uni",
    "_logger",
    "_loss",
    "_max_datagram_size",
    "_network_paths",
    "_original_destination_connection_id",
    "_packet_number",
    "_peer_cid",
    "_peer_cid_available",
    "_ping_pending",
    "_remote_ack_delay_exponent",
    "_remote_active_connection_id_limit",
    "_remote_max_datagram_frame_size",
    "_remote_max_idle_timeout",
    "_remote_max_stream_data_bidi_local",
    "_remote_max_stream_data_bidi_remote",
    "_remote_max_stream_data_uni",
    "_remote_max_streams_bidi",
    "_remote_max_streams_uni",
    "_retry_count",
    "_retry_source_connection_id",
    "_state",
    "_streams",
    "_streams_queue",
    "_version",
    "host_cid",
]
CONTEXT_METHODS = [
    "_check_certificate_verify_signature",
    "_client_handle_certificate_request",
    "_client_handle_encrypted_extensions",
    "_handle_reassembled_message",
    "_server_handle_certificate",
    "_server_handle_hello",
    "_set_peer_certificate",
    "_set_state",
    "_setup_traffic_protection",
    "_signature_algorithms_for_private_key",
    "handle_message",
]
CONTEXT_FIELDS = [
    "_alpn_protocols",
    "_certificate_request",
    "_is_client",
    "_receive_buffer",
    "_request_client_certificate",
    "_signature_algorithms",
    "_supported_groups",
    "alpn_cb",
    "alpn_negotiated",
    "certificate",
    "certificate_private_key",
    "handshake_extensions",
    "key_schedule",
    "received_extensions",
    "state",
    "update_traffic_key_cb",
]
RECOVERY_FIELDS = ["_pto_count", "_rtt_initial", "_rtt_initialized", "_rtt_smoothed"]
RECOVERY_METHODS = ["_get_loss_space", "_on_packets_lost", "get_probe_timeout"]


def plain_connection() -> QuicConnection:
    return QuicConnection(configuration=QuicConfiguration(is_client=True))


@pytest.mark.parametrize("name", CONNECTION_METHODS)
def test_connection_method_exists(name):
    assert callable(getattr(QuicConnection, name))


@pytest.mark.parametrize("name", CONNECTION_FIELDS)
def test_connection_field_exists(name):
    assert hasattr(plain_connection(), name)


@pytest.mark.parametrize("name", CONTEXT_METHODS)
def test_context_method_exists(name):
    assert callable(getattr(tls.Context, name))


@pytest.mark.parametrize("name", CONTEXT_FIELDS)
def test_context_field_exists(name):
    assert hasattr(tls.Context(is_client=True), name)


@pytest.mark.parametrize("name", RECOVERY_FIELDS)
def test_recovery_field_exists(name):
    assert hasattr(plain_connection()._loss, name)


@pytest.mark.parametrize("name", RECOVERY_METHODS)
def test_recovery_method_exists(name):
    assert callable(getattr(QuicPacketRecovery, name))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Core, QuicConnection),
        (HandshakeCore, QuicConnection),
        (StreamCore, QuicConnection),
        (RawKeyContext, tls.Context),
        (Recovery, QuicPacketRecovery),
    ],
)
def test_overrides_take_what_aioquic_passes(ours, theirs):
    for name, function in vars(ours).items():
        base = getattr(theirs, name, None)
        if name.startswith("__") or not inspect.isfunction(function) or base is None:
            continue
        assert list(inspect.signature(function).parameters) == list(
            inspect.signature(base).parameters
        ), name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ReceiveHalf(0, object(), None), stream.QuicStreamReceiver(0, True)),
        (SendHalf(0, None, None), stream.QuicStreamSender(0, True)),
        (
            Stream(0, ReceiveHalf(0, object(), None), SendHalf(0, None, None)),
            stream.QuicStream(),
        ),
        (StreamLimit(0, "", 1), connection.Limit(0, "", 1)),
    ],
)
def test_replacements_have_all_public_parts(ours, theirs):
    missing = [name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)]
    assert not missing


def test_frame_handlers_are_bound_to_overrides():
    # aioquic builds its frame table from bound methods, which is what makes overriding work.
    source = inspect.getsource(QuicConnection.__init__)
    assert "self.__frame_handlers = {" in source
    assert "(self._handle_crypto_frame, " in source


def test_constants_exist():
    assert recovery.K_PACKET_THRESHOLD == 3
    assert packet.QuicProtocolVersion.VERSION_1 == 1
    assert connection.MAX_NETWORK_PATHS == 8
    assert connection.MAX_REMOTE_CHALLENGES == 32
