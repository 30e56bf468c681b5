import pytest

from iroh_relay.protos.ping import PingTracker


def test_timeouts_follow_the_round_trip() -> None:
    pings = PingTracker()
    assert pings.timeout == 5.0
    for rtt, timeout in ((0.0002, 0.5), (0.3, 0.9), (1.0, 3.0), (4.0, 5.0)):
        data = pings.new_ping(100.0)
        assert pings.pong_received(data, 100.0 + rtt) == pytest.approx(rtt)
        assert pings.timeout == pytest.approx(timeout)


def test_only_the_latest_ping_counts() -> None:
    pings = PingTracker()
    first = pings.new_ping(0.0)
    second = pings.new_ping(1.0)
    assert pings.pong_received(first, 1.1) is None
    assert pings.deadline == 6.0
    assert pings.pong_received(second, 1.1) == pytest.approx(0.1)
    assert pings.deadline is None


def test_a_pong_counts_once() -> None:
    pings = PingTracker()
    data = pings.new_ping(0.0)
    pings.pong_received(data, 0.1)
    assert pings.pong_received(data, 9.0) is None
    assert pings.last_rtt == pytest.approx(0.1)
    assert PingTracker().pong_received(b"", 0.0) is None


def test_expiry() -> None:
    pings = PingTracker()
    assert not pings.timed_out(1e9)
    pings.new_ping(10.0)
    assert not pings.timed_out(14.99)
    assert pings.timed_out(15.0)
    assert not pings.timed_out(16.0)


def test_own_limits() -> None:
    pings = PingTracker(max_timeout=0.2, rng=lambda n: b"12345678")
    assert pings.new_ping(0.0) == b"12345678"
    assert pings.deadline == 0.2
    pings.new_ping(0.0, timeout=60.0)
    assert pings.deadline == 60.0


def test_a_clock_that_jumps_back_gives_no_negative_round_trip() -> None:
    pings = PingTracker()
    assert pings.pong_received(pings.new_ping(10.0), 9.0) == 0.0
