"""The bytes of NAT-PMP and PCP: as the RFCs draw them, as miniupnpd 2.3.1 sends them, arbitrary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.portmap import nat_pmp, pcp
from iroh.portmap.errors import PortmapError, RefusedError
from iroh.portmap.mapping import external_addr

NONCE = bytes(range(12))


def test_nat_pmp_requests() -> None:
    assert bytes(2) == nat_pmp.ADDRESS_REQUEST
    assert nat_pmp.encode_map(4567, 80) == bytes.fromhex("0001 0000 11d7 0050 00001c20")
    assert nat_pmp.encode_map(4567, 0, 0) == bytes.fromhex("0001 0000 11d7 0000 00000000")


def test_nat_pmp_answers() -> None:
    address = bytes.fromhex("0080 0000 00000203 0b000001")
    assert nat_pmp.decode(address) == nat_pmp.ExternalAddress(515, "11.0.0.1")
    mapped = bytes.fromhex("0081 0000 00000204 11d7 11d8 00001c20")
    assert nat_pmp.decode(mapped) == nat_pmp.Mapped(516, 4567, 4568, 7200)
    with pytest.raises(RefusedError, match=r"not authorized \(2\)"):
        nat_pmp.decode(bytes.fromhex("0081 0002"))


def test_pcp_requests() -> None:
    ours = bytes(10) + bytes.fromhex("ffff c0000205")
    assert pcp.encode_announce("192.0.2.5") == bytes.fromhex("0200 0000 00000000") + ours
    request = pcp.encode_map("192.0.2.5", NONCE, 4567, 80, "203.0.113.1")
    assert request[:24] == bytes.fromhex("0201 0000 00000e10") + ours
    assert request[24:44] == NONCE + bytes.fromhex("11000000 11d7 0050")
    assert request[44:] == bytes(10) + bytes.fromhex("ffff cb007101")


def test_pcp_answers() -> None:
    announced = bytes.fromhex("0280 0000 00000000 00000203") + bytes(12)
    assert pcp.decode(announced) == pcp.Announced(515)
    mapped = bytes.fromhex("0281 0000 00000e10 00000203") + bytes(12)
    mapped += NONCE + bytes.fromhex("11000000 11d7 11d8") + bytes(10) + b"\xff\xff\x0b\0\0\1"
    assert pcp.decode(mapped) == pcp.Mapped(515, NONCE, 4567, 4568, "11.0.0.1", 3600)
    with pytest.raises(RefusedError, match="quota"):
        pcp.decode(bytes.fromhex("0281 000a 0000001e 00000203") + bytes(12))
    with pytest.raises(RefusedError, match="only NAT-PMP"):
        pcp.decode(bytes.fromhex("0080 0001 00000203 00000000"))
    for length in range(len(mapped)):
        with pytest.raises(PortmapError):
            pcp.decode(mapped[:length])


@given(st.binary(max_size=80))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    for head in (b"", b"\x00\x80\0\0", b"\x00\x81\0\0", b"\x02\x80\0\0", b"\x02\x81\0\0"):
        for decode in (nat_pmp.decode, pcp.decode):
            try:
                decode(head + data)
            except PortmapError:
                continue


@given(
    st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(min_size=12)
)
def test_what_is_asked_for_can_be_read_back(port: int, other: int, life: int, nonce: bytes) -> None:
    request = nat_pmp.encode_map(port, other, life)
    answer = b"\0\x81\0\0" + bytes(4) + request[4:]
    assert nat_pmp.decode(answer) == nat_pmp.Mapped(0, port, other, life)
    request = pcp.encode_map("10.0.0.1", nonce[:12], port, other, "192.0.2.1", life)
    answer = b"\2\x81\0\0" + request[4:8] + bytes(16) + request[24:]
    assert pcp.decode(answer) == pcp.Mapped(0, nonce[:12], port, other, "192.0.2.1", life)


@pytest.mark.parametrize(
    "ip", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "169.254.1.1"]
)
def test_what_no_gateway_can_have(ip: str) -> None:
    with pytest.raises(PortmapError, match="no external address"):
        external_addr(ip, 80)


def test_external_addresses() -> None:
    assert external_addr("203.0.113.1", 80) == ("203.0.113.1", 80)
    assert external_addr("192.168.1.1", 80).port == 80  # of the outer one of two NATs
    with pytest.raises(PortmapError):
        external_addr("203.0.113.1", 0)
