"""The allowance of one client: the Rust tests of `server/streams.rs`, in virtual time."""

import pytest

from iroh_relay.server.bucket import Bucket, RxLimit, wire_size


def drain(bucket: Bucket, total: int, chunk: int) -> float:
    """Read `total` bytes in chunks as fast as the bucket lets us; give the seconds it took."""
    now = 0.0
    while total > 0:
        size = min(chunk, total)
        total -= size
        resume = bucket.consume(size, now)
        if resume is not None:
            assert resume > now
            now = resume
    return now


def test_ten_mebibytes_run_at_the_limit() -> None:
    limit = RxLimit(bytes_per_second=12_345)
    took = drain(Bucket(limit, 0.0), 10 << 20, 1000)
    refill = 12_345 // 10 * 10  # whole bytes per period, as upstream counts
    assert took == pytest.approx((10 << 20) / refill, rel=0.001)


def test_a_burst_is_free_and_what_was_read_is_delivered() -> None:
    bucket = Bucket(RxLimit(bytes_per_second=1000, max_burst_bytes=500), 0.0)
    assert bucket.consume(499, 0.0) is None
    assert bucket.consume(1, 0.0) == pytest.approx(0.1)
    assert bucket.consume(950, 0.1) == pytest.approx(1.0)


def test_it_fills_up_to_the_burst_and_no_further() -> None:
    bucket = Bucket(RxLimit(bytes_per_second=1000, max_burst_bytes=500), 0.0)
    assert bucket.consume(400, 0.0) is None
    assert bucket.consume(499, 1000.0) is None
    assert bucket.consume(1, 1000.0) is not None


def test_a_huge_limit_never_throttles() -> None:
    bucket = Bucket(RxLimit(bytes_per_second=2**63 - 1), 0.0)
    assert all(bucket.consume(1 << 20, 0.0) is None for _ in range(1000))


def test_a_huge_read_overflows_nothing() -> None:
    bucket = Bucket(RxLimit(bytes_per_second=1000), 0.0)
    resume = bucket.consume(2**64, 0.0)
    assert resume is not None
    assert resume > 1e15


@pytest.mark.parametrize(("rate", "burst"), [(9, None), (0, None), (1000, 0), (1000, -1)])
def test_limits_that_let_nothing_through_are_refused(rate: int, burst: int | None) -> None:
    with pytest.raises(ValueError, match="must be"):
        RxLimit(rate, burst)


@pytest.mark.parametrize(
    ("payload", "size"), [(0, 6), (125, 131), (126, 134), (65535, 65543), (65536, 65550)]
)
def test_what_a_message_takes_on_the_wire(payload: int, size: int) -> None:
    assert wire_size(payload) == size
