"""Nameserver texts, the system's files, and the cache."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.resolver import PUBLIC_NAMESERVERS, Nameserver
from iroh.resolver.cache import MAX_TTL_SECS, DnsCache
from iroh.resolver.records import RecordType
from iroh.resolver.system import (
    SystemConfig,
    parse_hosts,
    parse_resolv_conf,
    read_system_config,
    search_names,
)
from iroh_base import InvalidInputError

from .kit import FakeClock


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1:5300", Nameserver("udp", "192.0.2.1", 5300)),
        ("192.0.2.1", Nameserver("udp", "192.0.2.1", 53)),
        ("udp://[2001:db8::1]:5300", Nameserver("udp", "2001:db8::1", 5300)),
        ("2001:db8::1", Nameserver("udp", "2001:db8::1", 53)),
        ("tcp://[2001:db8::1]", Nameserver("tcp", "2001:db8::1", 53)),
        ("tls://192.0.2.1", Nameserver("tls", "192.0.2.1", 853)),
        ("tls://192.0.2.1:99#dns.example", Nameserver("tls", "192.0.2.1", 99, "dns.example")),
    ],
)
def test_nameserver_text(text: str, expected: Nameserver) -> None:
    assert Nameserver.parse(text) == expected
    assert Nameserver.parse(str(expected)) == expected
    assert Nameserver.parse(expected) is expected


@pytest.mark.parametrize(
    "text", ["", "dns.example", "1.2.3.4:x", "quic://1.2.3.4", "1.2.3.4:70000", "#"]
)
def test_bad_nameserver_text(text: str) -> None:
    with pytest.raises(InvalidInputError, match="nameserver"):
        Nameserver.parse(text)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_nameserver_text(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        Nameserver.parse(text)


def test_public_nameservers_are_two_families() -> None:
    assert {":" in server.ip for server in PUBLIC_NAMESERVERS} == {True, False}


RESOLV_CONF = """
# comment
; comment
domain ignored.example
search one.example two.example --
nameserver 192.0.2.1
nameserver 2001:db8::1
nameserver fe80::1%eth0
nameserver fec0:0:0:ffff::1
nameserver nonsense
nameserver
options rotate ndots:2 timeout:1
"""


def test_resolv_conf() -> None:
    config = parse_resolv_conf(RESOLV_CONF)
    assert [server.ip for server in config.nameservers] == [
        "192.0.2.1",
        "2001:db8::1",
        "fe80::1%eth0",
    ]
    assert config.search == ("one.example", "two.example")
    assert config.ndots == 2
    assert parse_resolv_conf("search a.example\ndomain b.example").search == ("b.example",)
    assert parse_resolv_conf("") == SystemConfig()


def test_hosts_file() -> None:
    text = "\ufeff127.0.0.1 localhost\n192.0.2.1\tRelay.Example relay # home\n::9 relay\nx y\n#\n"
    config = SystemConfig(hosts=parse_hosts(text))
    assert config.hosts_addresses("relay", ipv6=False) == ["192.0.2.1"]
    assert config.hosts_addresses("relay.", ipv6=True) == ["::9"]
    assert config.hosts_addresses("RELAY.example", ipv6=False) == ["192.0.2.1"]
    assert config.hosts_addresses("relay.example", ipv6=True) == []
    assert config.hosts_addresses("y", ipv6=False) == []


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_file(text: str) -> None:
    config = parse_resolv_conf(text)
    parse_hosts(text)
    search_names("a", config)


def test_system_files(tmp_path: Path) -> None:
    resolv_conf, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    assert read_system_config(resolv_conf, hosts) == SystemConfig()
    resolv_conf.write_bytes(b"nameserver 192.0.2.1\n\xff\xfe\n")
    hosts.write_text("192.0.2.2 host\n")
    config = read_system_config(resolv_conf, hosts)
    assert config.nameservers == (Nameserver("udp", "192.0.2.1", 53),)
    assert config.hosts == {"host": ("192.0.2.2",)}


def test_search_names() -> None:
    config = SystemConfig(search=("one", "two"), ndots=1)
    assert search_names("host", config) == ["host.one", "host.two", "host"]
    assert search_names("a.host", config) == ["a.host", "a.host.one", "a.host.two"]
    assert search_names("host.", config) == ["host."]
    assert search_names("host", SystemConfig()) == ["host"]
    assert search_names("host", SystemConfig(search=("one", "one"))) == ["host.one", "host"]


def test_cache_honours_the_ttl(clock: FakeClock) -> None:
    cache = DnsCache(clock.monotonic)
    cache.put("Host.Example.", RecordType.A, ("192.0.2.1",), 30)
    clock.now += 29.9
    assert cache.get("host.example", RecordType.A) == ("192.0.2.1",)
    assert cache.get("host.example", RecordType.AAAA) is None
    clock.now += 0.1
    assert cache.get("host.example", RecordType.A) is None
    assert len(cache) == 0


def test_cache_keeps_nothing_without_ttl_and_nothing_for_ever(clock: FakeClock) -> None:
    cache = DnsCache(clock.monotonic)
    cache.put("a", RecordType.A, ("192.0.2.1",), 2**31)
    cache.put("b", RecordType.A, ("192.0.2.1",), 0)
    assert cache.get("b", RecordType.A) is None
    clock.now += MAX_TTL_SECS
    assert cache.get("a", RecordType.A) is None


def test_cache_is_bounded(clock: FakeClock) -> None:
    cache = DnsCache(clock.monotonic, max_entries=3)
    for name in "abc":
        cache.put(name, RecordType.A, (name,), 60)
    cache.get("a", RecordType.A)
    cache.put("d", RecordType.A, ("d",), 60)
    assert len(cache) == 3
    assert cache.get("b", RecordType.A) is None
    assert cache.get("a", RecordType.A) == ("a",)
    cache.clear()
    assert len(cache) == 0
