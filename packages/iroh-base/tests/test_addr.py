"""EndpointAddr: values, texts, postcard and JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base import (
    CustomAddr,
    EndpointAddr,
    RelayUrl,
    SecretKey,
    SocketAddr,
    transport_addr_key,
)
from iroh_base.errors import AddrParseError, IrohErrorKind, PostcardError, RelayUrlError

ID = SecretKey(bytes(32)).public()
ENCODED = json.loads((Path(__file__).parent / "vectors" / "tickets.json").read_text())["encoded"]

addresses = st.builds(
    EndpointAddr,
    st.sampled_from([SecretKey(bytes([n]) * 32).public() for n in range(4)]),
    st.none() | st.sampled_from(["https://a.example", "HTTPS://B.example:443", "https://ü"]),
    st.lists(
        st.sampled_from(["1.2.3.4:5", "[::1]:6", "[fe80::1]:7", "5_00", "5_"])
        | st.builds(CustomAddr, st.integers(0, 2**64 - 1), st.binary(max_size=40))
        | st.builds(
            SocketAddr.from_packed,
            st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
            st.integers(0, 0xFFFF),
        ),
        max_size=5,
    ),
)


@pytest.mark.parametrize("case", ENCODED, ids=lambda c: c["name"])
def test_text_and_bytes(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes_hex"])[1:]
    id = type(ID).from_string(case["id"])
    built = EndpointAddr(id, case["relay_in"], case["addrs_in"])
    assert built.to_postcard() == data
    again = EndpointAddr.from_postcard(data)
    if case["name"] == "v6_scope":  # the scope does not survive
        assert again.direct_addresses() == ["[fe80::1]:99"]
        return
    assert again == built
    assert (again.relay_url(), again.direct_addresses()) == (case["relay"], case["addrs"])
    assert str(again) == case["addr_display"]


def test_given_texts_are_kept() -> None:
    addr = EndpointAddr(ID, "HTTPS://Example.com", ["5.5.5.5:5", "1.2.3.4:05", "5.5.5.5:5"])
    assert addr.relay_url() == "HTTPS://Example.com"
    assert addr.direct_addresses() == ["5.5.5.5:5", "1.2.3.4:5"]
    same = EndpointAddr(ID, "https://example.com/", ["1.2.3.4:5", "5.5.5.5:5"])
    assert addr == same
    assert hash(addr) == hash(same)
    assert addr.to_postcard() == same.to_postcard()
    assert str(addr) == f"{ID} relay=HTTPS://Example.com addrs=[5.5.5.5:5, 1.2.3.4:5]"
    assert repr(same) == (
        f"EndpointAddr({ID}, [relay:https://example.com/, ip:1.2.3.4:5, ip:5.5.5.5:5])"
    )


def test_bad_input_is_refused_at_once() -> None:
    with pytest.raises(RelayUrlError) as relay:
        EndpointAddr(ID, "x")
    assert relay.value.is_kind(IrohErrorKind.INTERNAL)
    with pytest.raises(AddrParseError, match="invalid socket address syntax: 'x'"):
        EndpointAddr(ID, None, ["x"])
    with pytest.raises(TypeError):
        EndpointAddr("id")  # type: ignore[arg-type]


def test_parts() -> None:
    addr = EndpointAddr(ID, "https://r", ["[::1]:2", "1.2.3.4:1", "9_ff", CustomAddr(1, b"")])
    assert addr.id() == ID
    assert addr.relay_urls == (RelayUrl("https://r"),)
    assert addr.ip_addrs == (SocketAddr("1.2.3.4", 1), SocketAddr("::1", 2))
    assert addr.custom_addrs == (CustomAddr(1, b""), CustomAddr(9, b"\xff"))
    assert addr.addrs == {*addr.relay_urls, *addr.ip_addrs, *addr.custom_addrs}
    assert addr.sorted_addrs() == [*addr.relay_urls, *addr.ip_addrs, *addr.custom_addrs]
    assert addr.direct_addresses() == ["[::1]:2", "1.2.3.4:1"]
    assert not addr.is_empty()
    assert EndpointAddr(ID).is_empty()
    assert str(EndpointAddr(ID)) == str(ID)
    assert EndpointAddr(ID).relay_url() is None
    assert addr != ID


def test_extending_makes_copies() -> None:
    start = EndpointAddr(ID)
    grown = (
        start.with_ip_addr("1.2.3.4:5")
        .with_ip_addr(SocketAddr("::1", 6))
        .with_custom_addr("1_00")
        .with_custom_addr(CustomAddr(2, b""))
        .with_relay_url("https://b")
        .with_relay_url(RelayUrl("https://a"))
        .with_addrs([SocketAddr("1.2.3.4", 5)])
    )
    assert start.is_empty()
    assert len(grown.addrs) == 6
    assert [str(url) for url in grown.relay_urls] == ["https://a/", "https://b/"]
    assert grown.relay_url() == "https://b/"  # the last one, as the bindings do


def test_the_given_relay_text_is_kept_while_it_is_the_one_shown() -> None:
    addr = EndpointAddr(ID, "https://B")
    assert addr.with_ip_addr("1.2.3.4:5").relay_url() == "https://B"
    assert addr.with_relay_url("https://a").relay_url() == "https://B"
    assert addr.with_relay_url("https://c").relay_url() == "https://c/"


@given(addresses)
def test_round_trips(addr: EndpointAddr) -> None:
    again = EndpointAddr.from_postcard(addr.to_postcard())
    assert again == addr
    assert again.to_postcard() == addr.to_postcard()
    assert EndpointAddr.from_json(json.loads(json.dumps(addr.to_json()))) == addr
    assert addr.sorted_addrs() == sorted(addr.addrs, key=transport_addr_key)


@given(addresses, st.data())
def test_changed_bytes(addr: EndpointAddr, data: st.DataObject) -> None:
    wire = bytearray(addr.to_postcard())
    bit = data.draw(st.integers(0, 8 * len(wire) - 1))
    wire[bit // 8] ^= 1 << bit % 8
    cut = data.draw(st.integers(0, len(wire)))
    for mutated in (bytes(wire), bytes(wire[:cut])):
        try:
            EndpointAddr.from_postcard(mutated)
        except PostcardError:
            continue


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    for wire in (data, ID.to_bytes() + data):
        try:
            EndpointAddr.from_postcard(wire)
        except PostcardError:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "addrs", "Ip", "Relay", "Custom", "data"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_any_json(value: Any, item: Any) -> None:
    for shape in (value, {"id": str(ID), "addrs": value}, {"id": str(ID), "addrs": [item]}):
        try:
            EndpointAddr.from_json(shape)
        except AddrParseError:
            continue


def test_json_shape() -> None:
    addr = EndpointAddr(ID, "https://r", ["1.2.3.4:5", "544f52_0102"])
    assert addr.to_json() == {
        "id": str(ID),
        "addrs": [
            {"Relay": "https://r/"},
            {"Ip": "1.2.3.4:5"},
            {"Custom": {"id": 0x544F52, "data": [1, 2]}},
        ],
    }
    for bad in ({"id": "x", "addrs": []}, {"id": str(ID), "addrs": [{"Relay": "x"}]}, {"id": 1}):
        with pytest.raises(AddrParseError):
            EndpointAddr.from_json(bad)
