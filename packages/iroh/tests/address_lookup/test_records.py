"""Questions and answers, without a network."""

import contextlib

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.resolver import DnsError, InvalidResponseError, ResolveError, ServerError, TxtRecord
from iroh.resolver.records import Answer, Question, RecordType


def reply(question: Question, *answers: str, code: str = "NOERROR") -> dns.message.Message:
    message = dns.message.make_response(dns.message.from_wire(question.wire))
    message.set_rcode(dns.rcode.from_text(code))
    for answer in answers:
        name, ttl, kind, *values = answer.split(" ", 3)
        message.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, *values))
    return message


def ask(name: str, kind: RecordType, *answers: str, code: str = "NOERROR") -> Answer:
    question = Question(name, kind)
    accepted = question.accept(reply(question, *answers, code=code).to_wire())
    assert accepted is not None
    return question.read(accepted)


def test_query_on_the_wire() -> None:
    """As Rust sends it: RD, one question, EDNS 0 with 1232 bytes, no DO, no options."""
    query = dns.message.from_wire(Question("Example.COM", RecordType.TXT).wire)
    assert query.flags == dns.flags.RD
    assert [q.to_text() for q in query.question] == ["Example.COM. IN TXT"]
    assert (query.edns, query.payload, query.ednsflags, query.options) == (0, 1232, 0, ())
    assert not query.answer
    assert not query.authority


def test_without_edns() -> None:
    question = Question("example.com", RecordType.A)
    before = question.wire
    question.drop_edns()
    assert dns.message.from_wire(question.wire).edns == -1
    assert question.wire[:2] == before[:2]


def test_addresses_and_ttl() -> None:
    answer = ask("a.example", RecordType.A, "a.example. 300 A 192.0.2.1", "b.example. 1 A 10.0.0.1")
    assert answer == Answer(("192.0.2.1",), 300)
    assert ask("a.example", RecordType.AAAA, "A.EXAMPLE. 9 AAAA 2001:db8::1").records == (
        "2001:db8::1",
    )


def test_several_txt_records() -> None:
    """Upstream test_from_hickory_lookup: other types and other names do not count."""
    answer = ask(
        "_iroh.k.example",
        RecordType.TXT,
        '_iroh.k.example. 30 TXT "relay=https://r.example/"',
        '_iroh.k.example. 30 TXT "addr=192.0.2.1:5" "tail"',
        '_iroh.other.example. 30 TXT "addr=192.0.2.2:5"',
        "_iroh.k.example. 30 A 192.0.2.3",
    )
    assert [str(record) for record in answer.records] == [
        "relay=https://r.example/",
        "addr=192.0.2.1:5tail",
    ]
    assert answer.records[1] == (b"addr=192.0.2.1:5", b"tail")


def test_txt_record_text_is_lossy_string_by_string() -> None:
    assert str(TxtRecord((b"a\xff", b"\xc3", b"\xa9z"))) == "a\ufffd\ufffd\ufffdz"


def test_cname_chain_bounds_the_ttl() -> None:
    answer = ask(
        "a.example",
        RecordType.A,
        "a.example. 5 CNAME b.example.",
        "b.example. 60 CNAME c.example.",
        "c.example. 60 A 192.0.2.9",
    )
    assert answer == Answer(("192.0.2.9",), 5)


def test_cname_without_records_says_where_to_ask() -> None:
    answer = ask("a.example", RecordType.A, "a.example. 5 CNAME b.example.")
    assert answer == Answer(next_name="b.example.")


def test_cname_circle() -> None:
    with pytest.raises(InvalidResponseError):
        ask(
            "a.example",
            RecordType.A,
            "a.example. 5 CNAME b.example.",
            "b.example. 5 CNAME a.example.",
        )


def test_nothing_and_nobody() -> None:
    assert ask("a.example", RecordType.A) == Answer()
    assert ask("a.example", RecordType.A, code="NXDOMAIN") == Answer(exists=False)


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
def test_server_errors(code: str) -> None:
    with pytest.raises(ServerError) as caught:
        ask("a.example", RecordType.A, code=code)
    assert caught.value.code == code
    text = f"Failed to resolve: nameserver returned error response code: {code}"
    assert str(caught.value) == text


def test_what_is_no_answer() -> None:
    question = Question("a.example", RecordType.A)
    good = reply(question, "a.example. 5 A 192.0.2.1")
    assert question.accept(good.to_wire()) is not None
    assert question.accept(good.to_wire() + b"trailing") is not None
    assert question.accept(b"") is None
    assert question.accept(question.wire) is None  # a query, not a response
    wrong_id = bytearray(good.to_wire())
    wrong_id[1] ^= 1
    assert question.accept(bytes(wrong_id)) is None
    for other in (Question("b.example", RecordType.A), Question("a.example", RecordType.TXT)):
        message = reply(other)
        message.id = good.id
        assert question.accept(message.to_wire()) is None


@pytest.mark.parametrize("name", ["a..b", "x" * 64, ".".join(["x" * 60] * 5), "\\999"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ResolveError, match="invalid domain name"):
        Question(name, RecordType.A)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_name_is_asked_for_or_refused(name: str) -> None:
    with contextlib.suppress(ResolveError):
        Question(name, RecordType.TXT)


QUESTION = Question("a.example", RecordType.TXT)
GOOD = reply(
    QUESTION, "a.example. 5 CNAME b.example.", 'b.example. 5 TXT "x" "y"', "b.example. 5 A 1.2.3.4"
).to_wire()


def read_anything(data: bytes) -> None:
    message = QUESTION.accept(data)
    if message is not None:
        with contextlib.suppress(DnsError):
            QUESTION.read(message)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    read_anything(data)
    read_anything(GOOD[:12] + data)
    read_anything(GOOD[:27] + data)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6))
def test_mutated_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    read_anything(bytes(data))
