import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.errors import TRANSPORT_PARAMETER_ERROR, PeerError
from iroh.quic.params import TransportParameters
from iroh.quic.varint import encode

# As a Rust endpoint (iroh 1.4.1) sends them, without grease: spec/quic.md section 2.
IROH = {
    "max_idle_timeout": 30_000,
    "max_udp_payload_size": 1472,
    "initial_max_data": 2**62 - 1,
    "initial_max_stream_data_bidi_local": 1_250_000,
    "initial_max_stream_data_bidi_remote": 1_250_000,
    "initial_max_stream_data_uni": 1_250_000,
    "initial_max_streams_bidi": 100,
    "initial_max_streams_uni": 100,
    "active_connection_id_limit": 5,
    "initial_source_connection_id": b"12345678",
    "max_datagram_frame_size": 65_535,
    "initial_max_path_id": 7,
    "max_nat_traversal_addresses": 32,
    "min_ack_delay": 1000,
}


def test_round_trip_and_defaults() -> None:
    params = TransportParameters(**IROH)
    assert TransportParameters.decode(params.encode(os.urandom), from_client=True) == params
    empty = TransportParameters.decode(b"", from_client=False)
    assert empty == TransportParameters()
    assert (empty.ack_delay_exponent, empty.max_ack_delay) == (3, 25)
    assert (empty.active_connection_id_limit, empty.initial_max_path_id) == (2, None)


@pytest.mark.parametrize(
    ("wire", "name", "value"),
    [
        ("0104" + "80007530", "max_idle_timeout", 30_000),
        ("0302" + "45c0", "max_udp_payload_size", 1472),
        ("3e01" + "07", "initial_max_path_id", 7),
        ("c0003d7f9112040101" + "20", "max_nat_traversal_addresses", 32),
        ("c0000000ff04de1b02" + "43e8", "min_ack_delay", 1000),
        ("c00000009f81a17601" + "02", "observed_address_role", 2),
        ("6ab200", "grease_quic_bit", True),
    ],
)
def test_wire_forms_of_the_real_peer(wire: str, name: str, value: object) -> None:
    params = TransportParameters.decode(bytes.fromhex(wire), from_client=True)
    assert getattr(params, name) == value
    assert params.encode(os.urandom, grease=False).hex() == wire


@pytest.mark.parametrize(
    "wire",
    [
        *("0104800075", "01", "010280007530", "01028000", "03024063", "0e0101", "0a0115"),
        *("0b0480004000", "0c0101", "0f15" + "00" * 21, "c0003d7f911204010100"),
        *("c0003d7f91120401024020", "c00000009f81a1760103", "01010a01010a"),
        *("c0000000ff04de1b0480007530", "3e088000000100000000"[:6], "0808ffffffffffffffff"),
    ],
)
def test_malformed_parameters_are_refused(wire: str) -> None:
    with pytest.raises(PeerError) as caught:
        TransportParameters.decode(bytes.fromhex(wire), from_client=True)
    assert caught.value.code == TRANSPORT_PARAMETER_ERROR


@pytest.mark.parametrize("key", [0x00, 0x02, 0x0D, 0x10])
def test_a_client_must_not_send_what_servers_send(key: int) -> None:
    value = bytes(24) + b"\x08" + bytes(24) if key == 0x0D else bytes(16)
    wire = encode(key) + encode(len(value)) + value
    TransportParameters.decode(wire, from_client=False)
    with pytest.raises(PeerError):
        TransportParameters.decode(wire, from_client=True)


@given(data=st.binary(max_size=200), from_client=st.booleans())
def test_arbitrary_bytes_raise_nothing_else(data: bytes, from_client: bool) -> None:
    code = TRANSPORT_PARAMETER_ERROR
    try:
        TransportParameters.decode(data, from_client=from_client)
    except PeerError as error:
        code = error.code
    assert code == TRANSPORT_PARAMETER_ERROR


def test_grease_is_there_and_skipped() -> None:
    plain = TransportParameters(**IROH)
    greased = {plain.encode(os.urandom) for _ in range(20)}
    assert len(greased) == 20
    assert all(TransportParameters.decode(g, from_client=True) == plain for g in greased)
