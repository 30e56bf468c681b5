"""Frames about paths, byte by byte (draft-ietf-quic-multipath sections 4.2 to 4.7)."""

import pytest
from frames_kit import both_ways, cut, refused

from iroh.quic import frames as f

FRAMES = {
    "7e75 02 7e76": f.PathAbandon(2, 0x3E76),
    "7e76 02 05": f.PathStatus(2, 5, False),
    "7e77 02 05": f.PathStatus(2, 5, True),
    "7e7a 08": f.MaxPathId(8),
    "7e7a c0000000ffffffff": f.MaxPathId(2**32 - 1),
    "7e7b 07": f.PathsBlocked(7),
    "7e7c 02 00": f.PathCidsBlocked(2, 0),
}


@pytest.mark.parametrize("text", FRAMES)
def test_layout(text):
    both_ways(text, FRAMES[text])
    cut(text)


@pytest.mark.parametrize("kind", ["7e75", "7e76", "7e77", "7e7a", "7e7b", "7e7c"])
def test_path_ids_of_33_bits_are_refused(kind):
    refused(f"{kind} c000000100000000 00")
