"""The list of direct addresses: its order, its sources, and when it counts as changed."""

from iroh.magicsock.direct_addrs import MAX_LOCAL, DirectAddresses, DirectAddrSource
from iroh_base import SocketAddr

LAN = SocketAddr("192.168.1.5", 4000)
LAN6 = SocketAddr("fd00::5", 4001)
SEEN4 = SocketAddr("203.0.113.9", 61000)
SEEN6 = SocketAddr("2001:db8::9", 4001)
MAPPED = SocketAddr("203.0.113.9", 4000)
OWN = SocketAddr("198.51.100.1", 443)


def test_the_order_is_that_of_the_sources() -> None:
    direct = DirectAddresses()
    assert direct.add_external(OWN)
    assert direct.set_local([LAN, LAN6])
    assert direct.set_report(SEEN4, SEEN6, False)
    assert direct.set_portmapped(MAPPED)
    assert direct.get() == [MAPPED, SEEN4, SEEN6, LAN, LAN6, OWN]
    assert list(direct.sources().values()) == [
        DirectAddrSource.PORTMAPPED,
        DirectAddrSource.QAD,
        DirectAddrSource.QAD,
        DirectAddrSource.LOCAL,
        DirectAddrSource.LOCAL,
        DirectAddrSource.CONFIG,
    ]
    assert (direct.global_v4, direct.global_v6) == (SEEN4, SEEN6)


def test_the_first_source_wins() -> None:
    direct = DirectAddresses()
    direct.set_local([LAN])
    assert not direct.add_external(LAN)
    assert direct.external == [LAN]
    assert direct.set_portmapped(LAN) is False
    assert direct.sources() == {LAN: DirectAddrSource.PORTMAPPED}
    assert not direct.set_portmapped(None)
    assert not direct.remove_external(LAN)
    assert direct.sources() == {LAN: DirectAddrSource.LOCAL}


def test_nothing_new_is_no_change() -> None:
    direct = DirectAddresses()
    assert direct.set_local([LAN])
    assert not direct.set_local([LAN])
    assert not direct.set_report(None, None, True)
    assert direct.mapping_varies_v4 is True
    assert not direct.remove_external(OWN)


def test_behind_a_nat_that_varies_the_configured_port_is_worth_a_try() -> None:
    direct = DirectAddresses(configured_v4_port=4000)
    direct.set_report(SEEN4, None, True)
    assert direct.sources() == {
        SEEN4: DirectAddrSource.QAD,
        SocketAddr(SEEN4.ip, 4000): DirectAddrSource.QAD4_LOCAL_PORT,
    }
    direct.set_report(SEEN4, None, False)
    assert direct.get() == [SEEN4]
    direct.set_report(None, None, None)
    assert direct.get() == []


def test_a_machine_with_very_many_addresses() -> None:
    direct = DirectAddresses()
    direct.set_local([SocketAddr("10.0.0.1", port) for port in range(1, 2 * MAX_LOCAL)])
    assert len(direct.get()) == MAX_LOCAL
