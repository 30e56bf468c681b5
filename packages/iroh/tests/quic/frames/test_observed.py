"""OBSERVED_ADDRESS, byte by byte (draft-ietf-quic-address-discovery)."""

import pytest
from frames_kit import both_ways, cut, read_as

from iroh.quic.frames import ObservedAddress
from iroh_base import SocketAddr

V4, V6 = SocketAddr("192.0.2.7", 80), SocketAddr("2001:db8::1", 443)
FRAMES = {
    "809f81a6 03 c0000207 0050": ObservedAddress(3, V4),
    "809f81a7 03 20010db8000000000000000000000001 01bb": ObservedAddress(3, V6),
}


@pytest.mark.parametrize("text", FRAMES)
def test_layout(text):
    both_ways(text, FRAMES[text])
    cut(text)


def test_a_mapped_address_is_read_as_what_it_means():
    read_as("809f81a7 03 00000000000000000000ffff c0000207 0050", ObservedAddress(3, V4))


def test_it_probes_only():
    assert ObservedAddress.PROBING
