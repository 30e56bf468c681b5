import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic import varint
from iroh.quic.errors import PeerError


@pytest.mark.parametrize(
    ("wire", "value"),  # RFC 9000 appendix A.1
    [
        ("c2197c5eff14e88c", 151_288_809_941_952_652),
        ("9d7f3e7d", 494_878_333),
        ("7bbd", 15_293),
        ("25", 37),
    ],
)
def test_examples_of_the_rfc(wire: str, value: int) -> None:
    assert varint.encode(value).hex() == wire
    assert varint.decode(bytes.fromhex(wire), 0) == (value, len(wire) // 2)


@given(value=st.integers(0, varint.MAX), before=st.binary(max_size=3))
def test_round_trip(value: int, before: bytes) -> None:
    wire = varint.encode(value)
    assert len(wire) == varint.size(value)
    assert varint.decode(before + wire, len(before)) == (value, len(before) + len(wire))
    for cut in range(len(wire)):
        with pytest.raises(PeerError):
            varint.decode(wire[:cut], 0)


@pytest.mark.parametrize("value", [-1, 2**62])
def test_out_of_range(value: int) -> None:
    with pytest.raises(ValueError, match="varint"):
        varint.encode(value)


def test_overlong_forms_are_read() -> None:
    assert varint.decode(bytes.fromhex("4025"), 0) == (37, 2)
