import ipaddress

from iroh.magicsock.local_addrs import _usable, regular_addresses


def test_regular_addresses_are_reachable_ones() -> None:
    for text in regular_addresses():
        ip = ipaddress.ip_address(text)
        assert not ip.is_loopback
        assert not ip.is_link_local


def test_loopback_link_local_and_unspecified_are_left_out() -> None:
    texts = {"127.0.0.1", "::1", "fe80::1", "169.254.1.1", "0.0.0.0", "192.0.2.9", "192.0.2.1"}
    assert [str(ip) for ip in _usable({t for t in texts if ":" not in t})] == [
        "192.0.2.1",
        "192.0.2.9",
    ]
    assert _usable({"::1", "fe80::1", "::"}) == []
