"""Socket and custom addresses, and the order of all kinds."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base import EndpointTicket, IrohError, RelayUrl
from iroh_base.errors import AddrParseError
from iroh_base.transport_addr import (
    CustomAddr,
    SocketAddr,
    TransportAddr,
    to_transport_addr,
    transport_addr_from_json,
    transport_addr_key,
    transport_addr_text,
    transport_addr_to_json,
)


def load(name: str) -> Any:
    return json.loads((Path(__file__).parent / "vectors" / name).read_text())["cases"]


sockets = st.builds(
    SocketAddr.from_packed,
    st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    st.integers(0, 0xFFFF),
)
customs = st.builds(CustomAddr, st.integers(0, 2**64 - 1), st.binary(max_size=40))
relays = st.sampled_from(["https://a.example/", "http://b:1/", "foo:x"]).map(RelayUrl)


@pytest.mark.parametrize("case", load("socket_addr.json"), ids=lambda c: c["input"])
def test_socket_vectors(case: dict[str, Any]) -> None:
    if not case["ok"]:
        with pytest.raises(AddrParseError) as caught:
            SocketAddr.parse(case["input"])
        assert str(caught.value).startswith(case["message"])
        return
    assert str(SocketAddr.parse(case["input"])) == case["display"]
    ticket = EndpointTicket.from_string(case["ticket"])
    assert ticket.endpoint_addr().direct_addresses() == [case["after_postcard_roundtrip"]]


def after_a_ticket(text: str) -> str | None:
    try:
        addr = SocketAddr.parse(text)
    except AddrParseError:
        return None
    return str(SocketAddr.from_packed(addr.packed, addr.port))


def test_rust_sockets() -> None:
    cases = load("rust_socket_addrs.json")
    assert [[text, after_a_ticket(text)] for text, _ in cases] == cases


def test_socket_parts() -> None:
    addr = SocketAddr.parse("[FE80:0::1%03]:0080")
    assert addr == ("fe80::1%3", 80)
    assert (addr.is_ipv4, addr.scope_id, len(addr.packed)) == (False, 3, 16)
    assert str(addr) == "[fe80::1%3]:80"
    assert SocketAddr.parse("[fe80::1%0]:1").ip == "fe80::1"
    assert SocketAddr.from_parts("10.0.0.1", 5) == SocketAddr.parse("10.0.0.1:5")
    assert SocketAddr.from_parts("::FFFF:1.2.3.4", 5).ip == "::ffff:1.2.3.4"
    assert SocketAddr("1.2.3.4", 5).is_ipv4
    for port in (-1, 65536):
        with pytest.raises(AddrParseError):
            SocketAddr.from_parts("10.0.0.1", port)


@given(sockets)
def test_socket_round_trip(addr: SocketAddr) -> None:
    assert SocketAddr.parse(str(addr)) == addr
    assert SocketAddr.from_packed(addr.packed, addr.port) == addr


@given(st.text(max_size=30) | st.text(alphabet="0123456789abf:.[]%_+", max_size=30))
def test_any_text(text: str) -> None:
    for parse in (SocketAddr.parse, CustomAddr.parse, to_transport_addr):
        try:
            addr = parse(text)
        except AddrParseError:
            continue
        assert parse(str(addr)) == addr


@pytest.mark.parametrize(
    ("text", "id", "data"),
    [
        ("1_a1b2c3d4e5f6", 1, bytes.fromhex("a1b2c3d4e5f6")),
        ("2a_" + "ab" * 32, 42, b"\xab" * 32),
        ("0_", 0, b""),
        ("deadbeef_0102", 0xDEADBEEF, b"\1\2"),
        ("ffffffffffffffff_00", 2**64 - 1, b"\0"),
    ],
)
def test_custom_text(text: str, id: int, data: bytes) -> None:
    addr = CustomAddr(id, data)
    assert str(addr) == text
    assert CustomAddr.parse(text) == addr
    assert CustomAddr.parse("+00" + text.upper().partition("_")[0] + "_" + data.hex()) == addr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "missing '_' separator"),
        ("_00", "invalid id"),
        ("g_00", "invalid id"),
        ("10000000000000000_00", "invalid id"),
        ("-1_00", "invalid id"),
        ("1_0", "invalid data"),
        ("1_AB", "invalid data"),
        ("1_0_0", "invalid data"),
    ],
)
def test_bad_custom_text(text: str, message: str) -> None:
    with pytest.raises(AddrParseError, match=message):
        CustomAddr.parse(text)


@given(customs)
def test_custom_bytes(addr: CustomAddr) -> None:
    assert addr.to_vec() == addr.id.to_bytes(8, "little") + addr.data
    assert CustomAddr.from_vec(addr.to_vec()) == addr


def test_bad_custom_values() -> None:
    with pytest.raises(AddrParseError, match="too short"):
        CustomAddr.from_vec(bytes(7))
    for id in (-1, 2**64):
        with pytest.raises(AddrParseError, match="64 bits"):
            CustomAddr(id, b"")


ORDER: list[TransportAddr] = [
    RelayUrl("http://z.example"),
    RelayUrl("https://a.example"),
    RelayUrl("https://b.example"),
    SocketAddr.parse("1.2.3.4:4"),
    SocketAddr.parse("1.2.3.4:5"),
    SocketAddr.parse("10.2.3.4:1"),
    SocketAddr.parse("[::1]:1"),
    SocketAddr.parse("[fe80::1]:2"),
    SocketAddr.parse("[fe80::1%2]:2"),
    SocketAddr.parse("[fe80::1]:3"),
    CustomAddr(1, b""),
    CustomAddr(1, b"\xff"),
    CustomAddr(1, b"\0\0"),
    CustomAddr(1, b"\xff" * 30),
    CustomAddr(1, b"\0" * 31),
    CustomAddr(1, b"\0" * 40),
    CustomAddr(1, b"\1" * 31),
    CustomAddr(2, b""),
]


def test_order() -> None:
    shuffled = random.Random(7).sample(ORDER, len(ORDER))
    assert sorted(shuffled, key=transport_addr_key) == ORDER


def test_text_with_its_kind() -> None:
    assert transport_addr_text(RelayUrl("https://r")) == "relay:https://r/"
    assert transport_addr_text(SocketAddr.parse("1.2.3.4:5")) == "ip:1.2.3.4:5"
    assert transport_addr_text(CustomAddr(0x544F52, b"\1\2")) == "custom:544f52_0102"


@given(sockets | customs | relays)
def test_json_round_trip(addr: TransportAddr) -> None:
    value = json.loads(json.dumps(transport_addr_to_json(addr)))
    assert transport_addr_from_json(value) == addr


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"Relay": 1},
        {"Relay": "https://r", "Ip": "1.2.3.4:5"},
        {"Ip": "x"},
        {"Relay": "x"},
        {"Custom": {"id": -1, "data": []}},
        {"Custom": {"id": True, "data": []}},
        {"Custom": {"id": 1, "data": [256]}},
        {"Custom": {"id": 1, "data": [True]}},
        {"Custom": {"id": 1, "data": "ab"}},
        {"Bluetooth": "x"},
    ],
)
def test_bad_json(value: Any) -> None:
    with pytest.raises(IrohError):
        transport_addr_from_json(value)


def test_what_is_taken_for_an_address() -> None:
    socket = SocketAddr.parse("1.2.3.4:5")
    assert to_transport_addr("1.2.3.4:5") == to_transport_addr(("1.2.3.4", 5)) == socket
    assert to_transport_addr(SocketAddr("::0001", 5)) == SocketAddr.parse("[::1]:5")
    assert to_transport_addr("1_00") == CustomAddr(1, b"\0")
    with pytest.raises(TypeError):
        to_transport_addr(5)  # type: ignore[arg-type]
