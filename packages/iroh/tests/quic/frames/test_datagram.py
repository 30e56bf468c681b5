"""DATAGRAM, byte by byte (RFC 9221 section 4)."""

from frames_kit import both_ways, cut, read_as, refused

from iroh.quic.frames import Datagram, Ping


def test_with_a_length():
    both_ways("31 02 0102", Datagram(b"\1\2"))
    both_ways("31 00", Datagram(b""))
    read_as("31 02 0102 01", Datagram(b"\1\2"), Ping())


def test_to_the_packets_end():
    read_as("30 0102 01", Datagram(b"\1\2\1"))
    read_as("30", Datagram(b""))


def test_what_is_refused():
    refused("31 03 0102")
    cut("31 4003 010203")
