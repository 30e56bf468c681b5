"""IP addresses as text."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.ip_text import ip_text, ipv6_text


@pytest.mark.parametrize(
    ("address", "dotted", "plain"),
    [
        ("::", "::", "::"),
        ("::1", "::1", "::1"),
        ("1::", "1::", "1::"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4", "::ffff:102:304"),
        ("::1.2.3.4", "::102:304", "::102:304"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3", "1:0:0:2::3"),
        ("1:0:0:2:0:0:3:4", "1::2:0:0:3:4", "1::2:0:0:3:4"),
        ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
        ("0:0:1:10:100:1000:0:0", "::1:10:100:1000:0:0", "::1:10:100:1000:0:0"),
        ("10:0:20:0:0:0:30:0", "10:0:20::30:0", "10:0:20::30:0"),
    ],
)
def test_ipv6(address: str, dotted: str, plain: str) -> None:
    packed = ipaddress.IPv6Address(address).packed
    assert ipv6_text(packed, dotted_mapped=True) == dotted
    assert ipv6_text(packed, dotted_mapped=False) == plain


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
def test_round_trip(packed: bytes) -> None:
    assert ipaddress.ip_address(ip_text(packed)).packed == packed


@given(st.lists(st.sampled_from([0, 0, 0, 1, 0x10, 0xFFFF]), min_size=8, max_size=8))
def test_zero_runs(groups: list[int]) -> None:
    packed = b"".join(group.to_bytes(2, "big") for group in groups)
    text = ipv6_text(packed, dotted_mapped=False)
    assert ipaddress.IPv6Address(text).packed == packed
    mapped = ipaddress.IPv6Address(packed).ipv4_mapped
    if mapped is None:  # newer versions of Python print these with dots
        assert text == str(ipaddress.IPv6Address(packed))
