"""PATH_CHALLENGE and PATH_RESPONSE, byte by byte (RFC 9000 sections 19.17, 19.18)."""

from frames_kit import both_ways, cut, read_as

from iroh.quic.frames import PathChallenge, PathResponse, Ping


def test_layout():
    both_ways("1a 0102030405060708", PathChallenge(bytes(range(1, 9))))
    both_ways("1b 0102030405060708", PathResponse(bytes(range(1, 9))))
    read_as("1b 0102030405060708 01", PathResponse(bytes(range(1, 9))), Ping())


def test_every_truncation():
    cut("1a 0102030405060708")
    cut("1b 0102030405060708")


def test_both_probe_only():
    assert PathChallenge.PROBING
    assert PathResponse.PROBING
