"""Queries in, answers out: dnspython is the judge."""

import struct
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh_dns_server.dns.wire import (
    FORMERR,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    UDP_PAYLOAD,
    Answer,
    Authorities,
    BadQueryError,
    Edns,
    IgnoredQueryError,
    Query,
    owned_by_question,
    parse_query,
    record,
    render,
    render_error,
)

NAME = "_iroh.KEY.irohdns.Example."
HEADER = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0)
QUESTION = b"\x01a\x00\x00\x10\x00\x01"
OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)


def make(name: str = NAME, rdtype: str = "TXT", **kwargs: Any) -> Query:
    return parse_query(dns.message.make_query(name, rdtype, **kwargs).to_wire())


def txt(count: int, size: int) -> Answer:
    rdata = bytes((size,)) + b"x" * size
    return Answer(NOERROR, count, owned_by_question(record(16, 30, rdata)) * count)


def refusal(wire: bytes) -> int:
    with pytest.raises(BadQueryError) as caught:
        parse_query(wire)
    return caught.value.rcode


def test_a_query_is_read() -> None:
    query = make(use_edns=0, payload=4096, ednsflags=dns.flags.DO)
    assert query.labels == (b"_iroh", b"key", b"irohdns", b"example")
    assert (query.rdtype, query.rdclass, query.opcode) == (16, 1, 0)
    assert query.edns == Edns(4096, 0, True)
    assert make(use_edns=-1).edns is None


def test_the_root_is_a_name_without_labels() -> None:
    assert make(".", "NS").labels == ()


def test_the_letters_of_the_question_come_back_as_they_were() -> None:
    reply, _ = render(make(), txt(1, 5), udp=True)
    message = dns.message.from_wire(reply)
    assert b"\x05_iroh\x03KEY\x07irohdns\x07Example\x00" in reply
    assert message.answer[0].name == dns.name.from_text(NAME)


@pytest.mark.parametrize(
    ("wire", "rcode"),
    [
        (HEADER[:4] + b"\0\0" + HEADER[6:], FORMERR),
        (HEADER[:4] + b"\0\2" + HEADER[6:] + QUESTION * 2, FORMERR),
        (HEADER + QUESTION[:-1], FORMERR),
        (HEADER + b"\xc0\x0c\0\x10\0\1", FORMERR),
        (HEADER + b"\xc0\x20\0\x10\0\1" + bytes(40), FORMERR),
        (HEADER + b"\x80a\0\0\x10\0\1", FORMERR),
        (HEADER + b"\x3fa", FORMERR),
        (HEADER + b"".join(b"\x3f" + b"a" * 63 for _ in range(4)) + b"\0\0\x10\0\1", FORMERR),
        (HEADER[:6] + b"\0\1\0\0\0\0" + QUESTION, FORMERR),
        (HEADER[:10] + b"\0\2" + QUESTION + OPT * 2, FORMERR),
        (HEADER[:10] + b"\0\1" + QUESTION + b"\1a" + OPT, FORMERR),
        (HEADER[:6] + b"\0\1\0\0\0\0" + QUESTION + OPT, FORMERR),
        (HEADER[:10] + b"\0\x11" + QUESTION + (b"\0" + bytes(10)) * 17, FORMERR),
        (HEADER + b"\x01a\x00\x00\x29\x00\x01", FORMERR),
        (HEADER[:2] + b"\x28\0" + HEADER[4:] + b"\xff", NOTIMP),
    ],
    ids=[
        "no question", "two questions", "cut", "pointer to itself", "pointer forward",
        "bad label type", "label past the end", "name of 256", "record missing", "two OPT",
        "OPT with an owner", "OPT as answer", "too many records", "OPT as question", "update",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(wire: bytes, rcode: int) -> None:
    assert refusal(wire) == rcode


@pytest.mark.parametrize("wire", [b"", HEADER[:11], HEADER[:2] + b"\x80" + HEADER[3:] + QUESTION])
def test_short_messages_and_responses_are_ignored(wire: bytes) -> None:
    with pytest.raises(IgnoredQueryError):
        parse_query(wire)


def test_a_compressed_question_is_read_and_answered_uncompressed() -> None:
    # The id of the message is a length byte, a letter and then the root: a pointer may reach it.
    wire = b"\x01b\x00\x00" + HEADER[4:] + b"\x01a\xc0\x00\x00\x10\x00\x01"
    query = parse_query(wire)
    assert query.labels == (b"a", b"b")
    reply, _ = render(query, txt(1, 5), udp=True)
    assert dns.message.from_wire(reply).answer[0].name == dns.name.from_text("a.b.")


def test_trailing_bytes_and_foreign_records_do_not_matter() -> None:
    extra = b"\0" + struct.pack("!HHIH", 1, 1, 0, 4) + b"\1\2\3\4"
    query = parse_query(HEADER[:10] + b"\0\2" + QUESTION + extra + OPT + b"junk")
    assert query.edns == Edns(1232, 0, False)


def test_flags_of_an_answer() -> None:
    wire = bytearray(dns.message.make_query(NAME, "TXT").to_wire())
    wire[2:4] = (0x0100 | 0x0010 | 0x0020 | 0x0040 | 0x0080 | 0x0400 | 0x0200).to_bytes(2)
    reply, _ = render(parse_query(bytes(wire)), txt(1, 5), udp=True)
    assert int.from_bytes(reply[2:4]) == 0x8000 | 0x0400 | 0x0100 | 0x0010


def test_a_negative_answer_names_the_zone_above() -> None:
    soa = record(6, 60, b"\0\0" + bytes(20))
    query = make()
    for skip, owner in ((2, "irohdns.example."), (4, "."), (0, NAME)):
        reply, _ = render(query, Answer(NXDOMAIN, authority=Authorities(skip, soa)), udp=True)
        message = dns.message.from_wire(reply)
        assert message.rcode() == dns.rcode.NXDOMAIN
        assert message.authority[0].name == dns.name.from_text(owner)


@pytest.mark.parametrize(
    ("edns", "limit"), [(-1, 512), (0, 512), (100, 512), (700, 700), (1232, 1232), (4096, 1232)]
)
def test_udp_answers_fit_the_asker(edns: int, limit: int) -> None:
    query = make(use_edns=-1) if edns < 0 else make(use_edns=0, payload=edns)
    overhead = 12 + len(query.question) + (0 if edns < 0 else 11)
    for size, cut in ((limit - overhead, False), (limit - overhead + 1, True)):
        answer = Answer(NOERROR, 1, owned_by_question(record(65300, 1, bytes(size - 12))))
        reply, truncated = render(query, answer, udp=True)
        message = dns.message.from_wire(reply)
        assert truncated is cut
        assert bool(message.flags & dns.flags.TC) is cut
        assert len(message.answer) == (0 if cut else 1)
        assert len(reply) <= limit
        whole, truncated = render(query, answer, udp=False)
        assert not truncated
        assert len(dns.message.from_wire(whole).answer) == 1


def test_edns_is_answered_with_edns() -> None:
    reply, _ = render(make(use_edns=0, ednsflags=dns.flags.DO), txt(1, 1), udp=True)
    message = dns.message.from_wire(reply)
    assert (message.edns, message.payload, message.ednsflags) == (0, UDP_PAYLOAD, dns.flags.DO)
    reply, _ = render(make(use_edns=-1), txt(1, 1), udp=True)
    assert dns.message.from_wire(reply).edns == -1


def test_an_unknown_edns_version_gets_badvers() -> None:
    reply, _ = render(make(use_edns=1), txt(1, 1), udp=True)
    message = dns.message.from_wire(reply)
    assert message.rcode() == dns.rcode.BADVERS
    assert (message.edns, message.answer) == (0, [])


def test_an_error_without_question() -> None:
    message = dns.message.from_wire(render_error(BadQueryError(7, 0x2910, FORMERR)))
    assert (message.id, message.rcode(), message.opcode()) == (7, FORMERR, 5)
    assert message.question == []


@settings(max_examples=300)
@given(st.binary(max_size=600))
def test_arbitrary_bytes_raise_only_our_errors(wire: bytes) -> None:
    try:
        query = parse_query(wire)
    except (IgnoredQueryError, BadQueryError):
        return
    render(query, txt(1, 9), udp=True)


@settings(max_examples=300)
@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=6),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    st.booleans(),
)
def test_mutated_queries_are_refused_or_answered_well(
    labels: list[bytes], changes: list[tuple[int, int]], edns: bool
) -> None:
    name = dns.name.Name([*labels, b""])
    message = dns.message.make_query(name, "TXT", use_edns=0 if edns else -1)
    wire = bytearray(message.to_wire())
    for position, value in changes:
        wire[position % len(wire)] = value
    try:
        query = parse_query(bytes(wire))
    except IgnoredQueryError:
        return
    except BadQueryError as error:
        reply = render_error(error)
    else:
        reply, _ = render(query, txt(1, 9), udp=True)
    assert len(reply) >= 12
    assert reply[:2] == wire[:2]
    assert reply[2] & 0x80


@given(
    st.lists(st.binary(min_size=1, max_size=8), max_size=4),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=3),
    st.integers(0, 80),
)
def test_the_usual_is_read_as_with_care(
    labels: list[bytes], edns: bool, changes: list[tuple[int, int]], cut: int
) -> None:
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    wire = bytearray(struct.pack("!6H", 7, 0x100, 1, 0, 0, edns) + name + b"\0\x10\0\1")
    if edns:
        wire += b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"
    for position, value in changes:
        if position < len(wire):
            wire[position] = value
    request = bytes(wire[: len(wire) - cut] if cut < 12 else wire)

    def read() -> Query | tuple[type[Exception], int]:
        try:
            return parse_query(request)
        except (IgnoredQueryError, BadQueryError) as error:
            return type(error), getattr(error, "rcode", 0)

    quick = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("iroh_dns_server.dns.wire._USUAL", ())
        assert read() == quick
