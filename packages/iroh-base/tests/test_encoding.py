"""Hex, base32 and z-base-32: round trips, strictness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.encoding import (
    base32_decode,
    base32_encode,
    from_hex,
    to_hex,
    z32_decode,
    z32_encode,
)

PAIRS = [(to_hex, from_hex), (base32_encode, base32_decode), (z32_encode, z32_decode)]
DECODERS = [from_hex, base32_decode, z32_decode]


@given(st.binary(max_size=80))
def test_round_trips(data: bytes) -> None:
    for encode, decode in PAIRS:
        assert decode(encode(data)) == data
    assert base32_decode(base32_encode(data).upper()) == data


@given(st.text(max_size=60) | st.text(alphabet="ybndrfg8ejkmcpqxot1uwisza5h6AB27=", max_size=60))
def test_decoders_accept_only_canonical_text(text: str) -> None:
    for encode, decode in PAIRS:
        try:
            data = decode(text)
        except ValueError:
            continue
        canonical = encode(data)
        assert text == canonical or (decode is base32_decode and text.lower() == canonical)


@pytest.mark.parametrize("text", ["a", "abc", "AB", "0x", "g0", " 00", "٣٣"])
def test_bad_hex(text: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        from_hex(text)


@pytest.mark.parametrize("length", [1, 3, 6, 9, 11, 14])
def test_lengths_that_no_bytes_have(length: int) -> None:
    with pytest.raises(ValueError, match="invalid length"):
        base32_decode("a" * length)
    with pytest.raises(ValueError, match="invalid length"):
        z32_decode("y" * length)


def test_trailing_bits_and_padding_are_refused() -> None:
    assert base32_decode("aa") == b"\0"
    with pytest.raises(ValueError, match="trailing bits"):
        base32_decode("ab")
    with pytest.raises(ValueError, match="trailing bits"):
        z32_decode("yb")
    with pytest.raises(ValueError, match="invalid symbol at 2"):
        base32_decode("aa======")
    with pytest.raises(ValueError, match="invalid symbol at 0"):
        z32_decode("YY")


def test_known_texts() -> None:
    assert base32_encode(b"foobar") == "mzxw6ytboi"  # RFC 4648 section 10
    assert z32_encode(bytes(5)) == "yyyyyyyy"
    assert z32_encode(b"\xff" * 5) == "99999999"
    assert [decode("") for decode in DECODERS] == [b""] * 3
