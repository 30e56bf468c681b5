"""Reading a DNS query and writing its answer (RFC 1035 section 4, RFC 6891 for EDNS).

    0      2       4    6    8    10   12
    | id   | flags | QD | AN | NS | AR | question | answers | authority | OPT |

    flags: QR 0x8000, opcode 0x7800, AA 0x0400, TC 0x0200, RD 0x0100, RA 0x0080,
           Z 0x0040, AD 0x0020, CD 0x0010, rcode 0x000f

    OPT:   | 0 | 41 (2) | UDP size (2) | extended rcode | version | DO and Z (2) | length (2) |

An answer repeats the question with the letters as they came (0x20 casing), so every name in it can
be a pointer into the question: 0xc00c for the name that was asked, a larger offset for a zone above
it. Records are therefore rendered once, without their owner's text, and reused for every query.
"""

import struct
from typing import NamedTuple

import dns.exception
import dns.wire

__all__ = [
    "ANY",
    "CLASS_ANY",
    "CLASS_IN",
    "FORMERR",
    "MAX_EXTRA_RECORDS",
    "NOERROR",
    "NOTIMP",
    "NXDOMAIN",
    "OPT",
    "REFUSED",
    "SERVFAIL",
    "UDP_PAYLOAD",
    "Answer",
    "Authorities",
    "BadQueryError",
    "Edns",
    "IgnoredQueryError",
    "Query",
    "parse_query",
    "record",
    "render",
    "render_error",
]

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
"""Response codes, RFC 1035 section 4.1.1."""
BADVERS = 16
"""Extended response code, RFC 6891 section 9."""
CNAME, SOA, OPT, ANY = 5, 6, 41, 255
"""Record types this module or the zones treat in a special way."""
CLASS_IN, CLASS_ANY = 1, 255

UDP_PAYLOAD = 1232
"""The largest UDP answer we send and the size we advertise: no IPv6 path fragments it (the figure
of DNS flag day 2020; the Rust client asks with the same)."""
MIN_UDP_PAYLOAD = 512
"""What an asker without EDNS can take, RFC 1035 section 4.2.1."""
MAX_EXTRA_RECORDS = 16
"""Records besides the question that we are willing to walk over in search of the OPT record."""

_QR, _OPCODE, _AA, _TC, _RD, _CD = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100, 0x0010
_DO = 0x8000
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_TYPE_AND_CLASS = struct.Struct("!HH")
_OPT_SIZE = 11
"""Bytes of an OPT record without options, RFC 6891 section 6.1."""
MAX_LABEL, MAX_NAME = 63, 255
"""Bytes, RFC 1035 section 2.3.4; a name's count its last, empty label."""
_OWNER_IS_QUESTION = b"\xc0\x0c"


class Edns(NamedTuple):
    """The OPT record of a query: the asker's UDP size, EDNS version, and the DNSSEC-OK bit."""

    payload: int
    version: int
    dnssec_ok: bool


class Query(NamedTuple):
    """One well-formed query. `labels` are lower case and without the root; `question` is the
    question section as it is repeated in the answer."""

    id: int
    flags: int
    question: bytes
    labels: tuple[bytes, ...]
    rdtype: int
    rdclass: int
    edns: Edns | None

    @property
    def opcode(self) -> int:
        """0 for a standard query, RFC 1035 section 4.1.1."""
        return (self.flags & _OPCODE) >> 11


class Authorities(NamedTuple):
    """The authority section of a negative answer: one SOA record.

    `record` starts after the owner name; the owner is the question's name without its first `skip`
    labels.
    """

    skip: int
    record: bytes


class Answer(NamedTuple):
    """What to say, independent of who asks: `answers` rendered records that start with 0xc00c."""

    rcode: int
    answers: int = 0
    records: bytes = b""
    authority: Authorities | None = None
    authoritative: bool = True


class IgnoredQueryError(Exception):
    """Bytes that deserve no answer: shorter than a header, or themselves a response."""


class BadQueryError(Exception):
    """A request that is answered with an error: its id, flags and the response code."""

    def __init__(self, id_: int, flags: int, rcode: int) -> None:
        super().__init__(rcode)
        self.id = id_
        self.flags = flags
        self.rcode = rcode


def parse_query(wire: bytes) -> Query:
    """Decode a request. Raises `IgnoredQueryError` or `BadQueryError`, nothing else."""
    if len(wire) < _HEADER.size:
        raise IgnoredQueryError("shorter than a header")
    id_, flags, questions, *others = _HEADER.unpack_from(wire)
    if flags & _QR:
        raise IgnoredQueryError("a response")
    if flags & _OPCODE == 0 and questions == 1 and others in _USUAL:
        usual = _parse_usual(wire, id_, flags)
        if usual is not None:
            return usual
    malformed = NOTIMP if flags & _OPCODE else FORMERR  # other opcodes may look different
    if questions != 1 or sum(others) > MAX_EXTRA_RECORDS:
        raise BadQueryError(id_, flags, malformed)
    try:
        parser = dns.wire.Parser(wire, _HEADER.size)
        labels = parser.get_name(decompress=True).labels[:-1]
        rdtype, rdclass = parser.get_struct("!HH")
        edns = _find_opt(parser, *others)
    except dns.exception.DNSException:
        raise BadQueryError(id_, flags, malformed) from None
    if edns is _BAD_OPT or rdtype == OPT:
        raise BadQueryError(id_, flags, malformed)
    question = b"".join([bytes((len(label),)) + label for label in labels])
    question += struct.pack("!xHH", rdtype, rdclass)
    lowered = tuple([label.lower() for label in labels])
    return Query(id_, flags, question, lowered, rdtype, rdclass, edns)


_USUAL = ([0, 0, 0], [0, 0, 1])


def _parse_usual(wire: bytes, id_: int, flags: int) -> Query | None:
    """What nearly every request is: one question, its name written out, and at the most an OPT
    record behind it. None for anything else, which is then read with more care. A ninth of the
    time."""
    labels = []
    position = _HEADER.size
    end = len(wire) - 5  # where the last label of a name may begin
    while position < end and (length := wire[position]):
        if length > MAX_LABEL:
            return None  # a pointer, or nonsense
        labels.append(wire[position + 1 : position + 1 + length])
        position += 1 + length
    if (
        position > end
        or position - _HEADER.size >= MAX_NAME
        or wire[position : position + 1] != b"\0"
    ):
        return None
    question = wire[_HEADER.size : position + 5]
    rdtype, rdclass = _TYPE_AND_CLASS.unpack_from(wire, position + 1)
    rest = wire[position + 5 :]
    edns = None
    if wire[11]:
        if len(rest) < _OPT_SIZE or rest[0]:
            return None
        kind, size, ttl, length = _RECORD.unpack_from(rest, 1)
        if kind != OPT or length != len(rest) - _OPT_SIZE:
            return None
        edns = Edns(size, (ttl >> 16) & 0xFF, bool(ttl & _DO))
    if rdtype == OPT:
        return None
    lowered = tuple([label.lower() for label in labels])
    return Query(id_, flags, question, lowered, rdtype, rdclass, edns)


_BAD_OPT = Edns(0, -1, False)


def _find_opt(parser: dns.wire.Parser, answers: int, authority: int, more: int) -> Edns | None:
    """Walk over every record after the question; `_BAD_OPT` for one where RFC 6891 allows none."""
    edns: Edns | None = None
    for index in range(answers + authority + more):
        owner = parser.get_name(decompress=True)
        rdtype, size, ttl, length = parser.get_struct("!HHIH")
        parser.get_bytes(length)
        if rdtype != OPT:
            continue
        if edns is not None or index < answers + authority or len(owner.labels) != 1:
            return _BAD_OPT
        edns = Edns(size, (ttl >> 16) & 0xFF, bool(ttl & _DO))
    return edns


def record(rdtype: int, ttl: int, rdata: bytes) -> bytes:
    """A record of class IN from its type field on, without the owner name."""
    return _RECORD.pack(rdtype, CLASS_IN, ttl, len(rdata)) + rdata


def render(query: Query, answer: Answer, *, udp: bool) -> tuple[bytes, bool]:
    """The bytes of an answer, and whether it was cut.

    Over UDP an answer larger than the asker's size is replaced by one without records and with TC
    set, so that no part of a record set is ever mistaken for the whole (RFC 2181 section 9).
    """
    rcode = answer.rcode
    edns = query.edns
    extended = 0
    if edns is not None and edns.version > 0:
        answer, rcode, extended = Answer(NOERROR, authoritative=False), NOERROR, BADVERS >> 4
    opt = b"" if edns is None else _opt(extended, edns.dnssec_ok)
    flags = _QR | (query.flags & (_OPCODE | _RD | _CD)) | rcode
    if answer.authoritative:
        flags |= _AA
    authority = _authority(query, answer.authority)
    size = _HEADER.size + len(query.question) + len(answer.records) + len(authority) + len(opt)
    if udp and size > _udp_limit(edns):
        head = _HEADER.pack(query.id, flags | _TC, 1, 0, 0, bool(opt))
        return head + query.question + opt, True
    head = _HEADER.pack(query.id, flags, 1, answer.answers, bool(authority), bool(opt))
    return b"".join((head, query.question, answer.records, authority, opt)), False


def render_error(error: BadQueryError) -> bytes:
    """The answer to a request whose question we cannot repeat: a header alone."""
    flags = _QR | (error.flags & (_OPCODE | _RD | _CD)) | error.rcode
    return _HEADER.pack(error.id, flags, 0, 0, 0, 0)


def owned_by_question(rendered: bytes) -> bytes:
    """Put the question's name in front of a record made by `record`."""
    return _OWNER_IS_QUESTION + rendered


def _opt(extended_rcode: int, dnssec_ok: bool) -> bytes:
    ttl = extended_rcode << 24 | (_DO if dnssec_ok else 0)
    return b"\0" + _RECORD.pack(OPT, UDP_PAYLOAD, ttl, 0)


def _udp_limit(edns: Edns | None) -> int:
    if edns is None:
        return MIN_UDP_PAYLOAD
    return min(max(edns.payload, MIN_UDP_PAYLOAD), UDP_PAYLOAD)


def _authority(query: Query, authority: Authorities | None) -> bytes:
    if authority is None:
        return b""
    if authority.skip == len(query.labels):
        return b"\0" + authority.record
    offset = _HEADER.size + sum(len(label) + 1 for label in query.labels[: authority.skip])
    return (0xC000 | offset).to_bytes(2) + authority.record
