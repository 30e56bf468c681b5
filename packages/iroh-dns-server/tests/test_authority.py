"""Which names are ours, and what is said about the rest."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import dns.message
import dns.name
import pytest

from iroh_dns_server import ConfigError, DnsConfig
from iroh_dns_server.dns.authority import Authority, KeyQuestion
from iroh_dns_server.dns.wire import Answer, parse_query, render

SOA = "ns.x. admin.x. 7 10800 3600 604800 300"
KEY = "y" * 52


def authority(*origins: str, **settings: Any) -> Authority:
    return Authority(DnsConfig(origins=origins, default_soa=SOA, **settings))


def decide(of: Authority, name: str, rdtype: str = "TXT", **kwargs: Any) -> Answer | KeyQuestion:
    return of.decide(parse_query(dns.message.make_query(name, rdtype, **kwargs).to_wire()))


def reply(of: Authority, name: str, rdtype: str = "TXT", **kwargs: Any) -> dns.message.Message:
    query = parse_query(dns.message.make_query(name, rdtype, **kwargs).to_wire())
    decision = of.decide(query)
    if isinstance(decision, KeyQuestion):
        decision = of.from_zone(query, decision, None)
    return dns.message.from_wire(render(query, decision, udp=True)[0])


def text(message: dns.message.Message) -> tuple[str, list[str], list[str]]:
    answers = [line for rrset in message.answer for line in rrset.to_text().splitlines()]
    above = [rrset.to_text() for rrset in message.authority]
    return message.rcode().name, answers, above


def test_a_key_below_an_origin_is_found() -> None:
    found = decide(authority("dns.example."), f"_iroh.{KEY.upper()}.DNS.example.")
    assert isinstance(found, KeyQuestion)
    assert (found.public_key, found.name) == (bytes(32), (b"_iroh",))


def test_the_longest_origin_decides() -> None:
    both = authority(".", "dns.example.")
    inner = decide(both, f"a.b.{KEY}.dns.example.")
    outer = decide(both, f"{KEY}.")
    assert isinstance(inner, KeyQuestion)
    assert isinstance(outer, KeyQuestion)
    assert (inner.name, outer.name) == ((b"a", b"b"), ())
    assert text(reply(both, f"{KEY}.other."))[0] == "NXDOMAIN"


def test_a_key_without_packet_does_not_exist() -> None:
    assert text(reply(authority("dns.example."), f"_iroh.{KEY}.dns.example.")) == (
        "NXDOMAIN",
        [],
        [f"dns.example. 300 IN SOA {SOA}"],
    )


@pytest.mark.parametrize("label", ["foo", "y" * 51, "y" * 53, "y" * 51 + "n", "0" * 52, "é" * 10])
def test_what_spells_no_key_does_not_exist(label: str) -> None:
    name = dns.name.Name([label.encode(), b"dns", b"example", b""]).to_text()
    assert text(reply(authority("dns.example."), name))[0] == "NXDOMAIN"


def test_other_names_and_classes_are_refused() -> None:
    ours = authority("dns.example.")
    for name, kwargs in (
        ("example.", {}),
        ("xdns.example.", {}),
        (".", {}),
        ("dns.example.", {"rdclass": "CH"}),
        ("dns.example.", {"rdclass": "NONE"}),
    ):
        message = reply(ours, name, "SOA", **kwargs)
        assert text(message) == ("REFUSED", [], [])
        assert "AA" not in dns.flags.to_text(message.flags)
    assert text(reply(ours, "dns.example.", "SOA", rdclass="ANY"))[0] == "NOERROR"


@pytest.mark.parametrize(
    ("rdtype", "rcode"),
    [("AXFR", "REFUSED"), ("IXFR", "REFUSED"), ("MAILA", "NOTIMP"), ("TKEY", "NOTIMP")],
)
def test_transfers_and_odd_questions(rdtype: str, rcode: str) -> None:
    assert text(reply(authority("dns.example."), "dns.example.", rdtype))[0] == rcode


def test_other_opcodes_are_not_implemented() -> None:
    query = dns.message.make_query("dns.example.", "SOA", use_edns=0)
    query.set_opcode(dns.opcode.NOTIFY)
    ours = authority("dns.example.")
    answer = ours.decide(parse_query(query.to_wire()))
    assert isinstance(answer, Answer)
    message = dns.message.from_wire(render(parse_query(query.to_wire()), answer, udp=True)[0])
    assert (message.rcode(), message.opcode()) == (dns.rcode.NOTIMP, dns.opcode.NOTIFY)
    assert (message.question, message.edns) == (query.question, 0)


def test_the_records_of_an_origin() -> None:
    ours = authority(
        "dns.example",  # without the dot: absolute all the same
        ".",
        rr_a=IPv4Address("192.0.2.1"),
        rr_aaaa=IPv6Address("2001:db8::1"),
        rr_ns="ns1.dns.example",
    )
    for origin in ("dns.example.", "."):
        assert text(reply(ours, origin, "A"))[1] == [f"{origin} 3600 IN A 192.0.2.1"]
        assert text(reply(ours, origin, "ANY"))[1] == [f"{origin} 3600 IN A 192.0.2.1"]
        assert text(reply(ours, origin, "AAAA"))[1] == [f"{origin} 3600 IN AAAA 2001:db8::1"]
        assert text(reply(ours, origin, "NS"))[1] == [f"{origin} 43200 IN NS ns1.dns.example."]
        assert text(reply(ours, origin, "SOA"))[1] == [f"{origin} 1209600 IN SOA {SOA}"]
        assert text(reply(ours, origin, "TXT")) == (
            "NOERROR",
            [],
            [f"{origin} 300 IN SOA {SOA}"],
        )


def test_an_origin_without_records_still_has_its_soa() -> None:
    bare = authority("dns.example.")
    assert text(reply(bare, "dns.example.", "A"))[:2] == ("NOERROR", [])
    assert text(reply(bare, "dns.example.", "ANY"))[1] == [f"dns.example. 1209600 IN SOA {SOA}"]


def test_names_between_two_origins_exist() -> None:
    nested = authority("example.", "a.b.c.example.")
    assert text(reply(nested, "c.example."))[0] == "NOERROR"
    assert text(reply(nested, "b.c.example."))[0] == "NOERROR"
    assert text(reply(nested, "x.c.example."))[0] == "NXDOMAIN"
    assert text(reply(nested, "a.example."))[0] == "NXDOMAIN"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"origins": ()}, "dns.origins:"),
        ({"origins": ("ok.", "a..b")}, "dns.origins[1]:"),
        ({"origins": ("a" * 64 + ".",)}, "dns.origins[0]:"),
        ({"default_soa": "nonsense"}, "dns.default_soa:"),
        ({"default_soa": "a. b. 1 2 3 4 99999999999"}, "dns.default_soa:"),
        ({"rr_ns": "a..b"}, "dns.rr_ns:"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Authority(DnsConfig(**settings))
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)
