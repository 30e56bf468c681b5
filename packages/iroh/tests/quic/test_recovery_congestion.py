"""What losses and ECN marks do to the congestion window: one case each."""

import pytest

from iroh.quic.recovery import MAX_SILENT, SentRun

from .recovery_kit import SIZE, Sender, Sink

# -- congestion ----------------------------------------------------------------------------------


def test_an_mtu_probe_is_no_congestion():
    sender = Sender()
    assert sender.path.mtud.next_probe(0.0) == 1326
    sender.path.mtud.on_probe_sent()
    pn = sender.recovery.next_pn()
    sender.recovery.on_sent(SentRun(pn, pn, 0.0, 1326, mtu_probe=True))
    sender.send(5, 0.0)
    sender.ack(0.1, (1, 5))
    assert sender.path.lost_packets == 1
    assert sender.path.congestion_events == 0
    assert sender.path.bytes_in_flight == 0
    assert sender.path.mtud.next_probe(0.2) == 1326, "once more"
    sender.path.mtud.on_probe_sent()
    pn = sender.recovery.next_pn()
    sender.recovery.on_sent(SentRun(pn, pn, 0.2, 1326, mtu_probe=True))
    sender.ack(0.3, (pn, pn))
    assert sender.path.mtud.mtu == sender.path.congestion.mtu == 1326


def test_a_black_hole_is_noticed():
    sender = Sender()
    mtud = sender.path.mtud
    while size := mtud.next_probe(0.0):
        mtud.on_probe_sent()
        pn = sender.recovery.next_pn()
        sender.recovery.on_sent(SentRun(pn, pn, 0.0, size, mtu_probe=True))
        sender.ack(0.1, (pn, pn))
    assert sender.path.congestion.mtu == 1452
    for _ in range(4):
        first = sender.recovery.next_pn(5)
        sender.recovery.on_sent(SentRun(first, first + 4, 1.0, 1452))
        small = sender.recovery.next_pn(3)
        sender.recovery.on_sent(SentRun(small, small + 2, 1.0, 100))
        sender.ack(1.1, (small, small + 2))
    assert mtud.black_holes == 1
    assert mtud.mtu == sender.path.congestion.mtu == 1200


def test_a_loss_that_was_none_is_undone():
    sender = Sender()
    sender.send(10, 0.0)
    sender.ack(0.1, (6, 9))
    assert sender.path.congestion.window == 500_000
    sender.ack(0.11, (6, 9), (0, 3))
    assert sender.path.congestion.window == 500_000, "4 and 5 are still missing"
    sender.ack(0.12, (0, 9))
    assert sender.path.congestion.window == 1_000_000
    assert sender.sink.lost == [(0, 6000, False)]
    assert sender.path.bytes_in_flight == 0


def test_a_loss_that_stays_one_is_not_undone_by_later_luck():
    sender = Sender()
    sender.send(10, 0.0)
    sender.ack(0.1, (6, 9))
    sender.send(1, 5.0)
    sender.ack(5.1, (10, 10), (0, 9))
    assert sender.path.congestion.window == 500_000


def test_many_lost_runs_are_a_real_loss():
    sender = Sender()
    for n in range(200):
        sender.send(1, n * 1e-4)
    sender.ack(0.1, (199, 199))
    assert sender.path.congestion.window == 500_000
    sender.ack(0.11, (0, 199))
    assert sender.path.congestion.window == 500_000


def test_persistent_congestion():
    sender = Sender()
    sender.send(1, 0.0)
    sender.ack(0.1, (0, 0))
    sender.send(1, 1.0)
    sender.send(1, 5.0)
    sender.send(1, 8.0)
    sender.ack(8.4, (3, 3))
    assert sender.path.congestion.window == 2 * SIZE
    assert sender.path.rtt.minimum == pytest.approx(0.4)


@pytest.mark.parametrize("between", [True, False])
def test_no_persistent_congestion_before_a_sample_or_with_a_delivery_between(between):
    sender = Sender()
    if between:
        sender.send(1, 0.0)
        sender.ack(0.1, (0, 0))
    start = sender.recovery.next
    for now in (1.0, 1.5, 2.0, 2.5, 3.0):
        sender.send(1, now)
    ranges = [(start + 4, start + 4), (start + 2, start + 2)]
    sender.ack(3.1, *(ranges if between else ranges[:1]))
    assert sender.path.congestion.window == 500_000


def test_lost_acks_are_no_congestion():
    sender = Sender()
    pn = sender.recovery.next_pn(5)
    sender.recovery.on_sent(SentRun(pn, pn + 4, 0.0, 40, eliciting=False))
    assert sender.path.bytes_in_flight == 0
    sender.send(1, 0.0)
    sender.ack(0.1, (5, 5))
    assert sender.path.lost_packets == 3
    assert sender.path.congestion_events == 0


def test_packets_that_elicit_nothing_are_forgotten_in_time():
    sender, sink = Sender(), Sink()
    sender.send(1, 0.0)
    for n in range(10_000):
        sender.control(0.0, sink, n, eliciting=False)
    assert sender.recovery.outstanding() <= MAX_SILENT + 1
    sender.ack(0.1, (0, 10_000))
    assert len(sink.acked) + len(sink.lost) == 10_000
    assert sender.sink.acked == [(0, 1000, False)]
    assert sender.recovery._silent == 0


# -- ECN -----------------------------------------------------------------------------------------


def test_marks_reduce_the_window_once_per_round_trip():
    sender = Sender()
    sender.send(10, 0.0, ecn=True)
    sender.ack(0.1, (0, 4), ecn=(4, 0, 1))
    assert sender.path.congestion.window == 500_000
    sender.ack(0.1, (0, 9), ecn=(8, 0, 2))
    assert sender.path.congestion.window == 500_000
    assert sender.path.congestion_events == 1
    assert sender.path.ecn


@pytest.mark.parametrize("counts", [None, (4, 0, 0), (0, 5, 0), (0, 0, 0)])
def test_a_path_that_loses_marks_is_marked_no_more(counts):
    sender = Sender()
    sender.send(10, 0.0, ecn=True)
    sender.ack(0.1, (0, 4), ecn=counts)
    assert not sender.path.ecn
    sender.ack(0.1, (0, 9), ecn=(0, 0, 9))
    assert sender.path.congestion_events == 0


def test_counts_that_go_back_are_not_believed():
    sender = Sender()
    sender.send(10, 0.0, ecn=True)
    sender.ack(0.1, (0, 4), ecn=(5, 0, 0))
    sender.ack(0.1, (0, 9), ecn=(4, 0, 8))
    assert not sender.path.ecn
