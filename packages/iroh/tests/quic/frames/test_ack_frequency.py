"""ACK_FREQUENCY, byte by byte (draft-ietf-quic-ack-frequency section 4)."""

from frames_kit import both_ways, cut

from iroh.quic.frames import AckFrequency


def test_layout():
    both_ways(
        "40af [seq] 02 [threshold] 0a [us] 8000 61a8 [order] 01", AckFrequency(2, 10, 25_000, 1)
    )


def test_every_truncation():
    cut("40af 02 0a 800061a8 01")
