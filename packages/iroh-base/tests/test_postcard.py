"""The postcard codec, and every vector of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base import EndpointAddr, PublicKey, Reader, RelayUrl, SecretKey, SocketAddr, Writer
from iroh_base.errors import PostcardError
from iroh_base.transport_addr import (
    CustomAddr,
    TransportAddr,
    read_transport_addr,
    write_transport_addr,
)

CASES = json.loads((Path(__file__).parent / "vectors" / "postcard.json").read_text())["cases"]


def transport(addr: TransportAddr) -> bytes:
    writer = Writer()
    write_transport_addr(writer, addr)
    assert read_transport_addr(Reader(writer.finish())) == addr
    return writer.finish()


def secret(text: str) -> bytes:
    writer = Writer()
    writer.bytes(SecretKey.from_string(text).to_bytes())
    return writer.finish()


def endpoint_addr(text: str) -> bytes:
    id = PublicKey.from_string("361a219b7abededc89509b23c1c4c4cc02bc2ab736e32307c3c822e0620ffa1e")
    addr = EndpointAddr(id)
    if text == "relay+ip":
        addr = EndpointAddr(id, "https://a.example/", ["1.2.3.4:5"])
    assert EndpointAddr.from_postcard(addr.to_postcard()) == addr
    return addr.to_postcard()


ENCODERS = {
    "PublicKey": lambda text: PublicKey.from_string(text).to_bytes(),
    "SecretKey": secret,
    "TransportAddr::Relay": lambda text: transport(RelayUrl(text)),
    "TransportAddr::Ip": lambda text: transport(SocketAddr.parse(text)),
    "TransportAddr::Custom": lambda text: transport(CustomAddr.parse(text)),
    "CustomAddr": lambda text: transport(CustomAddr.parse(text))[1:],
    "EndpointAddr": endpoint_addr,
}


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['type']}-{c['value'][:8]}")
def test_vectors(case: dict[str, Any]) -> None:
    expected = case["hex"]
    if case["type"] == "EndpointAddr":
        again = EndpointAddr.from_postcard(bytes.fromhex(expected))
        assert again.to_postcard().hex() == expected
    assert ENCODERS[case["type"]](case["value"]).hex() == expected


@given(st.integers(0, 2**64 - 1), st.sampled_from([16, 32, 64]))
def test_varints(value: int, bits: int) -> None:
    writer = Writer()
    writer.varint(value)
    reader = Reader(writer.finish())
    if value >> bits:
        with pytest.raises(PostcardError, match="does not fit"):
            reader.varint(bits)
    else:
        assert reader.varint(bits) == value
        assert reader.remaining == 0


@pytest.mark.parametrize(
    ("data", "bits", "value"),
    [
        ("8000", 64, 0),
        ("80808000", 16, None),  # a fourth byte is too many for 16 bits
        ("808000", 16, 0),
        ("ffff03", 16, 0xFFFF),
        ("ffff04", 16, None),
        ("ffffffff0f", 32, 0xFFFF_FFFF),
        ("ffffffff10", 32, None),
        ("ffffffffffffffffff01", 64, 2**64 - 1),
        ("ffffffffffffffffff02", 64, None),
        ("80808080808080808080", 64, None),
        ("80", 64, None),
        ("", 64, None),
    ],
)
def test_varint_limits(data: str, bits: int, value: int | None) -> None:
    reader = Reader(bytes.fromhex(data))
    if value is None:
        with pytest.raises(PostcardError):
            reader.varint(bits)
    else:
        assert reader.varint(bits) == value


def test_values_in_a_row() -> None:
    writer = Writer()
    writer.u8(7)
    writer.bytes(b"ab")
    writer.string("é")
    writer.raw(b"xyz")
    writer.varint(2)
    reader = Reader(writer.finish())
    assert (reader.u8(), reader.bytes(), reader.string(), reader.take(3)) == (7, b"ab", "é", b"xyz")
    assert reader.remaining == 1
    with pytest.raises(PostcardError, match="unknown variant 2"):
        reader.variant(2)
    with pytest.raises(PostcardError, match="end of buffer"):
        reader.u8()


def test_text_must_be_utf8() -> None:
    with pytest.raises(PostcardError, match="UTF-8"):
        Reader(b"\1\xff").string()


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    for read in (Reader.bytes, Reader.string, Reader.varint, Reader.u8, read_transport_addr):
        reader = Reader(data)
        try:
            while reader.remaining:
                read(reader)
        except PostcardError:
            continue
