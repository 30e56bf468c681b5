"""Congestion controllers, driven ACK by ACK."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.congestion import Controller, Cubic, NewReno
from iroh.quic.congestion.hystart import CSS_ROUNDS, HyStart
from iroh.quic.rtt import RttEstimator

RTT = 0.05
MTU = 1200
BOTH = pytest.mark.parametrize("kind", [Cubic, NewReno])


def steady(rtt: float = RTT) -> RttEstimator:
    estimator = RttEstimator()
    estimator.update(rtt, 0.0)
    return estimator


def rounds(controller: Controller, count: int, now: float, rtt: RttEstimator) -> float:
    """Acknowledge one full window per round trip."""
    for _ in range(count):
        now += rtt.smoothed
        left = controller.window
        while left > 0:
            size = min(left, 10 * controller.mtu)
            controller.on_ack(size, now - rtt.smoothed, now, rtt, False)
            left -= size
    return now


@BOTH
def test_slow_start_doubles(kind):
    controller = kind()
    assert controller.window == 12_000
    rounds(controller, 3, 0.0, steady())
    assert controller.window == 96_000


@BOTH
def test_app_limited_does_not_grow(kind):
    controller = kind()
    controller.on_ack(12_000, 0.0, RTT, steady(), True)
    assert controller.window == 12_000
    controller.on_congestion(1.0, 1.0)
    window = controller.window
    for n in range(100):
        controller.on_ack(12_000, 1.0 + n, 2.0 + n, steady(), True)
    assert controller.window == window


@BOTH
def test_one_reduction_per_round_trip(kind):
    controller = kind(MTU, 100_000)
    assert controller.on_congestion(1.0, 1.05)
    window = controller.window
    assert window == (70_000 if kind is Cubic else 50_000)
    assert not controller.on_congestion(1.04, 1.1)
    assert controller.window == window
    assert controller.on_congestion(1.06, 1.15)
    assert controller.window < window


@BOTH
def test_two_packets_always_fit(kind):
    controller = kind()
    for n in range(1, 100):
        controller.on_congestion(float(n), float(n))
    assert controller.window == 2 * MTU
    controller.on_persistent_congestion()
    assert controller.window == 2 * MTU
    controller.on_mtu(1452)
    assert controller.window == 2 * 1452


@BOTH
def test_persistent_congestion_starts_again(kind):
    controller = kind(MTU, 100_000)
    controller.on_congestion(1.0, 1.05)
    controller.on_persistent_congestion()
    assert controller.window == 2 * MTU
    assert controller.ssthresh > controller.window
    assert controller.on_congestion(1.01, 2.0), "a later loss counts again"


@BOTH
def test_a_spurious_loss_is_undone_once(kind):
    controller = kind(MTU, 100_000)
    controller.on_congestion(1.0, 1.05)
    controller.on_spurious()
    assert controller.window == 100_000
    controller.on_spurious()
    assert controller.window == 100_000
    controller.on_congestion(2.0, 2.05, True)
    reduced = controller.window
    controller.on_spurious()
    assert controller.window == reduced, "a CE mark is no guess"


def test_newreno_grows_by_one_packet_per_round_trip():
    controller = NewReno(MTU, 100_000)
    controller.on_congestion(1.0, 1.0)
    rounds(controller, 10, 1.0, steady())
    assert 50_000 + 9 * MTU <= controller.window <= 50_000 + 11 * MTU


def test_cubic_returns_to_the_old_window_after_k_seconds():
    rtt = steady(0.2)
    controller = Cubic(MTU, 600 * MTU)
    controller.on_congestion(1.0, 1.0)
    k = (600 * 0.3 / 0.4) ** (1 / 3)
    now = rounds(controller, round(k / 0.2), 1.0, rtt)
    assert controller.window == pytest.approx(600 * MTU, rel=0.03)
    plateau = controller.window
    now = rounds(controller, 5, now, rtt)
    assert controller.window - plateau < 10 * MTU, "flat around the old window"
    rounds(controller, 25, now, rtt)
    assert controller.window > 650 * MTU, "then it probes beyond"


def test_cubic_is_no_worse_than_reno_where_windows_are_small():
    controller = Cubic(MTU, 20 * MTU)
    controller.on_congestion(1.0, 1.0)
    rounds(controller, 20, 1.0, steady(0.01))
    assert controller.window >= (14 + 20 * 0.5) * MTU


def test_cubic_makes_room_when_its_share_shrinks():
    controller = Cubic(MTU, 100_000)
    controller.on_congestion(1.0, 1.0)
    controller.on_congestion(2.0, 2.0)
    assert controller._top == pytest.approx(70_000 * 0.85)


@pytest.mark.parametrize("before", [0, 2])
def test_cubic_does_not_count_the_time_the_application_slept(before):
    rtt, lively, sleepy = steady(), Cubic(MTU, 100_000), Cubic(MTU, 100_000)
    for controller in (lively, sleepy):
        controller.on_ack(MTU, 0.9, 1.0, rtt, True)
        controller.on_congestion(1.0, 1.0)
        rounds(controller, before, 1.0, rtt)
    for n in range(100):
        sleepy.on_ack(MTU, 1.0 + n, 2.0 + n, rtt, True)
    rounds(sleepy, 1, 101.0, rtt)
    rounds(lively, 1, 1.0 + before * RTT, rtt)
    assert sleepy.window == pytest.approx(lively.window, rel=0.02)


def test_cubic_resumes_where_it_was_after_a_spurious_loss():
    controller, rtt = Cubic(MTU, 100_000), steady()
    controller.on_congestion(1.0, 1.0)
    now = rounds(controller, 20, 1.0, rtt)
    before = controller.window
    controller.on_congestion(now, now)
    controller.on_spurious()
    assert controller.window == before
    rounds(controller, 1, now, rtt)
    assert before <= controller.window < 1.1 * before


def ramp(hystart: HyStart, rtts: list[float], samples: int = 10) -> list[int]:
    """One round per entry; gives the growth per ACK of 1000 bytes at the end of each."""
    now, grown = 0.0, []
    for rtt in rtts:
        sent, now = now, now + rtt
        for _ in range(samples):
            growth = hystart.growth(1000, sent, now, rtt)
        grown.append(growth)
    return grown


def test_hystart_leaves_when_the_rtt_keeps_growing():
    hystart = HyStart()
    assert ramp(hystart, [0.05, 0.05, *[0.06] * CSS_ROUNDS]) == [1000, 1000, *[250] * CSS_ROUNDS]
    assert not hystart.done
    hystart.growth(1000, 1.0, 1.0, 0.06)
    assert hystart.done


def test_hystart_goes_back_when_the_growth_was_an_accident():
    hystart = HyStart()
    assert ramp(hystart, [0.05, 0.06, 0.05, 0.05]) == [1000, 250, 1000, 1000]
    assert not hystart.done


def test_hystart_needs_enough_samples():
    assert ramp(HyStart(), [0.05, 0.09, 0.12], samples=7) == [1000] * 3


def test_cubic_ends_slow_start_when_the_rtt_grows():
    controller, now = Cubic(), 0.0
    for n in range(14):
        now = rounds(controller, 1, now, steady(0.05 if n < 7 else 0.08))
    assert controller.ssthresh <= controller.window
    plain, now = Cubic(hystart=False), 0.0
    for n in range(14):
        now = rounds(plain, 1, now, steady(0.05 if n < 7 else 0.08))
    assert plain.window == 12_000 << 14


@given(
    st.sampled_from([Cubic, NewReno]),
    st.lists(
        st.tuples(st.sampled_from("acle"), st.integers(1, 10**6), st.floats(0, 100)), max_size=60
    ),
)
def test_any_history_leaves_a_usable_window(kind, steps):
    controller, now, rtt = kind(), 0.0, steady()
    for what, size, time in steps:
        sent, now = now, now + time
        if what == "a" and sent > controller.recovery_start:
            controller.on_ack(size, sent, now, rtt, size % 7 == 0)
        elif what == "c":
            controller.on_congestion(sent, now, size % 2 == 0)
        elif what == "l":
            controller.on_spurious()
        elif what == "e":
            controller.on_persistent_congestion()
        assert isinstance(controller.window, int)
        assert controller.window >= controller.minimum
