import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh_relay.protos.blake3 import CHUNK_LEN, derive_key

CONTEXT = "iroh-relay handshake v1 challenge signature"


@pytest.mark.parametrize(
    ("material", "expected"),
    [
        (bytes(range(16)), "b7b16e505d2cb5dbaf494800092c3b05a6c45d8d3fd4f1b888c6a77240b876c0"),
        (bytes(16), "8105e7bd9963194e6d6d80225a3f1b071da3b6e65edcd12531e16233f33de9d6"),
    ],
)
def test_what_the_real_peer_signs(material: bytes, expected: str) -> None:
    assert derive_key(CONTEXT, material).hex() == expected


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 127, 128, 1023, CHUNK_LEN])
def test_block_borders_agree_with_the_reference(size: int) -> None:
    blake3 = pytest.importorskip("blake3").blake3
    material = bytes(i % 251 for i in range(size))
    reference = blake3(material, derive_key_context=CONTEXT).digest()
    assert derive_key(CONTEXT, material) == reference


@settings(max_examples=30, deadline=None)
@given(context=st.text(max_size=200), material=st.binary(max_size=CHUNK_LEN))
def test_agrees_with_the_reference(context: str, material: bytes) -> None:
    blake3 = pytest.importorskip("blake3").blake3
    assert derive_key(context, material) == blake3(material, derive_key_context=context).digest()


def test_more_than_a_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="1024"):
        derive_key(CONTEXT, bytes(CHUNK_LEN + 1))
    with pytest.raises(ValueError, match="1024"):
        derive_key("x" * (CHUNK_LEN + 1), b"")
