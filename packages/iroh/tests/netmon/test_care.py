"""What an endpoint does at a change: which parts are told, in which order, and when."""

from types import SimpleNamespace

import pytest

from iroh.magicsock.mapped import MappedAddrs
from iroh.netmon import NetworkMonitor
from iroh.network import NetworkCare, is_recoverable
from iroh_base import CustomAddr, RelayUrl, SecretKey, SocketAddr

from .fakes import FakePlatform, FakeTimers
from .test_state import BASE, interface, state

OTHER = state(interface("198.51.100.9"))
MINOR = state(interface("192.0.2.5", "fe80::6"))
NOWHERE = state(interface("198.51.100.9"), default=None)


class Bench:
    """A care around things that only note what they are told."""

    def __init__(self) -> None:
        self.timers = FakeTimers()
        self.platform = FakePlatform(self.timers, BASE)
        self.monitor = NetworkMonitor(self.platform, self.timers)
        self.told: list[object] = []
        self.bindable = True
        note = self.told.append
        self.sock = SimpleNamespace(
            ip=SimpleNamespace(rebind=self.rebind, direct_addresses=list),
            relay=SimpleNamespace(check_connections=lambda ips: note(("relays", sorted(ips)))),
            direct=SimpleNamespace(set_local=self.set_local),
            direct_changed=lambda: note("addresses"),
        )
        self.local: list[str] = []
        self.states: list[object] = []
        self.care = NetworkCare(
            self.monitor,
            self.sock,
            self.timers,
            SimpleNamespace(set=self.states.append),
            reset_resolver=lambda: note("resolver"),
            ask_report=lambda major: note(("report", major)),
            tell_paths=lambda major: note(("paths", major)),
        )
        self.monitor.start()
        self.told.clear()

    def rebind(self) -> bool:
        self.told.append("sockets")
        return self.bindable

    def set_local(self, ips: list[str]) -> bool:
        changed, self.local = ips != self.local, ips
        return changed

    def becomes(self, state) -> list[object]:
        self.platform.state = state
        self.monitor.rescan()
        return self.take()

    def take(self) -> list[object]:
        told = list(self.told)
        self.told.clear()
        return told


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.care.close()
    bench.monitor.stop()
    assert not bench.timers.pending()


def test_the_machines_addresses_are_told_at_once(bench) -> None:
    assert bench.local == ["192.0.2.5"]


def test_a_major_change(bench) -> None:
    assert bench.becomes(OTHER) == [
        "sockets",
        ("relays", ["127.0.0.1", "198.51.100.9", "::1"]),
        "resolver",
        "addresses",
        ("report", True),
        ("paths", True),
    ]
    assert bench.states == [OTHER]


def test_a_minor_change(bench) -> None:
    assert bench.becomes(MINOR) == [("report", False), ("paths", False)]
    assert bench.states == [MINOR]


def test_paths_wait_for_a_default_route(bench) -> None:
    assert ("paths", True) not in bench.becomes(NOWHERE)
    bench.timers.advance(0.25)
    assert not bench.take()
    assert bench.becomes(OTHER)[-2:] == [("report", True), ("paths", True)]
    bench.timers.advance(10)
    assert not bench.take()


def test_a_route_that_no_event_told_of_is_found(bench) -> None:
    bench.becomes(NOWHERE)
    bench.platform.state = OTHER
    bench.timers.advance(0.11)
    assert bench.take()[-1] == ("paths", True)


def test_without_a_route_paths_are_told_after_five_seconds(bench) -> None:
    bench.becomes(NOWHERE)
    looks = bench.monitor.looks
    bench.timers.advance(4.9)
    assert not bench.take()
    assert bench.monitor.looks - looks == 7  # 0.1 0.3 0.7 1.5 2.5 3.5 4.5
    bench.timers.advance(0.7)
    assert bench.take() == [("paths", True)]


def test_changes_while_waiting_join(bench) -> None:
    bench.becomes(NOWHERE)
    for n in range(20):
        bench.becomes(state(interface(f"198.51.100.{n}"), default=None))
        bench.timers.advance(0.01)
    bench.take()
    bench.timers.advance(6)
    assert bench.take() == [("paths", True)]


def test_a_socket_that_cannot_be_bound_is_tried_again(bench) -> None:
    bench.bindable = False
    bench.becomes(OTHER)
    bench.timers.advance(7.5)  # after 1, 2 and 4 s
    assert bench.take() == ["sockets"] * 3
    bench.bindable = True
    bench.timers.advance(60)
    assert bench.take() == ["sockets"]


def test_nothing_after_close(bench) -> None:
    bench.bindable = False
    bench.becomes(NOWHERE)
    bench.care.close()
    bench.care.close()
    bench.timers.advance(60)
    assert bench.becomes(OTHER) == []


def test_which_paths_may_recover() -> None:
    mapped, key = MappedAddrs(bytes), SecretKey.generate().public()

    def path(remote, local=None):
        return SimpleNamespace(remote=remote, local=local)

    there, ours = SocketAddr("203.0.113.1", 1), {"192.0.2.5", "2001:db8::5"}
    assert is_recoverable(path(there), ours)
    assert is_recoverable(path(there, bytes((192, 0, 2, 5))), ours)
    assert not is_recoverable(path(there, bytes((192, 0, 2, 6))), ours)
    v6 = SocketAddr("2001:db8::1", 1).packed
    assert not is_recoverable(path(SocketAddr("2001:db8::9", 1), v6 + bytes(4)), ours)
    relay = RelayUrl("https://relay.example.org")
    assert is_recoverable(path(mapped.relay.get((relay, key))), ours)
    assert not is_recoverable(path(mapped.custom.get(CustomAddr(1, b"x"))), ours)
