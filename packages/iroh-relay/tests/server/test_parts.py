"""The small parts: counters, unique keys, listening sockets."""

import errno
import socket

import pytest

from iroh_base.addr import SocketAddr
from iroh_base.errors import IrohErrorKind
from iroh_relay.server import ListenError, RelayMetrics
from iroh_relay.server.listen import bound_addr, listening_socket
from iroh_relay.server.unique import UniquePerDay

from .peer import secret


def test_every_counter_starts_at_zero_and_has_a_help_text() -> None:
    metrics = RelayMetrics()
    counters = metrics.as_dict()
    assert (
        set(counters) == set(RelayMetrics.__slots__) == set(RelayMetrics.__annotations__) - {"HELP"}
    )
    assert set(counters.values()) == {0}
    assert all(RelayMetrics.HELP.values())
    metrics.got_ping += 1
    assert metrics.as_dict()["got_ping"] == 1
    assert not hasattr(metrics, "__dict__")  # a misspelt counter is an error


def test_an_endpoint_counts_once_a_day() -> None:
    now = 86_400.0 * 10
    unique = UniquePerDay(clock=lambda: now)
    a, b = secret(1).public(), secret(2).public()
    assert [unique.add(key) for key in (a, b, a, b)] == [True, True, False, False]
    now += 86_399.0
    assert not unique.add(a)
    now += 1.0
    assert unique.add(a)


def test_unique_keys_are_bounded() -> None:
    unique = UniquePerDay(clock=lambda: 0.0, max_keys=1)
    assert unique.add(secret(1).public())
    assert not unique.add(secret(2).public())


def test_a_port_in_use_says_what_to_do() -> None:
    with listening_socket(SocketAddr("127.0.0.1", 0)) as first:
        addr = bound_addr(first)
        with pytest.raises(ListenError, match="already in use; stop the program") as caught:
            listening_socket(addr)
        assert str(addr) in str(caught.value)
        assert caught.value.kind() is IrohErrorKind.BIND


def test_an_address_of_another_machine_says_what_to_do() -> None:
    with pytest.raises(ListenError, match=r"no such address; use \[::\]"):
        listening_socket(SocketAddr("192.0.2.1", 0))


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_the_unspecified_address_takes_both_families() -> None:
    with listening_socket(SocketAddr("::", 0)) as sock:
        for host in ("127.0.0.1", "::1"):
            try:
                socket.create_connection((host, bound_addr(sock).port), timeout=5).close()
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                pytest.skip(f"{host} is not there")


def test_a_machine_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def no_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "not supported")
        return real(family, kind)

    monkeypatch.setattr(socket, "socket", no_ipv6)
    with listening_socket(SocketAddr("::", 0)) as sock:
        assert bound_addr(sock).ip == "0.0.0.0"
    with pytest.raises(ListenError):
        listening_socket(SocketAddr("::1", 0))
