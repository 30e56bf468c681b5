"""BiasedRttPathSelector: tiers, bias, and what is worth a change."""

import pytest

from iroh.magicsock.selector import (
    AddrKind,
    BiasedRttPathSelector,
    PathCandidate,
    PathSelectionContext,
    PathSelector,
    Tier,
    TransportBias,
    Way,
)
from iroh_base import CustomAddr

from .kit import RELAY, RELAY_2, SIX, A, B, Net, arrive, statuses

CUSTOM = CustomAddr(0x20, b"there")


def select(current, *paths, selector=None):
    candidates = [PathCandidate(Way(addr), ms / 1000) for addr, ms in paths]
    context = PathSelectionContext(None if current is None else Way(current), candidates)
    chosen = (selector or BiasedRttPathSelector()).select(context)
    return None if chosen is None else chosen.remote


@pytest.mark.parametrize(
    ("current", "paths", "chosen"),
    [
        (None, [(A, 10), (SIX, 10)], SIX),
        (None, [(A, 10), (SIX, 12.9)], SIX),
        (None, [(A, 10), (SIX, 20)], A),
        (None, [(RELAY, 1), (A, 500)], A),  # a direct path beats a relay however slow it is
        (RELAY, [(RELAY, 1), (A, 500)], A),  # always switch across tiers
        (A, [(RELAY, 10)], RELAY),  # also down, when the direct path is gone
        (A, [(A, 10), (B, 6)], None),  # 4 ms are not worth it
        (A, [(A, 10), (B, 5)], B),  # 5 ms are
        (A, [(A, 10), (A, 80), (B, 6)], None),  # the quickest of the same way counts
        (RELAY, [(RELAY, 50), (RELAY_2, 10)], RELAY_2),
        (None, [(RELAY, 50), (RELAY_2, 10)], RELAY_2),
        (None, [(CUSTOM, 40), (RELAY, 1)], CUSTOM),
        (None, [(CUSTOM, 40), (A, 41)], CUSTOM),
        (A, [], None),
        (None, [], None),
    ],
)
def test_choices(current, paths, chosen) -> None:
    assert select(current, *paths) == chosen


def test_other_biases() -> None:
    biased = BiasedRttPathSelector(
        {AddrKind.CUSTOM: TransportBias(Tier.BACKUP), AddrKind.IPV4: TransportBias(rtt_bias=0.1)}
    )
    assert select(None, (CUSTOM, 1), (A, 50), selector=biased) == A
    assert select(None, (SIX, 90), (A, 1), selector=biased) == SIX


def test_a_way_is_remote_and_local_address() -> None:
    """An address of ours that is not known yet is taken for the same."""
    here, there = Way(A, b"eth0"), Way(A, b"wlan0")
    assert not here.is_same(there)
    assert here.is_same(Way(A))
    assert Way(A).is_same(there)
    assert not here.is_same(Way(B, b"eth0"))
    paths = [PathCandidate(here, 0.050), PathCandidate(there, 0.010)]
    chosen = BiasedRttPathSelector().select(PathSelectionContext(here, paths))
    assert chosen == there


def test_a_selector_of_the_applications() -> None:
    class RelayFirst(PathSelector):
        def select(self, context):
            return min(context.paths, key=lambda path: path.way.remote != RELAY).way

    net = Net(RelayFirst())
    connection = net.connect(RELAY)
    arrive(connection, net, A)
    assert statuses(connection) == {0: True, 1: False}


def test_a_selector_with_a_bug_leaves_things_as_they_are(caplog) -> None:
    class Broken(PathSelector):
        def select(self, context):
            raise ZeroDivisionError

    net = Net(Broken())
    net.connect(RELAY)
    assert net.paths.selected is None
    assert "the path selector failed" in caplog.text
