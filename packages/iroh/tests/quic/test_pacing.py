"""The pacer: bursts and the rate between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.pacing import MAX_BURST_PACKETS, MIN_BURST_PACKETS, UNLIMITED, Pacer

MTU = 1452


@pytest.mark.parametrize(
    ("cwnd", "rtt", "burst"),
    [
        (2_000_000, 0.1, 40_000),  # 2 ms of 20 MB/s
        (100_000, 0.1, MIN_BURST_PACKETS * MTU // 1.452),  # 10 ms of 1 MB/s are fewer than 10
        (400_000, 0.1, MIN_BURST_PACKETS * MTU),
        (10_000_000, 0.001, MAX_BURST_PACKETS * MTU),
        (12_000, 1.0, MTU),  # never less than one packet
    ],
)
def test_the_first_burst(cwnd, rtt, burst):
    assert Pacer().available(5.0, cwnd, rtt, MTU) == pytest.approx(burst, abs=1)


def test_without_rtt_there_is_no_limit():
    assert Pacer().available(0.0, 12_000, 0.0, MTU) == UNLIMITED


def test_an_emptied_bucket_is_worth_waking_for_when_half_full():
    pacer = Pacer()
    pacer.sent(pacer.available(0.0, 2_000_000, 0.1, MTU), 0.0)
    assert pacer.available(0.0, 2_000_000, 0.1, MTU) == 0
    due = pacer.next(0.0)
    assert due == pytest.approx(20_000 / 25e6, rel=0.01)
    assert pacer.available(due, 2_000_000, 0.1, MTU) == pytest.approx(20_000, rel=0.01)
    assert pacer.next(due) == due


def test_debt_is_bounded():
    pacer = Pacer()
    pacer.available(0.0, 2_000_000, 0.1, MTU)
    pacer.sent(100_000_000, 0.0)
    assert pacer.next(0.0) < 0.01


@given(
    st.integers(2400, 50_000_000),
    st.floats(0.0001, 2.0),
    st.floats(0, 0.3),
    st.sampled_from([0.0, 1e9]),
)
def test_the_rate_is_a_little_above_the_window_per_rtt(cwnd, rtt, late, start):
    """Send in whole packets whenever it says so, for 50 wake-ups; late timers included."""
    pacer, now, total = Pacer(), start, 0
    first = pacer.available(now, cwnd, rtt, MTU)
    for _ in range(50):
        room = pacer.available(now, cwnd, rtt, MTU) // MTU * MTU
        assert room > 0, "waking at `next` is never in vain"
        pacer.sent(room, now)
        total += room
        due = pacer.next(now)
        assert due > now or pacer.available(now, cwnd, rtt, MTU) >= MTU
        now = due + late * (due - now)
    rate = cwnd / rtt * 1.25
    assert total <= first + rate * (now - start) * 1.001 + 2 * MTU
