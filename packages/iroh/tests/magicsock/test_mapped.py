import ipaddress
import itertools

from iroh.magicsock.mapped import (
    SUBNET_MIXED,
    AddrMap,
    MappedAddrs,
    MixedAddr,
    RelayPathAddr,
)
from iroh_base import CustomAddr, RelayUrl, SecretKey, SocketAddr


def counting_rng():
    numbers = itertools.count(1)
    return lambda n: next(numbers).to_bytes(n, "big")


def test_prefixes_are_those_of_the_founding_document() -> None:
    maps = MappedAddrs(counting_rng())
    key = SecretKey.generate().public()
    relay = RelayUrl("https://relay.example/")
    assert maps.mixed.get(key).ip == "fd15:70a:510b::1"
    assert maps.relay.get((relay, key)).ip == "fd15:70a:510b:1::2"
    assert maps.custom.get(CustomAddr(7, b"x")).ip == "fd15:70a:510b:3::3"
    assert maps.mixed.get(key).port == 12345


def test_one_address_per_key_and_back() -> None:
    maps = MappedAddrs(counting_rng())
    key, relay = SecretKey.generate().public(), RelayUrl("https://relay.example/")
    path = maps.relay.get((relay, key))
    assert maps.relay.get((RelayUrl("https://relay.example"), key)) is path
    assert isinstance(path, RelayPathAddr)
    assert (path.url, path.endpoint_id) == (relay, key)


def test_a_real_address_is_never_equal_to_a_mapped_one() -> None:
    mapped = MappedAddrs(counting_rng()).mixed.get(SecretKey.generate().public())
    assert SocketAddr(mapped.ip, mapped.port) != mapped
    assert ipaddress.ip_address(mapped.ip) in ipaddress.ip_network("fd15:70a:510b::/48")


def test_the_map_is_bounded_and_forgets_the_least_recently_used() -> None:
    addrs: AddrMap = AddrMap(MixedAddr, SUBNET_MIXED, counting_rng(), capacity=2)
    a, b, c = (SecretKey.generate().public() for _ in range(3))
    first = addrs.get(a)
    addrs.get(b)
    assert addrs.get(a) is first
    addrs.get(c)  # b goes
    assert len(addrs) == 2
    assert addrs.get(a) is first


def test_a_forgotten_address_comes_back_equal() -> None:
    """A flood of other sources must not change what a live connection calls its peer."""
    addrs: AddrMap = AddrMap(MixedAddr, SUBNET_MIXED, counting_rng(), capacity=1)
    a, b = (SecretKey.generate().public() for _ in range(2))
    first = addrs.get(a)
    other = addrs.get(b)
    again = addrs.get(a)
    assert again is not first
    assert again == first
    assert hash(again) == hash(first)
    assert other not in (first, again)
    relay = RelayUrl("https://relay.example/")
    assert RelayPathAddr((relay, a), "::") != RelayPathAddr((relay, b), "::")
    assert MixedAddr(a, "::") != a
