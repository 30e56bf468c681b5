"""The part of the DNS wire format (RFC 1035) that pkarr packets need, read and written by hand.

    header    id 2 | flags 2 | counts of questions, answers, authorities, additionals 2 each
    question  name | type 2 | class 2
    record    name | type 2 | class 2 | ttl 4 | rdlength 2 | rdata
    name      labels (length 1, at most 63, then bytes), ended by 00 or a pointer (11xxxxxx x)

Reading refuses and forgives what Rust's crate simple-dns 0.12 does, for two ends must agree about
which packets exist:

- the reserved header bit 0x0040 must be 0; all other flags, the id and the opcode are not looked at
- a pointer must point to before itself; a name's labels sum up to less than 255 bytes, which also
  ends every loop
- questions need a known type and class, records a known class (the cache-flush bit is masked)
- the fields of known record types must be there; what follows them in the rdata is ignored
- bytes after the last record are ignored
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from .errors import PacketDnsError

__all__ = ["TYPE_TXT", "DnsRecord", "build_txt_answers", "parse_answers", "txt_value"]

TYPE_TXT: Final = 16
"""RFC 1035 section 3.2.2."""
_TYPE_OPT = 41  # RFC 6891
_CLASS_IN = 1
_HEADER_LENGTH = 12
_FLAG_RESPONSE = 0x8000
_RESERVED_BIT = 0x0040
_CACHE_FLUSH_BIT = 0x8000  # RFC 6762 section 10.2
_POINTER = 0xC0
_MAX_LABEL = 63
_MAX_NAME = 255
_MAX_STRING = 255
_CLASSES = frozenset((1, 2, 3, 4, 254))
_QUESTION_CLASSES = _CLASSES | {255}
_QUESTION_ONLY_TYPES = frozenset((251, 252, 253, 254, 255))


class DnsRecord(NamedTuple):
    """A record of the answer section; names inside `rdata` are written out, not compressed.

    `owner` is the dotted name in the case it was sent, without a dot at the end; `ttl` is seconds.
    """

    owner: str
    type: int
    rdclass: int
    ttl: int
    rdata: bytes


class _Cursor:
    """A position in a message, and the end that reads must not pass."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int, end: int) -> None:
        self.data = data
        self.pos = pos
        self.end = end

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start, self.pos = self.pos, self.pos + count
        if self.pos > self.end:
            raise PacketDnsError("the DNS message ends too early")
        return self.data[start : self.pos]

    def uint(self, count: int) -> int:
        """The next `count` bytes as a number."""
        return int.from_bytes(self.take(count), "big")

    def rest(self) -> bytes:
        """All bytes up to the end."""
        return self.take(self.end - self.pos)

    def part(self, count: int) -> "_Cursor":
        """A cursor over the next `count` bytes, which may follow pointers to before them."""
        start = self.pos
        self.take(count)
        return _Cursor(self.data, start, self.pos)

    def string(self) -> bytes:
        """A character-string, with its length in front."""
        length = self.take(1)
        return length + self.take(length[0])

    def name(self) -> list[bytes]:
        """The labels of a name, pointers followed."""
        labels: list[bytes] = []
        total = 0
        reader = self
        while length := reader.uint(1):
            if length >= _POINTER:
                target = (length & ~_POINTER) << 8 | reader.uint(1)
                if target >= reader.pos - 2:
                    raise PacketDnsError("a compression pointer does not point backwards")
                reader = _Cursor(self.data, target, self.end)
                continue
            total += 1 + length
            if total >= _MAX_NAME or length > _MAX_LABEL:
                raise PacketDnsError("a name or label is too long")
            labels.append(reader.take(length))
        return labels


def _wire_name(labels: Iterable[bytes]) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


# -- rdata ---------------------------------------------------------------------------------


def _name(cursor: _Cursor) -> bytes:
    return _wire_name(cursor.name())


def _strings(cursor: _Cursor) -> bytes:
    parts = []
    while cursor.pos < cursor.end:
        parts.append(cursor.string())
    return b"".join(parts)


def _bytes(count: int) -> Callable[[_Cursor], bytes]:
    return lambda cursor: cursor.take(count)


def _location(cursor: _Cursor) -> bytes:
    """RFC 1876: only version 0 exists."""
    data = cursor.take(16)
    if data[0]:
        raise PacketDnsError("unknown version of a LOC record")
    return data


def _ipsec_gateway(cursor: _Cursor) -> bytes:
    """RFC 4025 section 2: the second byte says what the gateway is."""
    head = cursor.take(3)
    readers = (_bytes(0), _bytes(4), _bytes(16), _name)
    if head[1] >= len(readers):
        raise PacketDnsError("unknown gateway type of an IPSECKEY record")
    return head + readers[head[1]](cursor)


def _type_bitmaps(cursor: _Cursor) -> bytes:
    """RFC 4034 section 4.1.2: windows in ascending order, of at most 32 bytes."""
    start, previous = cursor.pos, -1
    while cursor.pos < cursor.end:
        window, length = cursor.take(2)
        cursor.take(length)
        if window <= previous or length > 32:
            raise PacketDnsError("malformed type bitmap of an NSEC record")
        previous = window
    return cursor.data[start : cursor.end]


# Sizes of the items in a service parameter's value, RFC 9460 section 14.3.2.
_SERVICE_LISTS = {0: 2, 4: 4, 6: 16}


def _service_params(cursor: _Cursor) -> bytes:
    """RFC 9460 section 2.2: parameters in strictly ascending order of their keys."""
    start, previous = cursor.pos, -1
    while cursor.pos < cursor.end:
        key = cursor.uint(2)
        value = cursor.part(cursor.uint(2))
        length = value.end - value.pos
        bad = key <= previous or length % _SERVICE_LISTS.get(key, 1)
        if key == 1:
            _strings(value)
        elif key == 3:
            value.take(2)
        elif key == 5:
            bad = bad or value.uint(2) != length - 2
        if bad:
            raise PacketDnsError("malformed parameter of a service binding record")
        previous = key
    return cursor.data[start : cursor.end]


_Field = Callable[[_Cursor], bytes]
_string: _Field = _Cursor.string
_FIELDS: dict[int, tuple[_Field, ...]] = {
    1: (_bytes(4),),  # A
    2: (_name,),  # NS
    3: (_name,),  # MD
    4: (_name,),  # MF
    5: (_name,),  # CNAME
    6: (_name, _name, _bytes(20)),  # SOA
    7: (_name,),  # MB
    8: (_name,),  # MG
    9: (_name,),  # MR
    10: (),  # NULL
    11: (_bytes(5),),  # WKS
    12: (_name,),  # PTR
    13: (_string, _string),  # HINFO
    14: (_name, _name),  # MINFO
    15: (_bytes(2), _name),  # MX
    TYPE_TXT: (_strings,),
    17: (_name, _name),  # RP
    18: (_bytes(2), _name),  # AFSDB
    20: (_string, _string),  # ISDN
    21: (_bytes(2), _name),  # RT
    22: (_bytes(20),),  # NSAP
    23: (_name,),  # NSAP-PTR
    28: (_bytes(16),),  # AAAA
    29: (_location,),  # LOC
    33: (_bytes(6), _name),  # SRV
    35: (_bytes(4), _string, _string, _string, _name),  # NAPTR
    36: (_bytes(2), _name),  # KX
    37: (_bytes(5),),  # CERT
    _TYPE_OPT: (),
    43: (_bytes(4),),  # DS
    45: (_ipsec_gateway,),  # IPSECKEY
    46: (_bytes(18), _name),  # RRSIG
    47: (_name, _type_bitmaps),  # NSEC
    48: (_bytes(4),),  # DNSKEY
    49: (_bytes(3),),  # DHCID
    63: (_bytes(6),),  # ZONEMD
    64: (_bytes(2), _name, _service_params),  # SVCB
    65: (_bytes(2), _name, _service_params),  # HTTPS
    108: (_bytes(6),),  # EUI48
    109: (_bytes(8),),  # EUI64
    257: (_bytes(1), _string),  # CAA
}
"""The fields of the record types that simple-dns knows; more bytes may follow them."""

_QUESTION_TYPES = _FIELDS.keys() | _QUESTION_ONLY_TYPES


# -- messages ------------------------------------------------------------------------------


def _skip_question(cursor: _Cursor) -> None:
    cursor.name()
    if cursor.uint(2) not in _QUESTION_TYPES:
        raise PacketDnsError("unknown type in a question")
    if cursor.uint(2) & ~_CACHE_FLUSH_BIT not in _QUESTION_CLASSES:
        raise PacketDnsError("unknown class in a question")


def _read_record(cursor: _Cursor) -> DnsRecord:
    owner = b".".join(cursor.name()).decode(errors="replace")
    rdtype, rdclass, ttl = cursor.uint(2), cursor.uint(2), cursor.uint(4)
    rdata = cursor.part(cursor.uint(2))
    if rdtype == _TYPE_OPT:
        # Its class is a size and its TTL holds flags, so neither is checked.
        while rdata.pos < rdata.end:
            rdata.take(2)
            rdata.take(rdata.uint(2))
        return DnsRecord(owner, rdtype, rdclass, ttl, b"")
    # Without any rdata, no field is looked for.
    fields = _FIELDS.get(rdtype, ()) if rdata.pos < rdata.end else ()
    data = b"".join([field(rdata) for field in fields]) + rdata.rest()
    if rdclass & ~_CACHE_FLUSH_BIT not in _CLASSES:
        raise PacketDnsError(f"unknown class {rdclass} of a record")
    return DnsRecord(owner, rdtype, rdclass & ~_CACHE_FLUSH_BIT, ttl, data)


def parse_answers(message: bytes) -> tuple[DnsRecord, ...]:
    """The answers of a DNS message, checked as a whole; `PacketDnsError` if it is malformed."""
    cursor = _Cursor(message, 0, len(message))
    _, flags, questions, answers, authorities, additionals = (cursor.uint(2) for _ in range(6))
    if flags & _RESERVED_BIT:
        raise PacketDnsError("the reserved bit of the DNS header is set")
    for _ in range(questions):
        _skip_question(cursor)
    records = tuple(_read_record(cursor) for _ in range(answers))
    for _ in range(authorities + additionals):
        _read_record(cursor)
    return records


def txt_value(record: DnsRecord) -> bytes | None:
    """The strings of a TXT record put together; `None` for other records and empty ones."""
    if record.type != TYPE_TXT or not record.rdata:
        return None
    cursor = _Cursor(record.rdata, 0, len(record.rdata))
    parts = []
    while cursor.pos < cursor.end:
        parts.append(cursor.string()[1:])
    return b"".join(parts)


def build_txt_answers(name: str, values: Iterable[str], ttl: int) -> bytes:
    """A response with one TXT record of one string per value, all under the same dotted name.

    The bytes are those of simple-dns: the name stands in full in the first record, every later one
    points to it. `PacketDnsError` for a value of more than 255 bytes or a name that is no name.
    """
    owner = _wire_name(_labels(_utf8(name)))
    pointer = (_POINTER << 8 | _HEADER_LENGTH).to_bytes(2, "big")
    head = TYPE_TXT.to_bytes(2, "big") + _CLASS_IN.to_bytes(2, "big") + ttl.to_bytes(4, "big")
    records: list[bytes] = []
    for value in values:
        data = _utf8(value)
        if len(data) > _MAX_STRING:
            raise PacketDnsError(f"a TXT value of {len(data)} bytes, {_MAX_STRING} are allowed")
        rdata = bytes((len(data),)) + data
        records.append(
            (pointer if records else owner) + head + len(rdata).to_bytes(2, "big") + rdata
        )
    if len(records) > 0xFFFF:
        raise PacketDnsError("too many TXT values")
    counts = (0, _FLAG_RESPONSE, 0, len(records), 0, 0)
    return b"".join((*(n.to_bytes(2, "big") for n in counts), *records))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise PacketDnsError("a name or TXT value is not valid Unicode") from error


def _labels(name: bytes) -> list[bytes]:
    labels = [label for label in name.split(b".") if label]
    if any(len(label) > _MAX_LABEL for label in labels):
        raise PacketDnsError(f"a label of {name!r} is longer than {_MAX_LABEL} bytes")
    if sum(1 + len(label) for label in labels) >= _MAX_NAME:
        raise PacketDnsError(f"the name {name!r} is too long")
    return labels
