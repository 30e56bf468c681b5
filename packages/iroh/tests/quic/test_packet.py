"""Headers against RFC 9000 appendix A and RFC 9001 appendix A, and against arbitrary bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic import packet

DCID = bytes.fromhex("8394c8f03e515708")


def test_the_initial_header_of_appendix_a2() -> None:
    header = packet.long_header(packet.INITIAL, DCID, b"", 2, 4, 1162)
    assert header.hex() == "c300000001088394c8f03e5157080000449e00000002"
    parsed = packet.parse_long(header + bytes(1162 + 16) + b"next packet")
    assert (parsed.kind, parsed.dcid, parsed.scid, parsed.token) == (0, DCID, b"", b"")
    assert parsed.pn_at == len(header) - 4
    assert parsed.end == len(header) + 1162 + 16


def test_the_retry_of_appendix_a4() -> None:
    retry = bytes.fromhex(
        "ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba"
    )
    parsed = packet.parse_long(retry)
    assert (parsed.kind, parsed.token) == (packet.RETRY, b"token")
    assert parsed.scid == bytes.fromhex("f067a5502a4262b5")
    assert packet.is_retry_authentic(DCID, retry)
    assert not packet.is_retry_authentic(DCID + b"x", retry)
    built = packet.retry_packet(DCID, b"", parsed.scid, b"token")
    assert packet.is_retry_authentic(DCID, built)


def test_version_negotiation() -> None:
    answer = packet.version_negotiation(b"to", b"from", 0x15)
    parsed = packet.parse_long(answer)
    assert parsed.kind == packet.VERSION_NEGOTIATION
    assert (parsed.dcid, parsed.scid) == (b"to", b"from")
    assert packet.offered_versions(answer, parsed.pn_at) == [packet.VERSION_1]
    with pytest.raises(packet.PacketError):
        packet.offered_versions(answer + b"x", parsed.pn_at)
    with pytest.raises(packet.UnknownVersion) as caught:
        packet.parse_long(b"\xc0\x0a\x1a\x2a\x3a" + b"\x02to\x04from" + bytes(20))
    assert (caught.value.version, caught.value.dcid) == (0x0A1A2A3A, b"to")


def test_packet_numbers_of_rfc_9000_appendix_a() -> None:
    assert packet.pn_length(0xAC5C02, 0xABE8B3) == 2
    assert packet.pn_length(0xACE8FE, 0xABE8B3) == 3
    assert packet.expand_pn(0x9B32, 2, 0xA82F30EA) == 0xA82F9B32


@given(largest=st.integers(-1, 2**61), ahead=st.integers(1, 2**30))
def test_what_pn_length_chooses_can_be_expanded(largest: int, ahead: int) -> None:
    pn = largest + ahead
    length = packet.pn_length(pn, largest)
    assert packet.expand_pn(pn & ((1 << 8 * length) - 1), length, largest) == pn


@given(
    kind=st.sampled_from((packet.INITIAL, packet.ZERO_RTT, packet.HANDSHAKE)),
    dcid=st.binary(max_size=20),
    scid=st.binary(max_size=20),
    pn=st.integers(0, 2**62 - 1),
    size=st.integers(0, 1400),
    token=st.binary(max_size=100),
)
def test_long_headers_round_trip(kind, dcid, scid, pn, size, token) -> None:
    token = token if kind == packet.INITIAL else b""
    header = packet.long_header(kind, dcid, scid, pn, 4, size, token)
    parsed = packet.parse_long(b"before" + header + bytes(size + 16), 6)
    assert (parsed.kind, parsed.dcid, parsed.scid) == (kind, dcid, scid)
    assert (parsed.token, parsed.start) == (token, 6)
    assert parsed.end == 6 + len(header) + size + 16
    assert len(header) + 16 == packet.long_overhead(kind, dcid, scid, token)


@given(data=st.binary(max_size=100))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    for prefix in (b"", b"\xc0\x00\x00\x00\x01", b"\xf0\x00\x00\x00\x01"):
        try:
            header = packet.parse_long(prefix + data)
        except packet.PacketError:
            continue
        assert 0 < header.pn_at <= len(prefix + data)
        assert header.end <= len(prefix + data)
