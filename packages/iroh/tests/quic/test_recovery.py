"""Loss detection, timers, skipped packet numbers, reordering: one case each."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.recovery import NEVER, PathRecovery, Recovery, SentRun
from iroh.quic.reordering import Reordering, covers

from .recovery_kit import CHUNK, SIZE, Sender, Sink


def test_one_ack_covers_runs_and_tells_the_stream_once():
    sender = Sender()
    for _ in range(4):
        sender.send(10, 0.0)
    assert sender.path.bytes_in_flight == 40 * SIZE
    assert sender.path.room() == 1_000_000 - 40 * SIZE
    assert sender.ack(0.1, (0, 39)) == 40
    assert sender.sink.acked == [(0, 40 * CHUNK, False)]
    assert sender.path.bytes_in_flight == sender.recovery.outstanding() == 0
    assert sender.recovery.next_timeout() == NEVER
    assert sender.path.rtt.latest == pytest.approx(0.1)
    assert sender.ack(0.2, (0, 39)) == 0, "an ACK twice tells nothing new"


def test_the_end_of_the_last_packet_is_told_with_it():
    sender = Sender()
    recovery = sender.recovery
    first = recovery.next_pn(3)
    recovery.on_sent(
        SentRun(first, first + 2, 0.0, SIZE, 300, sender.sink, 0, CHUNK, 2100, fin=True)
    )
    assert sender.path.bytes_in_flight == 2 * SIZE + 300
    sender.ack(0.1, (1, 1))
    sender.ack(0.1, (2, 2))
    assert sender.path.bytes_in_flight == SIZE
    sender.ack(0.1, (0, 0))
    assert sender.sink.acked == [(1000, 1000, False), (2000, 100, True), (0, 1000, False)]
    assert "0..0" in repr(SentRun(0, 0, 0.0, 1))


def test_a_run_is_cut_at_the_edges_of_ranges():
    sender = Sender()
    sender.send(10, 0.0)
    assert sender.ack(0.1, (6, 6), (3, 4)) == 3
    assert sender.sink.acked == [(3000, 2000, False), (6000, 1000, False)]
    assert sender.sink.lost == [(0, 3000, False)], "3 and more behind 6"
    assert sender.recovery.outstanding() == 4
    assert sender.path.bytes_in_flight == 4 * SIZE
    assert sender.recovery.loss_time == pytest.approx(0.1125), "packet 5 by time"
    assert sender.recovery.on_timeout(0.1) == ""
    assert sender.recovery.on_timeout(sender.recovery.next_timeout()) == "loss"
    assert sender.sink.lost[1:] == [(5000, 1000, False)]
    assert sender.path.lost_packets == 4
    assert sender.path.lost_bytes == 4 * SIZE
    assert sender.path.congestion_events == 1


def test_tokens_and_further_slices_are_told():
    sender, sink, other = Sender(), Sink(), Sink()
    sender.control(0.0, sink, "a")
    recovery = sender.recovery
    pn = recovery.next_pn()
    recovery.on_sent(
        SentRun(
            pn,
            pn,
            0.0,
            SIZE,
            stream=other,
            length=5,
            tokens=((sink, "b"),),
            more=((other, 7, 3, True),),
        )
    )
    sender.send(4, 0.0)
    sender.ack(0.1, (5, 5), (1, 1))
    assert sink.acked == [("b",)]
    assert sink.lost == [("a",)]
    assert other.acked == [(7, 3, True), (0, 5, False)]
    other.acked.clear()


def test_reports_of_two_streams_are_kept_apart():
    sender, other = Sender(), Sink()
    sender.send(2, 0.0)
    pn = sender.recovery.next_pn()
    sender.recovery.on_sent(SentRun(pn, pn, 0.0, SIZE, stream=other, offset=2000, length=10))
    sender.send(2, 0.0)
    sender.ack(0.1, (0, 4))
    assert sender.sink.acked == [(0, 2000, False), (2000, 2000, False)]
    assert other.acked == [(2000, 10, False)]


@pytest.mark.parametrize("ranges", [[(10, 10)], [(5, 20)], [(2**62 - 1, 2**62 - 1), (0, 1)]])
def test_an_ack_of_packets_never_sent_is_a_violation(ranges):
    sender = Sender()
    sender.send(10, 0.0)
    with pytest.raises(PeerError) as caught:
        sender.ack(0.1, *ranges)
    assert caught.value.code == PROTOCOL_VIOLATION
    assert sender.path.congestion.window == 1_000_000


def skipping(sender: Sender) -> list[int]:
    return sender.recovery._skipped


def test_packet_numbers_are_skipped_and_an_ack_of_one_is_a_violation():
    sender = Sender(rng=lambda n: (5).to_bytes(n))
    numbers = [sender.send(1, 0.0).first for _ in range(600)]
    assert skipping(sender) == [5, 64 + 5, 128 + 5, 256 + 5, 512 + 5]
    assert set(range(600)) - set(numbers) == {5, 69, 133, 261, 517}
    for ranges in [[(517, 517)], [(518, 520), (500, 517)], [(300, 310), (0, 200)], [(0, 5)]]:
        with pytest.raises(PeerError):
            sender.ack(0.1, *ranges)


def test_an_honest_ack_passes_between_the_skips():
    sender = Sender(rng=lambda n: (5).to_bytes(n))
    for _ in range(60):
        sender.send(10, 0.0)
    skipped = skipping(sender)
    edges = [-1, *skipped, sender.recovery.next]
    pairs = pairwise(edges)
    ranges = [(a + 1, b - 1) for a, b in pairs if a + 1 < b][::-1]
    assert sender.ack(0.1, *ranges) == 600
    assert sender.sink.lost == []
    with pytest.raises(PeerError):
        sender.ack(0.1, (skipped[-1], skipped[-1]))


def test_a_run_never_contains_a_skipped_number_even_when_it_is_long():
    sender = Sender(rng=lambda n: bytes(n))
    for count in (100, 1, 500, 1, 3000, 1, 1, 7):
        run = sender.send(count, 0.0)
        assert not any(run.first <= pn <= run.last for pn in skipping(sender))
    assert len(skipping(sender)) >= 5


def test_handshake_spaces_skip_nothing_and_ignore_delays():
    sender = Sender(data=False)
    assert [sender.send(1, 0.0).first for _ in range(100)] == list(range(100))
    sender.ack(0.1, (99, 99), delay=5.0)
    sender.send(1, 1.0)
    sender.ack(1.15, (100, 100), delay=0.04)
    assert sender.path.rtt.smoothed == pytest.approx(0.1 * 7 / 8 + 0.15 / 8)


def test_the_peers_delay_is_capped():
    sender = Sender()
    sender.send(1, 0.0)
    sender.ack(0.1, (0, 0))
    sender.send(1, 1.0)
    sender.ack(1.3, (1, 1), delay=9.0)
    assert sender.path.rtt.smoothed == pytest.approx(0.1 * 7 / 8 + 0.275 / 8)


def test_an_ack_that_is_not_the_newest_gives_no_rtt():
    sender = Sender()
    sender.send(2, 0.0)
    sender.ack(0.1, (1, 1))
    sender.ack(5.0, (0, 1))
    assert sender.path.rtt.latest == pytest.approx(0.1)


# -- probe timeouts ------------------------------------------------------------------------------


def test_the_intervals_of_probes_are_those_seen_of_rust():
    """Initials of Rust iroh at 0, 1, 3, 6, 10, 15, 21 s (spec/endpoint.md 1.2): idle 15 s."""
    sender = Sender(data=False)
    sender.path.idle_timeout = 15.0
    times, now = [], 0.0
    sender.send(1, now)
    while len(times) < 6:
        now = sender.path.next_timeout()
        assert sender.path.on_timeout(now - 0.001) is None
        assert sender.recovery.on_timeout(now) == "pto"
        assert sender.recovery.probes == 2
        sender.recovery.probes = 0
        sender.send(1, now)
        times.append(now)
    assert times == pytest.approx([1, 3, 6, 10, 15, 21], abs=0.02)


@pytest.mark.parametrize(("idle", "rtt", "grown"), [(30.0, 0.333, 2.0), (None, 2.0, 3.0)])
def test_the_growth_of_probe_intervals_is_capped(idle, rtt, grown):
    path = PathRecovery()
    path.idle_timeout = idle
    path.rtt.set_initial(rtt)
    intervals = []
    for count in range(1, 40):
        path.pto_count = count
        intervals.append(path.backed_off(path.pto()))
    steps = [b - a for a, b in pairwise(intervals)]
    assert max(steps) == pytest.approx(grown)
    assert steps[-1] == pytest.approx(grown)


def test_an_ack_ends_the_backoff_but_not_for_a_client_the_server_has_not_validated():
    for validated in (True, False):
        sender = Sender()
        sender.path.peer_validated = validated
        sender.send(2, 0.0)
        sender.recovery.on_timeout(sender.path.next_timeout())
        assert sender.path.pto_count == 1
        sender.ack(1.5, (1, 1))
        assert sender.path.pto_count == (0 if validated else 1)


def test_data_waits_for_the_handshake_and_the_peers_delay():
    sender = Sender()
    sender.recovery.pto_allowed = False
    sender.send(1, 0.0)
    assert sender.path.next_timeout() == NEVER
    sender.recovery.pto_allowed = True
    assert sender.path.next_timeout() == pytest.approx(0.999 + 0.025)
    sender.path.blocked = True
    assert sender.path.next_timeout() == NEVER


def test_a_client_probes_with_nothing_in_flight_until_it_is_validated():
    path = PathRecovery()
    path.peer_validated = False
    initial, handshake = Recovery(path, data=False), Recovery(path, data=False)
    data = Recovery(path)
    data.pto_allowed = False
    data.on_sent(SentRun(data.next_pn(), 0, 0.0, SIZE))
    assert path.next_timeout() == pytest.approx(0.999)
    assert path.on_timeout(1.0) == ("pto", handshake)
    assert path.next_timeout() == pytest.approx(1.0 + 1.998)
    handshake.discard()
    assert path.on_timeout(5.0) == ("pto", initial)
    assert path.next_timeout() == pytest.approx(5.0 + 1.998), "discarding keys ends the backoff"
    path.pto_count = 9
    assert path.next_timeout() == pytest.approx(5.0 + 2.0)
    path.peer_validated = True
    assert path.next_timeout() == NEVER


def test_the_earliest_space_probes_and_shares_the_window():
    path = PathRecovery()
    initial, handshake = Recovery(path, data=False), Recovery(path, data=False)
    handshake.on_sent(SentRun(handshake.next_pn(), 0, 0.1, SIZE))
    initial.on_sent(SentRun(initial.next_pn(), 0, 0.2, SIZE))
    assert path.bytes_in_flight == 2 * SIZE
    assert path.on_timeout(2.0) == ("pto", handshake)
    assert (handshake.probes, initial.probes, path.pto_count) == (2, 0, 1)
    handshake.discard()
    assert path.pto_count == 0
    assert path.bytes_in_flight == SIZE
    assert path.spaces == [initial]
    handshake.discard()
    assert path.bytes_in_flight == SIZE


def test_a_probe_takes_the_oldest_data_again_and_the_packets_stay_in_flight():
    sender, sink = Sender(), Sink()
    pn = sender.recovery.next_pn()
    sender.recovery.on_sent(SentRun(pn, pn, 0.0, SIZE))  # a PING: nothing to take
    sender.recovery.on_sent(
        SentRun(sender.recovery.next_pn(), 1, 0.0, 50, tokens=((sink, "ack"),), eliciting=False)
    )
    sender.send(10, 0.0)
    assert sender.recovery.requeue_oldest()
    assert sender.sink.lost == [(0, 2000, False)]
    assert sender.recovery.requeue_oldest(1)
    assert sender.sink.lost[1:] == [(2000, 1000, False)]
    assert sink.lost == []
    assert sender.path.bytes_in_flight == 11 * SIZE
    sender.ack(0.1, (0, 11))
    assert sender.sink.acked == [(3000, 7000, False)]
    assert sender.path.bytes_in_flight == 0
    assert not sender.recovery.requeue_oldest()


# -- the end -------------------------------------------------------------------------------------


def test_an_abandoned_path_gives_everything_back_without_blame():
    sender, sink = Sender(), Sink()
    sender.path.mtud.next_probe(0.0)
    sender.path.mtud.on_probe_sent()
    pn = sender.recovery.next_pn()
    sender.recovery.on_sent(SentRun(pn, pn, 0.0, 1326, mtu_probe=True))
    sender.send(5, 0.0)
    sender.control(0.0, sink, "x")
    sender.recovery.requeue_all()
    assert sender.sink.lost == [(0, 5000, False)]
    assert sink.lost == [("x",)]
    assert sender.path.bytes_in_flight == 0
    assert sender.path.congestion.window == 1_000_000
    assert sender.recovery.next_timeout() == NEVER
    assert sender.ack(0.1, (0, 6)) == 0, "late ACKs change nothing"


def test_discarded_keys_tell_nobody():
    sender = Sender(data=False)
    sender.send(5, 0.0)
    sender.recovery.discard()
    assert sender.sink.lost == sender.sink.acked == []
    assert sender.path.bytes_in_flight == 0
    assert sender.path.next_timeout() == NEVER


# -- reordering ----------------------------------------------------------------------------------


def test_a_path_that_reorders_is_given_more_packets_and_more_time():
    sender = Sender()
    patience = sender.recovery.reordering
    sender.send(20, 0.0)
    sender.ack(0.1, (10, 10))
    sender.ack(0.101, (0, 12))
    assert patience.packet_threshold == 13
    sender.ack(0.101, (0, 19))
    sender.send(20, 1.0)
    sender.ack(1.1, (30, 39), (0, 27))
    assert sender.sink.lost == [(0, 8000, False)], "28 and 29 may still come"
    sender.recovery.on_timeout(sender.recovery.next_timeout())
    assert len(sender.sink.lost) == 2
    sender.ack(1.13, (0, 39))
    assert patience.patience == pytest.approx(1.125)
    sender.send(2, 2.0)
    sender.ack(2.1, (41, 41))
    later = sender.path.rtt.loss_delay() * 1.125
    assert sender.recovery.loss_time == pytest.approx(2.0 + later)


def test_patience_is_bounded_and_ends_with_the_path():
    reordering = Reordering()
    for n in range(1, 40):
        reordering.begin()
        reordering.add([SentRun(n, n, 1.0, SIZE)])
        assert reordering.check([(0, 1000 * n)], 1000 * n, 0.0)
    assert (reordering.packet_threshold, reordering.patience) == (128, 1.0)
    for _ in range(40):
        reordering.begin()
        reordering.add([SentRun(5, 5, 1.0, SIZE)])
        assert reordering.check([(0, 6)], 6, 0.0)
    assert reordering.patience == 2.0
    reordering.reset()
    assert (reordering.packet_threshold, reordering.patience) == (3, 1.0)


@given(st.sets(st.integers(0, 200)), st.integers(0, 200))
def test_covers(numbers, pn):
    ranges: list[tuple[int, int]] = []
    for n in sorted(numbers, reverse=True):
        if ranges and ranges[-1][0] == n + 1:
            ranges[-1] = (n, ranges[-1][1])
        else:
            ranges.append((n, n))
    end = covers(ranges, pn)
    assert (end >= 0) == (pn in numbers)
    assert end < 0 or (set(range(pn, end + 1)) <= numbers and end + 1 not in numbers)
