"""ACK and PATH_ACK, byte by byte (RFC 9000 section 19.3)."""

from frames_kit import both_ways, cut, read_as, refused

from iroh.quic.frames import ONE_RTT, Ack, decode_payload
from iroh.quic.frames.ack import MAX_RANGES


def test_one_range():
    both_ways("02 05 03 00 05", Ack([(0, 5)], 3))


def test_ranges_and_gaps():
    # 20..18, gap of 3 (17, 16, 15 -> encoded 2), 14..14, gap of 1 (encoded 0), 12..10
    both_ways("02 14 00 02 02 [gap] 02 00 [gap] 00 02", Ack([(18, 20), (14, 14), (10, 12)], 0))


def test_large_numbers():
    both_ways("02 80 01 00 00 [delay] 44 00 [ranges] 00 [first] 00", Ack([(65_536, 65_536)], 1024))


def test_ecn_counts():
    both_ways("03 01 00 00 01 [ecn] 01 02 03", Ack([(0, 1)], 0, None, (1, 2, 3)))


def test_of_a_path():
    both_ways("3e [path] 07 01 00 00 01", Ack([(0, 1)], 0, 7))
    both_ways("3f [path] 07 01 00 00 01 04 05 06", Ack([(0, 1)], 0, 7, (4, 5, 6)))


def test_only_the_largest_ranges_are_written():
    ranges = [(2 * n, 2 * n) for n in range(200, 0, -1)]
    (told,) = decode_payload(Ack(ranges, 0).encode(), ONE_RTT)
    assert isinstance(told, Ack)
    assert told.ranges == ranges[:MAX_RANGES]


def test_what_is_refused():
    refused("02 05 00 00 06")  # a first range below 0
    refused("02 05 00 01 00 05 00")  # a later one
    refused("02 05 00 3f 00")  # more ranges than bytes
    refused("3e c0 00 00 01 00 00 00 00 01 00 00 01")  # a path id of 33 bits
    cut("3f 07 14 00 02 02 02 00 00 02 04 05 06")


def test_longer_forms_are_read():
    read_as("02 4005 4003 4000 4005", Ack([(0, 5)], 3))
