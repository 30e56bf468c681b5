"""The DNS parser against simple-dns, and what it makes of hostile messages."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.dns_wire import TYPE_TXT, DnsRecord, build_txt_answers, parse_answers, txt_value
from iroh_base.errors import PacketDnsError
from iroh_base.keys import SecretKey
from iroh_base.pkarr import SignedPacket

VECTORS = json.loads((Path(__file__).parent / "vectors" / "rust_dns_messages.json").read_text())
KEY = SecretKey(bytes(range(32))).public()
TYPE_OPT = 41


def header(answers: int, *, questions: int = 0, flags: int = 0x8000) -> bytes:
    counts = (0, flags, questions, answers, 0, 0)
    return b"".join(count.to_bytes(2, "big") for count in counts)


def record(name: bytes, type: int, rdata: bytes, rdclass: int = 1) -> bytes:
    numbers = ((type, 2), (rdclass, 2), (30, 4), (len(rdata), 2))
    return name + b"".join(value.to_bytes(size, "big") for value, size in numbers) + rdata


def read(message: str) -> list[list[str]] | None:
    try:
        packet = SignedPacket.from_bytes_unchecked(bytes(KEY) + bytes(72) + bytes.fromhex(message))
    except PacketDnsError:
        return None
    answers = [
        f"{r.owner.encode().hex()}:{r.type}:{1 if r.type == TYPE_OPT else r.rdclass}:{r.ttl}"
        for r in packet.records()
    ]
    return [[text.encode().hex() for text in packet.txt_records()], answers]


def test_messages_as_simple_dns_reads_them() -> None:
    cases = VECTORS["cases"]
    assert len(cases) > 300
    assert [[message, read(message)] for message, _ in cases] == cases


def test_names_in_rdata_are_written_out() -> None:
    # MX 10 to "mail" below the owner, which is compressed
    owner = b"\1a\2bc\0"
    message = (
        header(2) + record(owner, 1, bytes(4)) + record(b"\xc0\x0c", 15, b"\0\x0a\4mail\xc0\x0e")
    )
    _, mail = parse_answers(message)
    assert mail == DnsRecord("a.bc", 15, 1, 30, b"\0\x0a\4mail\2bc\0")


def test_trailing_bytes_of_rdata_are_kept_and_those_of_the_message_ignored() -> None:
    (answer,) = parse_answers(header(1) + record(b"\0", 1, b"\1\2\3\4\5") + b"junk")
    assert answer == DnsRecord("", 1, 1, 30, b"\1\2\3\4\5")


def test_cache_flush_bit_is_masked() -> None:
    (answer,) = parse_answers(header(1) + record(b"\0", 1, bytes(4), rdclass=0x8001))
    assert answer.rdclass == 1


@pytest.mark.parametrize(
    ("params", "good"),
    [
        (b"\0\1\0\3\2h2" + b"\0\3\0\2\1\xbb" + b"\0\4\0\4" + bytes(4), True),
        (b"\0\5\0\3\0\1x" + b"\0\6\0\x10" + bytes(16) + b"\0\7\0\0", True),
        (b"\0\1\0\3\5h2", False),
        (b"\0\3\0\1\1", False),
        (b"\0\4\0\5" + bytes(5), False),
        (b"\0\5\0\3\0\2x", False),
        (b"\0\6\0\4" + bytes(4), False),
        (b"\0\3\0\2\1\xbb" * 2, False),
    ],
)
def test_service_parameters(params: bytes, good: bool) -> None:
    message = header(1) + record(b"\0", 65, b"\0\1\0" + params)
    if good:
        assert parse_answers(message)[0].rdata == b"\0\1\0" + params
        return
    with pytest.raises(PacketDnsError):
        parse_answers(message)


def test_unknown_types_are_opaque() -> None:
    (answer,) = parse_answers(header(1) + record(b"\0", 65280, b"\xc0\xff"))
    assert answer.rdata == b"\xc0\xff"


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"", "ends too early"),
        (header(1), "ends too early"),
        (header(0, flags=0x8040), "reserved bit"),
        (header(0, questions=1) + b"\0\0\x63\0\1", "type in a question"),
        (header(0, questions=1) + b"\0\0\1\0\5", "class in a question"),
        (header(1) + record(b"\0", 1, bytes(4), rdclass=255), "unknown class"),
        (header(1) + record(b"\0", 1, bytes(3)), "ends too early"),
        (header(1) + record(b"\xc0\x0c", 1, bytes(4)), "backwards"),
        (header(1) + record(b"\xc0\xff", 1, bytes(4)), "backwards"),
        (header(1) + record(b"\1a\xc0\x0c", 1, bytes(4)), "too long"),
        (header(1) + record(b"\x40" + bytes(64) + b"\0", 1, bytes(4)), "too long"),
        (header(1) + record(b"\0", 29, b"\1" + bytes(15)), "LOC"),
        (header(1) + record(b"\0", 45, b"\1\4\1"), "IPSECKEY"),
        (header(1) + record(b"\0", 47, b"\0\1\1a\1\1b"), "NSEC"),
        (header(1) + record(b"\0", 64, b"\0\1\0\0\2\0\0\0\1\0\0"), "service binding"),
    ],
)
def test_refused_messages(message: bytes, what: str) -> None:
    with pytest.raises(PacketDnsError, match=what):
        parse_answers(message)


def test_txt_values() -> None:
    def txt(rdata: bytes) -> bytes | None:
        return txt_value(DnsRecord("x", TYPE_TXT, 1, 30, rdata))

    assert txt(b"\3abc\2de") == b"abcde"
    assert txt(b"\0") == b""
    assert txt(b"") is None
    assert txt_value(DnsRecord("x", 1, 1, 30, bytes(4))) is None


def test_building() -> None:
    message = build_txt_answers("_iroh.zone", ["a=b", ""], 30)
    first = record(b"\5_iroh\4zone\0", TYPE_TXT, b"\3a=b")
    assert message == header(2) + first + record(b"\xc0\x0c", TYPE_TXT, b"\0")
    assert build_txt_answers("x", [], 0) == header(0)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("x", "a" * 256, "256 bytes"),
        ("x", "\ud800", "Unicode"),
        ("\ud800", "", "Unicode"),
        ("a" * 64, "", "label"),
        (".".join(["a" * 60] * 5), "", "name"),
    ],
)
def test_what_cannot_be_built(name: str, value: str, what: str) -> None:
    with pytest.raises(PacketDnsError, match=what):
        build_txt_answers(name, [value], 30)


@given(st.lists(st.text(max_size=60), max_size=6), st.integers(0, 2**32 - 1))
def test_round_trip(values: list[str], ttl: int) -> None:
    records = parse_answers(build_txt_answers("_iroh.zone", values, ttl))
    assert [txt_value(r) for r in records] == [value.encode() for value in values]
    assert all(r[:4] == ("_iroh.zone", TYPE_TXT, 1, ttl) for r in records)


NAMES = st.sampled_from([b"\0", b"\1a\0", b"\xc0\x0c", b"\1b\xc0\x0c", b"\xc0\x00", b"\x3f"])
RECORDS = st.builds(
    record,
    NAMES,
    st.sampled_from([1, 2, 6, 15, 16, 28, 33, 35, 41, 45, 46, 47, 64, 65, 257, 999]),
    st.binary(max_size=30),
    st.sampled_from([1, 3, 254, 255, 0x8001]),
)


@given(st.lists(RECORDS, max_size=4), st.binary(max_size=4), st.integers(0, 0xFFFF))
def test_any_records(records: list[bytes], rest: bytes, flags: int) -> None:
    message = header(len(records), flags=flags) + b"".join(records) + rest
    try:
        answers = parse_answers(message)
    except PacketDnsError:
        return
    assert len(answers) == len(records)


@given(st.binary(max_size=120))
def test_any_bytes(data: bytes) -> None:
    for message in (data, header(3) + data, header(1, questions=1) + data):
        try:
            parse_answers(message)
        except PacketDnsError:
            continue


def test_the_largest_counts_cost_nothing() -> None:
    # 65535 records of each kind are promised, none is there
    with pytest.raises(PacketDnsError):
        parse_answers(b"\0\0\x80\0" + b"\xff" * 8)
