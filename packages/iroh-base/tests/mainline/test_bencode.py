import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.mainline.bencode import MAX_DEPTH, BencodeError, decode, encode

values = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=4), inner),
    max_leaves=20,
)


@given(values)
def test_round_trip(value) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=200) | st.text("0123456789ildse:-", max_size=60).map(str.encode))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        value = decode(data)
    except BencodeError:
        return
    if encode(value) != data:  # only the order of keys may differ
        assert sorted(encode(value)) == sorted(data)


def test_examples_of_bep_3() -> None:
    assert encode({b"spam": [b"a", b"b"], b"cow": b"moo"}) == b"d3:cow3:moo4:spaml1:a1:bee"
    assert decode(b"i-3e") == -3
    assert decode(b"0:") == b""


BAD = b" i03e i-0e ie i--1e 03:abc 4:abc l di1ei2ee i1ei2e d1:a0:1:a0:e -1:a x".split(b" ")
HUGE, DEEP = b"i" + b"9" * 21 + b"e", b"l" * (MAX_DEPTH + 1) + b"e" * 17


@pytest.mark.parametrize("data", [*BAD, HUGE, DEEP])
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(BencodeError):
        decode(data)


def test_keys_in_any_order_are_read() -> None:
    assert decode(b"d1:b0:1:a0:e") == {b"a": b"", b"b": b""}


def test_what_has_no_encoding() -> None:
    with pytest.raises(TypeError):
        encode("text")  # type: ignore[arg-type]
