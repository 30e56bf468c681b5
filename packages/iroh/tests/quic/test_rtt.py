"""The RTT estimator, by the formulas of RFC 9002 section 5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.rtt import RttEstimator


def test_before_any_sample():
    rtt = RttEstimator()
    assert rtt.timeout == pytest.approx(0.999)  # seen of Rust iroh: the first probe after 1 s
    rtt.set_initial(0.1)
    assert rtt.smoothed == rtt.latest == 0.1
    assert not rtt.sampled


def test_the_first_sample_counts_whole_and_fixes_the_guess():
    rtt = RttEstimator()
    rtt.update(0.2, 0.05)
    assert (rtt.smoothed, rtt.variation, rtt.minimum) == (0.2, 0.1, 0.2)
    rtt.set_initial(1.0)
    assert rtt.smoothed == 0.2


def test_later_samples():
    rtt = RttEstimator()
    rtt.update(0.2, 0.0)
    rtt.update(0.3, 0.02)
    assert rtt.latest == 0.3
    assert rtt.variation == pytest.approx(0.1 * 3 / 4 + 0.08 / 4)
    assert rtt.smoothed == pytest.approx(0.2 * 7 / 8 + 0.28 / 8)
    assert rtt.loss_delay() == pytest.approx(0.3 * 9 / 8)


def test_a_delay_that_would_undercut_the_minimum_is_ignored():
    rtt = RttEstimator()
    rtt.update(0.2, 0.0)
    rtt.update(0.21, 0.02)
    assert rtt.smoothed == pytest.approx(0.2 * 7 / 8 + 0.21 / 8)


def test_persistent_congestion_forgets_the_minimum():
    rtt = RttEstimator()
    rtt.update(0.1, 0.0)
    rtt.update(0.5, 0.0)
    rtt.forget_minimum()
    assert rtt.minimum == 0.5


@given(st.lists(st.tuples(st.floats(-1, 100), st.floats(0, 100))))
def test_timers_stay_positive_and_finite(samples):
    rtt = RttEstimator()
    for sample, delay in samples:
        rtt.update(sample, delay)
        assert 0.001 <= rtt.timeout < 1000
        assert 0.001 <= rtt.loss_delay() < 1000
        assert 0 <= rtt.minimum <= rtt.latest
