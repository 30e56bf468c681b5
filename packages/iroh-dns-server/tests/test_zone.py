"""Packets as zones: what is served, what is left out, and that nothing makes it fail."""

from collections.abc import Callable
from typing import Any

import dns.message
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh_dns_server.dns.wire import ANY, NOERROR, NXDOMAIN, Answer, parse_query, render
from iroh_dns_server.dns.zone import Zone

TXT, A, AAAA, CNAME, MX = 16, 1, 28, 5, 15


def shown(answer: Answer) -> list[str]:
    """The records of an answer, as dnspython reads them under the name `q.`."""
    query = parse_query(dns.message.make_query("q.", "TXT").to_wire())
    reply, _ = render(query, answer, udp=False)
    message = dns.message.from_wire(reply)
    assert message.rcode() == answer.rcode
    lines = [line for rrset in message.answer for line in rrset.to_text().splitlines()]
    assert len(lines) == answer.answers
    return lines


@pytest.fixture
def make_zone(publisher: Callable[[int], Any]) -> Callable[..., Zone]:
    def make(*records: tuple[str, int, str, str]) -> Zone:
        who = publisher(1)
        return Zone.from_packet(who.z32, who.message(records))

    return make


def test_names_and_types(make_zone: Callable[..., Zone]) -> None:
    zone = make_zone(
        ("_iroh", 30, "TXT", '"relay=https://r.example./"'),
        ("_iroh", 31, "TXT", '"addr=1.2.3.4:5"'),
        ("", 5, "A", "10.0.0.1"),
        ("a.b", 6, "AAAA", "::1"),
        ("u", 7, "TYPE65300", r"\# 3 010203"),
    )
    assert shown(zone.lookup((b"_iroh",), TXT)) == [
        'q. 30 IN TXT "relay=https://r.example./"',
        'q. 30 IN TXT "addr=1.2.3.4:5"',
    ]
    assert shown(zone.lookup((), A)) == ["q. 5 IN A 10.0.0.1"]
    assert shown(zone.lookup((b"a", b"b"), AAAA)) == ["q. 6 IN AAAA ::1"]
    assert shown(zone.lookup((b"u",), 65300)) == [r"q. 7 IN TYPE65300 \# 3 010203"]


def test_a_name_that_exists_is_never_denied(make_zone: Callable[..., Zone]) -> None:
    zone = make_zone(("a.b.c", 6, "A", "10.0.0.1"))
    present: tuple[tuple[bytes, ...], ...] = ((b"a", b"b", b"c"), (b"b", b"c"), (b"c",), ())
    for name in present:
        assert zone.lookup(name, TXT) == Answer(NOERROR)
    missing: tuple[tuple[bytes, ...], ...] = (
        (b"x",),
        (b"a",),
        (b"a", b"c"),
        (b"x", b"a", b"b", b"c"),
    )
    for name in missing:
        assert zone.lookup(name, TXT) == Answer(NXDOMAIN)


def test_an_empty_packet_is_a_zone_with_an_apex(make_zone: Callable[..., Zone]) -> None:
    assert make_zone().lookup((), TXT) == Answer(NOERROR)
    assert make_zone().lookup((b"_iroh",), TXT) == Answer(NXDOMAIN)


def test_any_gets_one_record_set_and_alias_answers_for_other_types(
    make_zone: Callable[..., Zone],
) -> None:
    zone = make_zone(
        ("n", 9, "A", "10.0.0.1"), ("n", 9, "TXT", '"t"'), ("c", 9, "CNAME", "n.example.")
    )
    assert shown(zone.lookup((b"n",), ANY)) == ["q. 9 IN A 10.0.0.1"]
    assert zone.lookup((), ANY) == Answer(NOERROR)
    for rdtype in (A, CNAME, ANY):
        assert shown(zone.lookup((b"c",), rdtype)) == ["q. 9 IN CNAME n.example."]


def test_owners_are_matched_in_any_case(publisher: Callable[[int], Any]) -> None:
    who = publisher(2)
    message = who.message([("_IROH", 1, "TXT", '"a"')]).replace(
        who.z32.encode(), who.z32.upper().encode()
    )
    zone = Zone.from_packet(who.z32, message)
    assert shown(zone.lookup((b"_iroh",), TXT)) == ['q. 1 IN TXT "a"']


def test_repeated_data_counts_once_with_the_later_ttl(publisher: Callable[[int], Any]) -> None:
    who = publisher(1)
    parts = [who.message([("n", ttl, "A", "10.0.0.1")]) for ttl in (5, 6)]
    message = parts[0][:6] + b"\0\2" + parts[0][8:] + parts[1][12:]
    zone = Zone.from_packet(who.z32, message)
    assert shown(zone.lookup((b"n",), A)) == ["q. 6 IN A 10.0.0.1"]


def test_names_inside_data_are_written_out(make_zone: Callable[..., Zone]) -> None:
    zone = make_zone(("mail.host", 9, "A", "10.0.0.1"), ("m", 9, "MX", "10 mail.host.example."))
    (line,) = shown(zone.lookup((b"m",), MX))
    assert line == "q. 9 IN MX 10 mail.host.example."


def test_what_a_key_may_not_say_is_left_out(publisher: Callable[[int], Any]) -> None:
    who, other = publisher(1), publisher(2)
    message = dns.message.Message(id=0)
    for owner, rdclass, rdtype, text in [
        (f"n.{who.z32}.", "IN", "NS", "ns.example."),
        (f"n.{who.z32}.", "IN", "SOA", "a. b. 1 2 3 4 5"),
        (f"n.{who.z32}.", "CH", "TXT", '"chaos"'),
        (f"n.{other.z32}.", "IN", "TXT", '"of another key"'),
        (f"{who.z32}.example.", "IN", "TXT", '"not below the key"'),
        (".", "IN", "TXT", '"root"'),
    ]:
        message.answer.append(dns.rrset.from_text(owner, 1, rdclass, rdtype, text))
    zone = Zone.from_packet(who.z32, message.to_wire())
    for name in ((), (b"n",)):
        for number in (2, 6, TXT, ANY):
            assert zone.lookup(name, number).answers == 0


def test_a_bad_record_does_not_take_the_others_along(publisher: Callable[[int], Any]) -> None:
    who = publisher(1)
    message = bytearray(who.message([("n", 1, "A", "10.0.0.1"), ("m", 2, "TXT", '"ok"')]))
    rdlength = message.index(b"\x0a\0\0\1") - 2
    message[rdlength : rdlength + 6] = b"\0\5\x0a\0\0\1\1"  # an address of five bytes
    zone = Zone.from_packet(who.z32, bytes(message))
    assert zone.lookup((b"n",), A) == Answer(NXDOMAIN)
    assert shown(zone.lookup((b"m",), TXT)) == ['q. 2 IN TXT "ok"']


def test_a_ttl_beyond_31_bits_counts_as_zero(publisher: Callable[[int], Any]) -> None:
    who = publisher(1)
    message = who.message([("n", 0x7FFFFFFF, "A", "10.0.0.1")])
    zone = Zone.from_packet(who.z32, message.replace(b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
    assert shown(zone.lookup((b"n",), A)) == ["q. 0 IN A 10.0.0.1"]


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 65535))
def test_arbitrary_bytes_make_a_zone(message: bytes, rdtype: int) -> None:
    zone = Zone.from_packet("y" * 52, message)
    assert zone.lookup((), rdtype).rcode == NOERROR


TYPES = ["A", "TXT", "CNAME", "MX", "SRV", "HTTPS", "CAA", "LOC"]
TEXTS = dict(
    zip(
        TYPES,
        ["10.0.0.1", '"x"', "c.example.", "1 m.example.", "1 2 3 s.example.", "1 . alpn=h3",
         '0 issue "ca"', "60 9 0.000 N 24 39 0.000 E 10.00m 20m 2000m 20m"],
        strict=True,
    )
)  # fmt: skip


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(TYPES), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(12, 2000), st.integers(0, 255)), max_size=5),
)
def test_mutated_packets_make_a_zone_whose_answers_can_be_read(
    types: list[str], changes: list[tuple[int, int]]
) -> None:
    z32 = "y" * 52
    message = dns.message.Message(id=0)
    for number, rdtype in enumerate(types):
        owner = f"n{number}.{z32}."
        message.answer.append(dns.rrset.from_text(owner, 5, "IN", rdtype, TEXTS[rdtype]))
    wire = bytearray(message.to_wire())
    for position, value in changes:
        wire[position % len(wire)] = value
    zone = Zone.from_packet(z32, bytes(wire))
    for number in range(len(types)):
        answer = zone.lookup((f"n{number}".encode(),), ANY)
        if answer.answers:
            assert len(shown(answer)) == answer.answers
