"""Which addresses are told to peers, and which changes are major."""

import logging
from dataclasses import replace

import pytest

from iroh.netmon import DefaultRoute, Interface, LocalIp, NetworkState
from iroh.netmon.rtnetlink import Address, Link, Route
from iroh.netmon.state import sorted_addrs
from iroh.netmon.table import MAX_ADDRESSES, MAX_INTERFACES, build_state

UP, LOOPBACK = 0x1, 0x9


def interface(*ips: str, index: int = 2, name: str = "eth0", flags: int = UP) -> Interface:
    addrs = sorted_addrs(LocalIp(ip, 24) for ip in ips)
    return Interface(index, name, flags, b"\2\0\0\0\0\1", addrs)


def state(*interfaces: Interface, default: str | None = "eth0") -> NetworkState:
    lo = interface("127.0.0.1", "::1", index=1, name="lo", flags=LOOPBACK)
    return NetworkState((lo, *interfaces), DefaultRoute(default) if default else None)


BASE = state(interface("192.0.2.5", "fe80::5"))


def test_regular_addresses() -> None:
    found = state(interface("192.0.2.9", "192.0.2.1", "2001:db8::1", "fe80::1", "fd00::1"))
    assert found.regular_addresses == ("192.0.2.1", "192.0.2.9", "2001:db8::1")
    assert state(interface("fd00::1", "fe80::1")).regular_addresses == ("fd00::1",)
    assert state(interface("169.254.3.4", "fe80::1")).regular_addresses == ("169.254.3.4",)
    assert state(interface("192.0.2.1", flags=0)).regular_addresses == ()
    assert state().regular_addresses == ()


def test_deprecated_addresses_are_ours_but_told_nobody() -> None:
    old = LocalIp("2001:db8::1", 64, deprecated=True)
    found = state(Interface(2, "eth0", UP, b"", (old, LocalIp("2001:db8::2", 64))))
    assert found.regular_addresses == ("2001:db8::2",)
    assert {"2001:db8::1", "2001:db8::2"} <= found.local_addresses


def test_families_and_usability() -> None:
    assert (BASE.have_v4, BASE.have_v6, BASE.is_usable) == (True, False, True)
    assert state(interface("fd00::1")).have_v6
    assert not state(interface("fe80::1")).is_usable
    assert not state(interface("192.0.2.1"), default=None).is_usable
    assert not state().is_usable


@pytest.mark.parametrize(
    "other",
    [
        state(interface("192.0.2.6", "fe80::5")),
        state(interface("192.0.2.5", "fe80::5", "2001:db8::1")),
        state(interface("192.0.2.5", "fe80::5", flags=0)),
        state(interface("192.0.2.5", "fe80::5", index=3)),
        state(interface("192.0.2.5", "fe80::5"), default=None),
        state(interface("192.0.2.5", "fe80::5"), interface("10.0.0.1", index=7, name="wg0")),
        state(),
        replace(BASE, resumes=1),
    ],
)
def test_major_changes(other: NetworkState) -> None:
    assert other.is_major_change_from(BASE)
    assert BASE.is_major_change_from(other)


def test_minor_changes() -> None:
    link_local = state(interface("192.0.2.5", "fe80::6"))
    assert link_local != BASE
    assert not link_local.is_major_change_from(BASE)
    gateway = replace(BASE, default_v4=DefaultRoute("eth0", "192.0.2.254"))
    assert not gateway.is_major_change_from(BASE)
    assert not BASE.is_major_change_from(replace(BASE))
    container = interface("fe80::7", index=7, name="veth7")
    assert not state(interface("192.0.2.5", "fe80::5"), container).is_major_change_from(BASE)
    unnumbered = state(interface("fe80::5"), default="eth0")
    down = state(interface("fe80::5", flags=0), default="eth0")
    assert down.is_major_change_from(unnumbered)
    assert "eth0 (default) 192.0.2.5/24" in str(BASE)


def test_a_route_over_an_interface_that_is_down_is_none() -> None:
    links = [Link(1, "up0", UP, b""), Link(2, "down0", 0, b"")]
    routes = [
        Route(True, 254, 1, 0, "", 0, 2, "192.0.2.1", "", 1),
        Route(True, 254, 1, 0, "", 0, 1, "192.0.2.2", "192.0.2.9", 100),
        Route(True, 100, 1, 0, "", 0, 1, "192.0.2.3", "", 0),  # another table
        Route(True, 254, 7, 0, "", 0, 1, "", "", 0),  # unreachable
        Route(False, 254, 1, 0x10, "", 0, 1, "fe80::1", "", 0),  # link down
    ]
    found = build_state(links, [], routes)
    assert found.default_v4 == DefaultRoute("up0", "192.0.2.2", "192.0.2.9")
    assert found.default_v6 is None


def test_a_machine_with_too_much_of_it(caplog) -> None:
    links = [Link(n, f"veth{n}", UP, b"") for n in range(MAX_INTERFACES + 50)]
    addresses = [Address(0, f"2001:db8::{n:x}", 64, 0) for n in range(1, MAX_ADDRESSES + 50)]
    with caplog.at_level(logging.INFO):
        found = build_state(links, addresses, [])
    assert len(found.interfaces) == MAX_INTERFACES
    assert len(found.interfaces[0].addrs) == MAX_ADDRESSES
    assert "not all are used" in caplog.text
