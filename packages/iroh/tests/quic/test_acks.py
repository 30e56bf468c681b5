"""Received packets and when they are acknowledged, against a plain set and the table of acks.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic import acks
from iroh.quic.acks import NEVER, AckTracker, RangeSet
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError


def usual(**settings) -> AckTracker:
    """A tracker past the start of a connection, that received 0..199 and acknowledged them."""
    tracker = AckTracker(**settings)
    tracker.received(0, 199, 200, 0.0)
    assert tracker.take(0.0) is not None
    return tracker


def numbers(ranges: RangeSet) -> set[int]:
    return {n for a, b in zip(ranges.firsts, ranges.lasts, strict=True) for n in range(a, b + 1)}


spans = st.tuples(st.integers(0, 300), st.integers(0, 12)).map(lambda s: (s[0], s[0] + s[1]))


@given(st.lists(st.one_of(spans, st.integers(0, 300)), max_size=80), spans, st.integers(-1, 300))
def test_range_set_against_a_set(steps, probe, above):
    ranges, model = RangeSet(1000), set()
    for step in steps:
        if isinstance(step, tuple):
            ranges.add(*step)
            model.update(range(step[0], step[1] + 1))
        else:
            ranges.add(step, step)
            model.add(step)
    assert numbers(ranges) == model
    assert all(a <= b for a, b in zip(ranges.firsts, ranges.lasts, strict=True))
    gaps = zip(ranges.lasts, ranges.firsts[1:], strict=False)
    assert all(b + 1 < a for b, a in gaps), "touching ranges are joined"
    assert ranges.largest() == max(model, default=-1)
    assert all((n in ranges) == (n in model) for n in range(320))
    first, last = probe
    missing = {n for a, b in ranges.missing(first, last) for n in range(a, b + 1)}
    assert missing == {n for n in range(first, last + 1) if n not in model and n >= ranges.floor}
    newest = ranges.newest(above, 1000)
    assert {n for a, b in newest for n in range(a, b + 1)} == {n for n in model if n > above}
    assert newest == sorted(newest, reverse=True)


@given(st.lists(spans, max_size=60), st.integers(1, 5))
def test_range_set_is_bounded_and_forgets_the_lowest(steps, limit):
    ranges, model = RangeSet(limit), set()
    for step in steps:
        if step[0] < ranges.floor:
            continue  # callers refuse those as duplicates
        ranges.add(*step)
        model.update(range(step[0], step[1] + 1))
        assert len(ranges) <= limit
        assert numbers(ranges) == {n for n in model if n >= ranges.floor}


def test_newest_is_cut_at_the_count():
    ranges = RangeSet()
    for n in range(0, 20, 2):
        ranges.add(n, n)
    assert ranges.newest(-1, 3) == [(18, 18), (16, 16), (14, 14)]
    assert repr(RangeSet()) == "RangeSet([])"


def test_a_fragment_storm_stays_cheap_and_small():
    ranges = RangeSet()
    for n in range(0, 100_000, 2):
        ranges.add(n, n)
    assert len(ranges) == acks.MAX_RANGES
    assert ranges.floor == 100_000 - 2 * acks.MAX_RANGES - 1


def test_the_table_counts():
    tracker = usual()
    tracker.received(200, 208, 9, 1.0)
    assert not tracker.ack_due(1.0)
    assert tracker.deadline == pytest.approx(1.0 + tracker.short_delay)
    tracker.received(209, 209, 1, 1.001)
    assert tracker.ack_due(1.001)
    assert tracker.take(1.0015) == ([(0, 209)], 500, None)
    assert tracker.deadline == NEVER
    assert tracker.take(2.0) is None


def test_one_packet_waits_for_max_ack_delay_and_a_second_shortens_the_wait():
    tracker = usual()
    tracker.received(200, 200, 1, 1.0)
    assert tracker.deadline == pytest.approx(1.025)
    tracker.received(201, 201, 1, 1.001)
    assert tracker.deadline == pytest.approx(1.003)
    tracker.received(202, 202, 1, 1.002)
    assert tracker.deadline == pytest.approx(1.003), "a third does not put it off"
    assert not tracker.ack_due(1.0029)
    assert tracker.ack_due(1.0031)


def test_at_the_start_every_second_packet_is_acknowledged():
    tracker = AckTracker()
    tracker.received(0, 0, 1, 0.0)
    assert not tracker.ack_due(0.0)
    tracker.received(1, 1, 1, 0.0)
    assert tracker.ack_due(0.0)


def test_handshake_packets_are_acknowledged_at_once():
    tracker = AckTracker(acks.HANDSHAKE_THRESHOLD, acks.HANDSHAKE_DELAY)
    tracker.received(0, 0, 1, 5.0)
    assert tracker.ack_due(5.0)


@pytest.mark.parametrize(("first", "last"), [(201, 201), (198, 198)])
def test_a_gap_and_a_late_packet_are_told_at_once(first, last):
    tracker = AckTracker()
    tracker.received(0, 197, 198, 0.0)
    tracker.received(199, 199, 1, 0.0)
    tracker.take(0.0)
    tracker.received(first, last, 1, 1.0)
    assert tracker.ack_due(1.0)


def test_the_first_packet_is_not_out_of_order():
    tracker = AckTracker()
    tracker.received(7, 7, 1, 1.0)
    assert not tracker.ack_due(1.0)


def test_packets_that_elicit_nothing_never_make_an_ack_due_but_ride_along():
    tracker = usual()
    tracker.received(200, 209, 0, 1.0)
    assert tracker.deadline == NEVER
    assert tracker.take(1.0) is None
    tracker.received(211, 211, 0, 1.0)
    assert tracker.deadline == NEVER, "not even behind a gap"
    assert tracker.take(1.0) == ([(211, 211), (0, 209)], 0, None)


def test_congestion_marks_are_counted_and_told_at_once():
    tracker = usual()
    tracker.received(200, 202, 3, 1.0, 2)
    tracker.received(203, 203, 1, 1.0, 1)
    assert not tracker.ack_due(1.0)
    tracker.received(204, 204, 1, 1.0, acks.CE)
    assert tracker.ack_due(1.0)
    taken = tracker.take(1.0)
    assert taken is not None
    assert taken[2] == (3, 1, 1)


def test_duplicates_are_known():
    tracker = usual()
    tracker.received(205, 206, 2, 1.0)
    assert [pn for pn in range(198, 210) if not tracker.is_duplicate(pn)] == [
        *range(200, 205), 207, 208, 209,
    ]  # fmt: skip
    assert tracker.ranges.missing(207, 210) == [(207, 210)]
    assert tracker.ranges.missing(198, 210) == [(200, 204), (207, 210)]
    assert tracker.ranges.missing(0, 9) == []


def test_what_fell_out_of_the_set_counts_as_a_duplicate():
    tracker = AckTracker()
    for pn in range(1, 1001, 2):
        tracker.received(pn, pn, 1, 0.0)
    assert tracker.is_duplicate(0)
    assert tracker.is_duplicate(2)
    assert not tracker.is_duplicate(998)
    assert tracker.ranges.missing(0, 1) == []


def test_an_acknowledged_ack_shortens_the_next_and_a_late_packet_is_still_told():
    tracker = usual()
    tracker.received(202, 210, 9, 1.0)
    told = tracker.take(1.0)
    assert told == ([(202, 210), (0, 199)], 0, None)
    tracker.on_acked(210)  # as the owner of the token in the packet that carried the ACK
    tracker.on_lost(230)
    tracker.received(211, 220, 10, 2.0)
    assert tracker.take(2.0) == ([(211, 220)], 0, None)
    tracker.received(200, 200, 1, 3.0)
    taken = tracker.take(3.0)
    assert taken is not None
    assert taken[0] == [(202, 220), (200, 200)]
    assert taken[1] == 1_000_000, "the delay is that of the largest number"
    tracker.on_acked(220)
    tracker.received(221, 221, 1, 4.0)
    taken = tracker.take(4.0)
    assert taken is not None
    assert taken[0][-1] == (200, 200), "the ACK up to 220 may be one that did not tell of it"
    tracker.on_acked(221)
    tracker.received(222, 222, 1, 4.0)
    assert tracker.take(4.0) == ([(222, 222)], 0, None)


def test_a_late_packet_between_an_ack_and_its_acknowledgement_is_told():
    tracker = usual()
    tracker.received(201, 210, 10, 1.0)
    tracker.take(1.0)
    tracker.received(200, 200, 1, 1.1)
    tracker.on_acked(210)
    assert tracker.take(1.1) == ([(0, 210)], 100_000, None)


def test_long_acks_ask_for_a_ping():
    tracker = usual()
    for pn in range(201, 229, 2):
        tracker.received(pn, pn, 1, 1.0)
    assert not tracker.crowded()
    for pn in range(229, 300, 2):
        tracker.received(pn, pn, 1, 1.0)
    assert tracker.crowded()
    taken = tracker.take(1.0)
    assert taken is not None
    assert len(taken[0]) == acks.MAX_REPORTED
    tracker.on_acked(299)
    assert not tracker.crowded()


def test_immediate_ack():
    tracker = AckTracker()
    tracker.want_ack(0.0)
    assert not tracker.ack_due(0.0), "nothing to tell"
    assert tracker.take(0.0) is None
    tracker.received(0, 0, 1, 1.0)
    tracker.want_ack(1.0)
    assert tracker.ack_due(1.0)
    assert tracker.take(1.0) == ([(0, 0)], 0, None)
    tracker.on_acked(0)
    tracker.want_ack(2.0)
    assert tracker.take(2.0) is None, "all is told"


def test_ack_frequency_replaces_the_table():
    tracker = AckTracker()
    tracker.set_frequency(threshold=3, max_ack_delay_us=50_000, reordering=0)
    tracker.received(0, 0, 1, 1.0)
    tracker.received(2, 3, 2, 1.0)
    assert not tracker.ack_due(1.0), "reordering is to be ignored"
    assert tracker.deadline == pytest.approx(1.05)
    tracker.received(4, 4, 1, 1.0)
    assert tracker.ack_due(1.0), "the threshold is exceeded"


def test_ack_frequency_reordering_threshold():
    tracker = usual()
    tracker.set_frequency(threshold=100, max_ack_delay_us=50_000, reordering=3)
    tracker.received(201, 202, 2, 1.0)
    assert not tracker.ack_due(1.0), "200 is missing, by two"
    tracker.received(203, 203, 1, 1.0)
    assert not tracker.ack_due(1.0), "in sequence"
    tracker.received(205, 205, 1, 1.0)
    assert tracker.ack_due(1.0), "200 would now be found lost"


def test_a_delay_below_ours_is_refused():
    with pytest.raises(PeerError) as caught:
        AckTracker().set_frequency(1, 999, 1)
    assert caught.value.code == PROTOCOL_VIOLATION


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 9), st.booleans()), max_size=60))
def test_all_that_is_received_is_told_in_time(steps):
    tracker, seen, told, now = AckTracker(), set(), set(), 0.0
    for first, extra, eliciting in steps:
        now += 0.001
        for a, b in tracker.ranges.missing(first, first + extra):
            assert not seen & set(range(a, b + 1))
            tracker.received(a, b, (b - a + 1) if eliciting else 0, now)
            seen.update(range(a, b + 1))
            if eliciting:
                assert tracker.deadline <= now + tracker.max_ack_delay
        if tracker.ack_due(now):
            taken = tracker.take(now)
            assert taken is not None
            told.update(n for a, b in taken[0] for n in range(a, b + 1))
            assert told == seen
    assert told <= seen
