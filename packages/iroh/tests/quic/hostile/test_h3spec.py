"""The 34 transport and TLS cases of h3spec (kazu-yamamoto/h3spec), an evil client each.

The names are h3spec's; how each is done is ours. Section numbers are those of RFC 9000, with "TLS"
those of RFC 9001.
"""

import pytest
from evil_kit import Arena, vi, with_parameters

from iroh.quic import errors as err
from iroh.quic import frames as f
from iroh.quic.frames import HANDSHAKE, ONE_RTT, ZERO_RTT
from iroh.quic.params import TransportParameters

UNEXPECTED_MESSAGE, MISSING_EXTENSION, NO_APPLICATION_PROTOCOL = 0x10A, 0x16D, 0x178
BEYOND_WINDOW = 100_000_000
MINE_UNI, YOURS, YOURS_UNI = 2, 1, 3
"""Stream ids as an evil client sees them: those below the limits that nobody opened."""

IN_1RTT = {
    "FLOW_CONTROL_ERROR for a STREAM frame with a large offset (4.1)": (
        f.Stream(0, BEYOND_WINDOW, b"x", True).encode(),
        err.FLOW_CONTROL_ERROR,
    ),
    "STREAM_LIMIT_ERROR for a stream id above the limit (4.6)": (
        f.Stream(1_000_000_000, 0, b"x", True).encode(),
        err.STREAM_LIMIT_ERROR,
    ),
    "FRAME_ENCODING_ERROR for an unknown frame type (12.4)": (b"\x20", err.FRAME_ENCODING_ERROR),
    "PROTOCOL_VIOLATION for no frames (12.4)": (b"", err.PROTOCOL_VIOLATION),
    "STREAM_STATE_ERROR for RESET_STREAM of a send-only stream (19.4)": (
        f.ResetStream(YOURS_UNI, 0, 0).encode(),
        err.STREAM_STATE_ERROR,
    ),
    "STREAM_STATE_ERROR for STOP_SENDING of a stream that does not exist (19.5)": (
        f.StopSending(YOURS, 0).encode(),
        err.STREAM_STATE_ERROR,
    ),
    "PROTOCOL_VIOLATION for NEW_TOKEN (19.7)": (
        f.NewToken(b"x").encode(),
        err.PROTOCOL_VIOLATION,
    ),
    "STREAM_STATE_ERROR for STREAM of the server's that is not created yet (19.8)": (
        f.Stream(YOURS, 0, b"x", False).encode(),
        err.STREAM_STATE_ERROR,
    ),
    "STREAM_STATE_ERROR for STREAM of a send-only stream (19.8)": (
        f.Stream(YOURS_UNI, 0, b"x", False).encode(),
        err.STREAM_STATE_ERROR,
    ),
    "STREAM_STATE_ERROR for MAX_STREAM_DATA of a stream that is not created yet (19.10)": (
        f.MaxStreamData(YOURS, 100).encode(),
        err.STREAM_STATE_ERROR,
    ),
    "STREAM_STATE_ERROR for MAX_STREAM_DATA of a receive-only stream (19.10)": (
        f.MaxStreamData(MINE_UNI, 100).encode(),
        err.STREAM_STATE_ERROR,
    ),
    "FRAME_ENCODING_ERROR for an invalid MAX_STREAMS (19.11)": (
        vi(0x12, 2**60 + 1),
        err.FRAME_ENCODING_ERROR,
    ),
    "FRAME_ENCODING_ERROR for an invalid STREAMS_BLOCKED (19.14)": (
        vi(0x16, 2**60 + 1),
        err.FRAME_ENCODING_ERROR,
    ),
    "FRAME_ENCODING_ERROR for NEW_CONNECTION_ID that retires itself (19.15)": (
        f.NewConnectionId(2, 3, b"12345678", bytes(16)).encode(),
        err.FRAME_ENCODING_ERROR,
    ),
    "FRAME_ENCODING_ERROR for NEW_CONNECTION_ID of 0 bytes (19.15)": (
        f.NewConnectionId(2, 0, b"", bytes(16)).encode(),
        err.FRAME_ENCODING_ERROR,
    ),
    "PROTOCOL_VIOLATION for HANDSHAKE_DONE (19.20)": (
        f.HandshakeDone().encode(),
        err.PROTOCOL_VIOLATION,
    ),
}


@pytest.mark.parametrize("name", IN_1RTT)
def test_frame(name):
    payload, code = IN_1RTT[name]
    Arena().closes(code, payload)


def set_to(**values):
    def change(params: TransportParameters) -> None:
        for name, value in values.items():
            setattr(params, name, value)

    return change


PREFERRED = bytes(4 + 2 + 16 + 2) + b"\x08" + bytes(8 + 16)
PARAMETERS = {
    "initial_source_connection_id is missing (7.3)": {"initial_source_connection_id": None},
    "original_destination_connection_id from a client (18.2)": {
        "original_destination_connection_id": b"DUMMY"
    },
    "preferred_address from a client (18.2)": {"preferred_address": PREFERRED},
    "retry_source_connection_id from a client (18.2)": {"retry_source_connection_id": b"DUMMY"},
    "stateless_reset_token from a client (18.2)": {"stateless_reset_token": bytes(16)},
    "max_udp_payload_size below 1200 (18.2)": {"max_udp_payload_size": 1090},
    "ack_delay_exponent above 20 (18.2)": {"ack_delay_exponent": 30},
    "max_ack_delay of 2**14 or more (18.2)": {"max_ack_delay": 1 << 15},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_transport_parameter_error(name):
    arena = Arena(meet=False, twist={"params": set_to(**PARAMETERS[name])})
    arena.must_close(err.TRANSPORT_PARAMETER_ERROR)


def in_handshake() -> Arena:
    """An arena whose evil client has Handshake keys and has sent nothing with them."""
    arena = Arena(meet=False)
    arena.carry(arena.victim_node.address, arena.victim_node.work())
    assert arena.evil._p.levels[HANDSHAKE].send_keys
    return arena


def test_protocol_violation_for_reserved_bits_in_handshake_17_2():
    arena = in_handshake()
    arena.throw(arena.seal_long(HANDSHAKE, f.Ping().encode(), bits=0x08))
    arena.must_close(err.PROTOCOL_VIOLATION)


def test_protocol_violation_for_path_challenge_in_handshake_17_2_4():
    arena = in_handshake()
    arena.throw(arena.seal_long(HANDSHAKE, f.PathChallenge(b"01234567").encode()))
    arena.must_close(err.PROTOCOL_VIOLATION)


def test_protocol_violation_for_reserved_bits_in_short_17_3_1():
    Arena().closes(err.PROTOCOL_VIOLATION, f.Ping().encode(), bits=0x08)


KEY_UPDATE = b"\x18\x00\x00\x01\x00"
END_OF_EARLY_DATA = b"\x05\x00\x00\x00"


def replaced(epoch, message):
    return {"tls": lambda at, data: message if at == epoch else data}


def test_unexpected_message_for_key_update_in_handshake_tls_6():
    arena = Arena(meet=False, twist=replaced(HANDSHAKE, KEY_UPDATE))
    arena.settle()
    arena.must_close(UNEXPECTED_MESSAGE)


def test_unexpected_message_for_key_update_in_1rtt_tls_6():
    Arena().closes(UNEXPECTED_MESSAGE, f.Crypto(0, KEY_UPDATE).encode())


def test_no_application_protocol_tls_8_1():
    arena = Arena(meet=False, twist={"alpns": [b"dummy"]})
    arena.must_close(NO_APPLICATION_PROTOCOL)


def test_missing_extension_without_quic_transport_parameters_tls_8_2():
    arena = Arena(meet=False, twist=with_parameters(lambda _extension: b""))
    arena.must_close(MISSING_EXTENSION)


def test_missing_extension_for_the_draft_number_of_the_extension_tls_8_2():
    arena = Arena(meet=False, twist=with_parameters(lambda extension: b"\xff\xa5" + extension[2:]))
    arena.must_close(MISSING_EXTENSION)


def test_unexpected_message_for_end_of_early_data_tls_8_3():
    arena = Arena(meet=False, twist=replaced(HANDSHAKE, END_OF_EARLY_DATA))
    arena.settle()
    arena.must_close(UNEXPECTED_MESSAGE)


def test_protocol_violation_for_crypto_in_0rtt_tls_8_3():
    crypto = f.Crypto(0, b"x").encode()
    assert f.decode_payload(crypto, ONE_RTT)
    with pytest.raises(err.PeerError) as caught:
        f.decode_payload(crypto, ZERO_RTT)
    assert caught.value.code == err.PROTOCOL_VIOLATION
