"""MTU search and black holes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.mtud import (
    BASE_MTU,
    COOLDOWN,
    INTERVAL,
    MAX_TRIES,
    MIN_STEP,
    UPPER_BOUND,
    MtuDiscovery,
)


def search(mtud: MtuDiscovery, link: int, now: float = 0.0) -> list[int]:
    """Probe a link that carries `link` bytes until the search ends; gives the sizes sent."""
    sizes = []
    while size := mtud.next_probe(now):
        assert mtud.next_probe(now) == size, "asking changes nothing"
        mtud.on_probe_sent()
        assert mtud.next_probe(now) == 0, "one at a time"
        sizes.append(size)
        if size <= link:
            mtud.on_probe_acked(len(sizes))
        else:
            mtud.on_probe_lost()
        assert len(sizes) < 100
    return sizes


def test_the_sizes_rust_probes():
    mtud = MtuDiscovery()
    assert search(mtud, 1500) == [1326, 1389, 1420, 1452]
    assert mtud.mtu == 1452


def test_a_size_is_given_up_after_three_tries():
    mtud = MtuDiscovery()
    sizes = search(mtud, 1350)
    assert sizes.count(1389) == MAX_TRIES
    assert 1350 - 2 * MIN_STEP < mtud.mtu <= 1350


@given(st.integers(1200, 9000), st.integers(1200, 9000))
def test_the_search_ends_near_the_truth(link, bound):
    mtud = MtuDiscovery(upper_bound=bound)
    search(mtud, link)
    truth = min(link, bound)
    assert truth - 2 * MIN_STEP < mtud.mtu <= truth


def test_the_search_is_repeated():
    mtud = MtuDiscovery()
    search(mtud, 1250)
    assert mtud.next_probe(INTERVAL - 1) == 0
    assert search(mtud, 1500, INTERVAL)[-1] == UPPER_BOUND


@pytest.mark.parametrize(("limit", "mtu"), [(1472, 1452), (1300, 1300), (1200, 1200)])
def test_the_peer_has_a_say(limit, mtu):
    mtud = MtuDiscovery()
    mtud.limit(limit)
    search(mtud, 1500)
    assert mtu - MIN_STEP < mtud.mtu <= mtu


def lose(mtud: MtuDiscovery, first: int, last: int, size: int) -> bool:
    mtud.on_lost(first, last, size)
    return mtud.check_black_hole(100.0)


def test_a_black_hole_brings_the_base_back_for_a_while():
    mtud = MtuDiscovery()
    search(mtud, 1500)
    assert [lose(mtud, 10 * n, 10 * n + 5, 1452) for n in range(10, 14)] == [False] * 3 + [True]
    assert mtud.mtu == BASE_MTU
    assert mtud.black_holes == 1
    assert mtud.next_probe(100.0 + COOLDOWN - 1) == 0
    assert mtud.next_probe(100.0 + COOLDOWN) == 1326
    assert not any(lose(mtud, 10 * n, 10 * n + 5, 1452) for n in range(20, 60)), "fell already"


def test_small_losses_and_losses_before_a_large_delivery_prove_nothing():
    mtud = MtuDiscovery()
    search(mtud, 1500)
    for n in range(10, 30):
        assert not lose(mtud, 10 * n, 10 * n + 5, 1200)
        mtud.on_acked(10 * n + 9, 1452)
        assert not lose(mtud, 10 * n + 7, 10 * n + 8, 1452)


def test_a_larger_delivery_clears_suspicions():
    mtud = MtuDiscovery()
    search(mtud, 1500)
    for n in range(10, 13):
        assert not lose(mtud, 10 * n, 10 * n + 5, 1300)
    mtud.on_acked(200, 1300)
    assert not lose(mtud, 210, 211, 1400)
    assert mtud.mtu == 1452


def test_one_burst_is_one_suspicion():
    mtud = MtuDiscovery()
    search(mtud, 1500)
    for n in range(100, 200):
        mtud.on_lost(n, n, 1452)
    assert not mtud.check_black_hole(0.0)


def test_a_probe_from_before_the_black_hole_says_nothing():
    mtud = MtuDiscovery()
    mtud.next_probe(0.0)
    mtud.on_probe_sent()
    mtud.on_probe_acked(1)
    mtud.next_probe(0.0)
    mtud.on_probe_sent()
    for n in range(10, 14):
        lose(mtud, 10 * n, 10 * n + 5, 1326)
    assert mtud.mtu == BASE_MTU
    mtud.on_probe_acked(2)
    mtud.on_probe_lost()
    assert mtud.mtu == BASE_MTU
