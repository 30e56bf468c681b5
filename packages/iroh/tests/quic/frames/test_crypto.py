"""CRYPTO, byte by byte (RFC 9000 section 19.6)."""

from frames_kit import both_ways, cut, refused

from iroh.quic.frames import Crypto


def test_layout():
    both_ways("06 [offset] 00 [length] 03 010203", Crypto(0, b"\1\2\3"))
    both_ways("06 4400 02 0102", Crypto(1024, b"\1\2"))


def test_what_is_refused():
    refused("06 00 04 010203")
    refused("06 ffffffffffffffff 01 00")  # beyond 2**62 - 1
    cut("06 4400 03 010203")
