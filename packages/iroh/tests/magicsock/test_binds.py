"""Several sockets of a family: which are bound, and which one a datagram leaves by."""

import pytest

from iroh import BindOpts, EndpointBuilder
from iroh.magicsock.binds import DEFAULT_BINDS, Bind, add_bind, all_binds
from iroh.magicsock.transports.ip import IpTransport
from iroh.quic.datagrams import Datagrams
from iroh_base import InvalidInputError, SocketAddr


def bind(addr: str, prefix_len: int = 0, **settings) -> Bind:
    return Bind(SocketAddr.parse(addr), prefix_len, **{"is_default": not prefix_len, **settings})


def test_a_default_route_takes_the_place_of_the_built_in_socket() -> None:
    v4, v6 = DEFAULT_BINDS
    assert all_binds([], True) == [v4, v6]
    assert all_binds([], False) == []
    mine = bind("127.0.0.1:0")
    assert all_binds([mine], True) == [mine, v6]
    beside = bind("127.0.0.1:0", 8)
    assert all_binds([beside], True) == [beside, v4, v6]
    no_default = bind("127.0.0.1:0", is_default=False)
    assert all_binds([no_default], True) == [no_default, v4, v6]


def test_the_longest_prefix_comes_first() -> None:
    binds = [bind("10.0.0.1:0", 8), bind("[::1]:0", 64), bind("10.1.0.1:0", 16)]
    assert [b.prefix_len for b in all_binds(binds, False)] == [16, 8, 64]


def test_a_default_route_comes_last_and_once() -> None:
    builder = EndpointBuilder()
    builder.bind_addr_with_opts("10.1.0.1:0", BindOpts(prefix_len=16))
    builder.bind_addr_with_opts("10.2.0.1:0", BindOpts(is_default_route=False))
    builder.bind_addr("10.3.0.1:0")
    builder.bind_addr("[::1]:0")
    with pytest.raises(InvalidInputError, match="give all but one a prefix_len"):
        builder.bind_addr("10.4.0.1:0")
    with pytest.raises(InvalidInputError, match="default route of its family"):
        builder.bind_addr_with_opts("10.5.0.1:0", BindOpts(prefix_len=24))
    assert [b.is_default for b in builder.config.binds] == [False, False, True, True]
    builder.clear_ip_transports()
    builder.bind_addr("10.4.0.1:0")
    assert len(builder.config.binds) == 1


@pytest.mark.parametrize(
    ("addr", "prefix_len"), [("10.0.0.1:0", 33), ("[::1]:0", 129), ("10.0.0.1:0", -1)]
)
def test_a_prefix_length_is_checked(addr: str, prefix_len: int) -> None:
    with pytest.raises(InvalidInputError, match="prefix length"):
        add_bind([], SocketAddr.parse(addr), BindOpts(prefix_len=prefix_len))


class Sent:
    """A transport whose sockets only say that they were asked."""

    def __init__(self, monkeypatch, *binds: Bind) -> None:
        self.transport = IpTransport(lambda _batches: None, binds, defaults=False)
        self.by: str | None = None
        for bound in self.transport._bound:
            monkeypatch.setattr(
                bound.udp, "send", lambda _batch, ip=bound.bind.addr.ip: setattr(self, "by", ip)
            )

    def __call__(self, remote: str, local: bytes | None = None) -> str | None:
        self.by = None
        sent = self.transport.send(Datagrams(SocketAddr.parse(remote), b"x", local=local))
        assert sent == (self.by is not None)
        return self.by


@pytest.fixture
def sent(monkeypatch):
    """Make transports whose sockets are bound to loopback's many addresses."""
    made: list[Sent] = []

    def make(*binds: Bind) -> Sent:
        made.append(Sent(monkeypatch, *binds))
        return made[-1]

    yield make
    for each in made:
        each.transport.close()


async def test_routing_by_subnet(sent) -> None:
    route = sent(bind("127.1.0.1:0", 16), bind("127.1.2.1:0", 24), bind("127.9.0.1:0"))
    assert route("127.1.2.200:1") == "127.1.2.1"
    assert route("127.1.3.200:1") == "127.1.0.1"
    assert route("192.0.2.1:1") == "127.9.0.1"
    assert route("[::1]:1") is None
    only = sent(bind("127.1.2.1:0", 24))
    assert only("127.1.2.7:1") == "127.1.2.1"
    assert only("127.1.3.7:1") is None  # no default route: dropped, as in Rust


async def test_routing_by_our_own_address(sent) -> None:
    route = sent(bind("127.1.0.1:0", 16), bind("127.1.2.1:0", 24), bind("127.9.0.1:0"))
    assert route("192.0.2.1:1", bytes((127, 1, 0, 1))) == "127.1.0.1"
    assert route("127.1.2.5:1", bytes((127, 1, 0, 1))) == "127.1.0.1"
    assert route("192.0.2.1:1", bytes((127, 7, 7, 7))) == "127.9.0.1"
    anywhere = sent(bind("127.1.0.1:0", 16), Bind(SocketAddr("0.0.0.0", 0), is_default=False))
    assert anywhere("192.0.2.1:1", bytes((127, 7, 7, 7))) == "0.0.0.0"
    assert anywhere("192.0.2.1:1") == "0.0.0.0"


def test_a_link_is_known_by_its_scope() -> None:
    on_link = Bind(SocketAddr.parse("[2001:db8::1%3]:0"), 64)
    assert on_link.reaches(SocketAddr.parse("[fe80::9%3]:1"))
    assert not on_link.reaches(SocketAddr.parse("[fe80::9%4]:1"))
    assert not on_link.reaches(SocketAddr.parse("[2001:db8:1::9%3]:1"))
    assert on_link.reaches(SocketAddr.parse("[2001:db8::77]:1"))


async def test_what_is_not_required_may_fail() -> None:
    binds = [bind("192.0.2.77:0", 24, required=False), bind("127.0.0.1:0")]
    transport = IpTransport(lambda _batches: None, binds, defaults=False)
    assert [addr.ip for addr in transport.bound_sockets()] == ["127.0.0.1"]
    transport.close()
