"""One signed packet as a DNS zone: what its records say about the names below the key.

A packet is a DNS message whose answers are owned by `<name>.<z32 of the key>`. The zone drops that
last label; the authority puts an origin in its place. Left out, as upstream does (util.rs): owners
that do not end in the key, and SOA and NS records, which would let a key speak for the tree above
it. Also left out: classes other than IN, meta types (OPT, and 128 to 255), and records whose data
dnspython refuses.
"""

import dns.exception
import dns.rdata
import dns.rdtypes.ANY.CNAME  # the usual decoders: loaded now instead of at the first lookup
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.wire

from iroh_dns_server.dns.wire import (
    ANY,
    CLASS_IN,
    CNAME,
    NOERROR,
    NXDOMAIN,
    OPT,
    SOA,
    Answer,
    owned_by_question,
    record,
)

__all__ = ["Zone"]

NS = 2
"""RFC 1035 section 3.2.2."""
FIRST_META_TYPE, LAST_META_TYPE = 128, 255
"""Query and meta types, RFC 6895 section 3.1."""
MAX_TTL = 2**31 - 1
"""RFC 2181 section 8; a larger value counts as 0."""
_POINTER, _POINTER_REACH = 0xC000, 0x4000
"""A compressed name, RFC 1035 section 4.1.4, and how far it points."""
_TXT = 16
OVERHEAD = 600
"""Rough bytes of Python objects per zone, for the cache's budget."""

RecordSets = dict[int, Answer]


class Zone:
    """The records of one packet, ready to be sent.

    `alive` turns False when the packet is no longer the newest one: answers made from it must not
    be used again.
    """

    __slots__ = ("_nodes", "alive", "cost")

    def __init__(self, nodes: dict[tuple[bytes, ...], RecordSets]) -> None:
        self._nodes = nodes
        self._nodes.setdefault((), {})  # the key itself exists when its packet does
        self.alive: bool = True
        self.cost: int = OVERHEAD + sum(
            200
            + sum(50 + len(label) for label in name)
            + sum(len(a.records) for a in sets.values())
            for name, sets in nodes.items()
        )

    @classmethod
    def from_packet(cls, z32: str, message: bytes) -> "Zone":
        """Decode the DNS message of a packet; never raises: what cannot be read is left out."""
        suffix = z32.encode()
        found: dict[tuple[tuple[bytes, ...], int], dict[bytes, int]] = {}
        for owner, rdtype, ttl, rdata in _answers(message):
            if owner and owner[-1] == suffix:
                # The same data again counts once, with the later TTL (RFC 2181 section 5).
                found.setdefault((owner[:-1], rdtype), {})[rdata] = ttl
        nodes: dict[tuple[bytes, ...], RecordSets] = {}
        for (name, rdtype), members in found.items():
            records = b"".join(
                owned_by_question(record(rdtype, ttl, rdata)) for rdata, ttl in members.items()
            )
            nodes.setdefault(name, {})[rdtype] = Answer(NOERROR, len(members), records)
        return cls(nodes)

    def lookup(self, name: tuple[bytes, ...], rdtype: int) -> Answer:
        """Answer for a name relative to the key, in lower case.

        NOERROR with no record is NODATA: the name exists, the type does not. The SOA of a negative
        answer is added by the authority.
        """
        sets = self._nodes.get(name)
        if sets is None:
            depth = len(name)
            above = any(node[-depth:] == name for node in self._nodes if len(node) > depth)
            return _NODATA if above else _NXDOMAIN  # RFC 8020: a name above others exists
        answer = sets.get(rdtype)
        if answer is not None:
            return answer
        if rdtype == ANY and sets:
            return next(iter(sets.values()))  # one record set is enough, RFC 8482 section 4.1
        return sets.get(CNAME, _NODATA)


_NODATA = Answer(NOERROR)
_NXDOMAIN = Answer(NXDOMAIN)


def _answers(message: bytes) -> list[tuple[tuple[bytes, ...], int, int, bytes]]:
    """The usable records of the answer section: lower-case owner labels, type, TTL, data.

    Data is re-encoded by dnspython, which resolves compressed names inside it.
    """
    usable: list[tuple[tuple[bytes, ...], int, int, bytes]] = []
    try:
        parser = dns.wire.Parser(message)
        _, _, questions, answers, _, _ = parser.get_struct("!HHHHHH")
        for _ in range(questions):
            parser.get_name(decompress=True)
            parser.get_bytes(4)
        owners: dict[bytes, tuple[bytes, ...]] = {}
        for _ in range(answers):
            owner = _owner(parser, message, owners)
            rdtype, rdclass, ttl, length = parser.get_struct("!HHIH")
            after = parser.current + length
            if rdclass == CLASS_IN and not _left_out(rdtype):
                rdata = _reencode(parser, rdtype, length)
                if rdata is not None:
                    usable.append((owner, rdtype, ttl if ttl <= MAX_TTL else 0, rdata))
            parser.seek(after)
    except dns.exception.DNSException:
        pass  # what was read before the damage stands
    return usable


def _owner(
    parser: dns.wire.Parser, message: bytes, known: dict[bytes, tuple[bytes, ...]]
) -> tuple[bytes, ...]:
    """The labels of a record's owner, lower case; pointers met before are not followed again."""
    start = parser.current
    pointer = message[start : start + 2]
    found = known.get(pointer)
    if found is not None:
        parser.seek(start + 2)
        return found
    name = parser.get_name(decompress=True)
    labels = tuple([label.lower() for label in name.labels[:-1]])
    if parser.current == start + 2 and pointer >= b"\xc0":
        known[pointer] = labels
    elif start < _POINTER_REACH:
        known[(_POINTER | start).to_bytes(2)] = labels
    return labels


def _whole_strings(data: bytes) -> bool:
    """Whether data is one or more character-strings (RFC 1035 section 3.3.14), and no byte more."""
    position = 0
    while position < len(data):
        position += 1 + data[position]
    return position == len(data) > 0


def _reencode(parser: dns.wire.Parser, rdtype: int, length: int) -> bytes | None:
    """Data of one record with every name in it written out, or None if it is malformed."""
    if rdtype == _TXT:  # by far the most usual, and the bytes are already what they shall be
        data = parser.get_bytes(length)
        return data if _whole_strings(data) else None
    try:
        with parser.restrict_to(length):
            return dns.rdata.from_wire_parser(CLASS_IN, rdtype, parser).to_wire()  # type: ignore[arg-type]
    except (dns.exception.DNSException, ValueError):
        return None


def _left_out(rdtype: int) -> bool:
    return rdtype in (0, NS, SOA, OPT) or FIRST_META_TYPE <= rdtype <= LAST_META_TYPE
