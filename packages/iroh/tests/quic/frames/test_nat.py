"""Frames of n0's NAT traversal, byte by byte (noq `frame.rs`)."""

import pytest
from frames_kit import both_ways, cut, read_as

from iroh.quic import frames as f
from iroh_base import SocketAddr

V4, V6 = SocketAddr("192.0.2.7", 80), SocketAddr("2001:db8::1", 443)
V4_TEXT, V6_TEXT = "c0000207 0050", "20010db8000000000000000000000001 01bb"
FRAMES = {
    f"803d7f90 03 {V4_TEXT}": f.AddAddress(3, V4),
    f"803d7f91 03 {V6_TEXT}": f.AddAddress(3, V6),
    f"803d7f92 03 {V4_TEXT}": f.ReachOut(3, V4),
    f"803d7f93 03 {V6_TEXT}": f.ReachOut(3, V6),
    "803d7f94 4040": f.RemoveAddress(64),
}


@pytest.mark.parametrize("text", FRAMES)
def test_layout(text):
    both_ways(text, FRAMES[text])
    cut(text)


@pytest.mark.parametrize(("kind", "frame"), [("91", f.AddAddress), ("93", f.ReachOut)])
def test_mapped_addresses_are_read_as_what_they_mean(kind, frame):
    read_as(f"803d7f{kind} 03 00000000000000000000ffff {V4_TEXT}", frame(3, V4))
