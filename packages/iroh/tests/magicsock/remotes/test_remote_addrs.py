"""What is remembered of a remote's addresses, and what is forgotten."""

import pytest

from iroh.magicsock.remote_addrs import (
    MAX_ADDRESSES,
    MAX_INACTIVE,
    MAX_RELAYS,
    RemoteAddrs,
    Source,
    Status,
)
from iroh.metrics import SocketMetrics
from iroh_base import CustomAddr, RelayUrl, SocketAddr

from .kit import RELAY, A, B


def ips(count: int, host: int = 1) -> list[SocketAddr]:
    return [SocketAddr(f"192.0.2.{host}", port) for port in range(1, count + 1)]


@pytest.fixture
def addrs() -> RemoteAddrs:
    return RemoteAddrs(SocketMetrics())


def status(addrs: RemoteAddrs, addr) -> Status | None:
    known = addrs.get(addr)
    return None if known is None else known.status


def test_the_table_of_statuses(addrs) -> None:
    assert addrs.add([A], Source.APP, 1.0)
    assert not addrs.add([A], Source.LOOKUP, 2.0)
    assert addrs.get(A).sources == {Source.APP: 1.0, Source.LOOKUP: 2.0}
    assert status(addrs, A) is Status.UNKNOWN
    addrs.abandoned(A, 3.0)
    assert status(addrs, A) is Status.UNUSABLE
    addrs.abandoned(A, 3.0)
    assert status(addrs, A) is Status.UNUSABLE
    addrs.opened(A, 4.0)
    assert status(addrs, A) is Status.OPEN
    addrs.abandoned(A, 5.0)
    assert status(addrs, A) is Status.INACTIVE
    addrs.abandoned(A, 6.0)
    assert status(addrs, A) is Status.INACTIVE
    assert addrs.get(A).since == 6.0
    addrs.opened(A, 7.0)
    assert status(addrs, A) is Status.OPEN
    addrs.abandoned(B, 8.0)
    assert B not in addrs


def test_paths_are_counted_by_kind() -> None:
    metrics = SocketMetrics()
    addrs = RemoteAddrs(metrics)
    custom = CustomAddr(0x20, b"x")
    for addr in (A, A, RELAY, custom):
        addrs.opened(addr, 1.0)
    for addr in (A, A, RELAY, custom):
        addrs.abandoned(addr, 2.0)
    assert metrics.transport_ip_paths_added == 2
    assert metrics.transport_ip_paths_removed == 1
    assert metrics.transport_relay_paths_added == metrics.transport_relay_paths_removed == 1
    assert metrics.transport_custom_paths_added == metrics.transport_custom_paths_removed == 1


def test_few_addresses_are_all_kept(addrs) -> None:
    addrs.add(ips(MAX_ADDRESSES - 1), Source.LOOKUP, 1.0)
    for addr in ips(MAX_ADDRESSES - 1):
        addrs.abandoned(addr, 2.0)
    assert len(addrs) == MAX_ADDRESSES - 1


def test_unusable_ones_go_first(addrs) -> None:
    old = ips(MAX_ADDRESSES - 1)
    addrs.add(old, Source.LOOKUP, 1.0)
    for addr in old[:20]:
        addrs.abandoned(addr, 2.0)
    addrs.add([A], Source.LOOKUP, 3.0)
    assert set(addrs) == {*old[20:], A}


def test_the_ten_that_were_closed_last_are_kept(addrs) -> None:
    old = ips(MAX_ADDRESSES - 1)
    for at, addr in enumerate(old):
        addrs.opened(addr, 1.0)
        addrs.abandoned(addr, 10.0 + at)
    addrs.add([A], Source.LOOKUP, 99.0)
    assert set(addrs) == {*old[-MAX_INACTIVE:], A}


def test_open_ones_are_never_forgotten(addrs) -> None:
    for addr in ips(2 * MAX_ADDRESSES):
        addrs.opened(addr, 1.0)
    assert len(addrs) == 2 * MAX_ADDRESSES


def test_thousands_of_bogus_addresses_are_bounded(addrs) -> None:
    addrs.opened(A, 1.0)
    addrs.add([B], Source.APP, 1.0)
    addrs.add([RELAY], Source.APP, 1.0)
    for host in range(50):
        addrs.add(ips(100, host), Source.LOOKUP, 2.0)
        addrs.add([RelayUrl(f"https://r{host}.example/")], Source.LOOKUP, 2.0)
    assert len(addrs) <= MAX_ADDRESSES + MAX_RELAYS
    assert {A, B, RELAY} <= set(addrs)
    assert ips(100, 49)[-1] in addrs, "newer ones are kept"


def test_what_worked_last_is_worth_trying_first(addrs) -> None:
    first, second, third = ips(3)
    addrs.add([A, B], Source.APP, 1.0)
    for at, addr in enumerate((first, second, third)):
        addrs.opened(addr, 1.0)
        addrs.abandoned(addr, 2.0 + at)
    addrs.opened(third, 9.0)
    addrs.abandoned(B, 9.0)
    assert addrs.worth_trying() == [second, first, A]
