"""STREAM, RESET_STREAM, STOP_SENDING, byte by byte (RFC 9000 sections 19.8, 19.4, 19.5)."""

import pytest
from frames_kit import both_ways, cut, read_as, refused

from iroh.quic.frames import Ping, ResetStream, StopSending, Stream

AB = b"\1\2"


def test_with_a_length():
    both_ways("0a 04 02 0102", Stream(4, 0, AB, False))
    both_ways("0b 04 02 0102", Stream(4, 0, AB, True))
    both_ways("0e 04 4400 02 0102", Stream(4, 1024, AB, False))
    both_ways("0f 04 4400 02 0102", Stream(4, 1024, AB, True))
    both_ways("0b 04 00", Stream(4, 0, b"", True))
    read_as("0a 04 02 0102 01", Stream(4, 0, AB, False), Ping())


def test_to_the_packets_end():
    read_as("08 04 0102", Stream(4, 0, AB, False))
    read_as("09 04 0102", Stream(4, 0, AB, True))
    read_as("0c 04 4400 0102", Stream(4, 1024, AB, False))
    read_as("0d 04 4400", Stream(4, 1024, b"", True))


@pytest.mark.parametrize("kind", ["0e", "0f"])
def test_data_beyond_2_to_the_62(kind):
    read_as(f"{kind} 04 fffffffffffffffe 01 01", Stream(4, 2**62 - 2, b"\1", kind == "0f"))
    refused(f"{kind} 04 ffffffffffffffff 01 01")
    refused("0c 04 ffffffffffffffff 01")


def test_ends():
    both_ways("04 04 2a 4400", ResetStream(4, 42, 1024))
    both_ways("05 04 2a", StopSending(4, 42))


def test_every_truncation():
    cut("0f 04 4400 02 0102")
    cut("04 04 2a 4400")
    cut("05 04 2a")
