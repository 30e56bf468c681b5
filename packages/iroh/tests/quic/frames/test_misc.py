"""PADDING, PING, NEW_TOKEN, HANDSHAKE_DONE, IMMEDIATE_ACK, byte by byte."""

from frames_kit import both_ways, cut, read_as, refused

from iroh.quic import frames as f
from iroh.quic.errors import PROTOCOL_VIOLATION


def test_frames_without_fields():
    both_ways("01", f.Ping())
    both_ways("1e", f.HandshakeDone())
    both_ways("1f", f.ImmediateAck())


def test_padding_is_one_frame_however_long():
    both_ways("00 00 00", f.Padding(3))
    read_as("01 00 00 01", f.Ping(), f.Padding(2), f.Ping())


def test_new_token():
    both_ways("07 03 616263", f.NewToken(b"abc"))
    refused("07 00")
    refused("07 04 616263")
    cut("07 4003 616263")


def test_types_in_more_bytes_than_needed():
    refused("4001", PROTOCOL_VIOLATION)
    refused("8000 0001", PROTOCOL_VIOLATION)


def test_unknown_types():
    for text in ("20", "2f", "3d", "4040", "ffffffffffffffff"):
        refused(text)
