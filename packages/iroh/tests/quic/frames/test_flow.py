"""Flow control frames, byte by byte (RFC 9000 sections 19.9 to 19.14)."""

import pytest
from frames_kit import both_ways, cut, refused

from iroh.quic import frames as f
from iroh.quic.varint import MAX

FRAMES = {
    "10 4400": f.MaxData(1024),
    "10 ffffffffffffffff": f.MaxData(MAX),
    "11 04 4400": f.MaxStreamData(4, 1024),
    "12 40 64": f.MaxStreams(True, 100),
    "13 40 64": f.MaxStreams(False, 100),
    "12 d000000000000000": f.MaxStreams(True, 2**60),
    "14 4400": f.DataBlocked(1024),
    "15 04 4400": f.StreamDataBlocked(4, 1024),
    "16 40 64": f.StreamsBlocked(True, 100),
    "17 40 64": f.StreamsBlocked(False, 100),
}


@pytest.mark.parametrize("text", FRAMES)
def test_layout(text):
    both_ways(text, FRAMES[text])
    cut(text)


@pytest.mark.parametrize("kind", ["12", "13", "16", "17"])
def test_more_streams_than_there_can_be(kind):
    refused(f"{kind} d000000000000001")
