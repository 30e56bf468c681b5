"""What this server is responsible for: its origins, their own records, and which names are keys.

    _iroh . <z32 key> . <origin>        the packet of the key, name `_iroh`
            <z32 key> . <origin>        the packet of the key, its apex
                        <origin>        SOA, NS, A, AAAA from the configuration
    anything else below an origin       does not exist
    anything else                       REFUSED

The longest origin that fits decides. Differences from the Rust server, which roots one static zone
at "." and names the first origin's SOA for everything, are listed in the README.
"""

from typing import NamedTuple

from iroh_base.encoding import z32_decode
from iroh_dns_server.config import DnsConfig
from iroh_dns_server.dns.names import origin_names, origin_soa, server_name
from iroh_dns_server.dns.wire import (
    ANY,
    CLASS_ANY,
    CLASS_IN,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    REFUSED,
    SOA,
    Answer,
    Authorities,
    Query,
    owned_by_question,
    record,
)
from iroh_dns_server.dns.zone import Zone

__all__ = ["Authority", "KeyQuestion"]

A, NS, AAAA, IXFR, AXFR = 1, 2, 28, 251, 252
TKEY, LAST_UNSUPPORTED = 249, 254
"""TKEY, TSIG, IXFR, AXFR, MAILB and MAILA: questions this server has no answer to."""
Z32_KEY_LENGTH = 52
"""Letters of 32 bytes in z-base-32."""
# Upstream: DEFAULT_SOA_TTL, DEFAULT_NS_TTL and DEFAULT_A_TTL in iroh-dns-server/src/dns.rs.
SOA_TTL = 14 * 24 * 3600
NS_TTL = 12 * 3600
ADDRESS_TTL = 3600


class KeyQuestion(NamedTuple):
    """A question about a key's zone: which key, and the name below it."""

    public_key: bytes
    name: tuple[bytes, ...]
    origin: "_Origin"


class _Origin(NamedTuple):
    labels: tuple[bytes, ...]
    records: dict[int, Answer]
    inner: frozenset[tuple[bytes, ...]]
    """Names between this origin and another one below it: they exist and hold nothing."""


class Authority:
    """Decides each question without I/O, or names the zone that does. Raises `ConfigError`."""

    def __init__(self, config: DnsConfig) -> None:
        names = origin_names(config.origins)
        records, self._negative_soa = _static_records(config)
        all_labels = {tuple(label.lower() for label in name.labels[:-1]) for name in names}
        self._origins = [
            _Origin(labels, records, _between(labels, all_labels))
            for labels in sorted(all_labels, key=len, reverse=True)
        ]

    def decide(self, query: Query) -> Answer | KeyQuestion:
        """The answer, or the key whose zone has it."""
        if query.opcode:
            return Answer(NOTIMP, authoritative=False)
        if query.rdclass not in (CLASS_IN, CLASS_ANY):
            return Answer(REFUSED, authoritative=False)
        if TKEY <= query.rdtype <= LAST_UNSUPPORTED:
            rcode = REFUSED if query.rdtype in (AXFR, IXFR) else NOTIMP
            return Answer(rcode, authoritative=False)
        for origin in self._origins:
            depth = len(origin.labels)
            if query.labels[len(query.labels) - depth :] == origin.labels:
                return self._inside(query, origin, query.labels[: len(query.labels) - depth])
        return Answer(REFUSED, authoritative=False)

    def from_zone(self, query: Query, question: KeyQuestion, zone: Zone | None) -> Answer:
        """The answer to a key question, given the key's zone or None if it has no packet."""
        answer = Answer(NXDOMAIN) if zone is None else zone.lookup(question.name, query.rdtype)
        return answer if answer.answers else self._negative(query, question.origin, answer.rcode)

    def _inside(
        self, query: Query, origin: _Origin, below: tuple[bytes, ...]
    ) -> Answer | KeyQuestion:
        """Decide a question for a name in `origin`; `below` are the labels left of it."""
        if not below:
            return self._apex(query, origin)
        public_key = _key_of(below[-1])
        if public_key is not None:
            return KeyQuestion(public_key, below[:-1], origin)
        exists = below in origin.inner
        return self._negative(query, origin, NOERROR if exists else NXDOMAIN)

    def _apex(self, query: Query, origin: _Origin) -> Answer:
        """The origin's own records; ANY gets one record set, addresses first (RFC 8482)."""
        wanted = (A, AAAA, NS, SOA) if query.rdtype == ANY else (query.rdtype,)
        for rdtype in wanted:
            if rdtype in origin.records:
                return origin.records[rdtype]
        return self._negative(query, origin, NOERROR)

    def _negative(self, query: Query, origin: _Origin, rcode: int) -> Answer:
        """NODATA or NXDOMAIN with the SOA of the origin that says so (RFC 2308)."""
        above = len(query.labels) - len(origin.labels)
        return Answer(rcode, authority=Authorities(above, self._negative_soa))


def _static_records(config: DnsConfig) -> tuple[dict[int, Answer], bytes]:
    """The record sets of every origin's apex, and the SOA record of negative answers.

    A resolver remembers a negative answer for the TTL of that SOA, which is the smaller one of its
    own TTL and its last field (RFC 2308 section 3).
    """
    soa = origin_soa(config.default_soa)
    data: dict[int, tuple[int, bytes]] = {SOA: (SOA_TTL, soa)}
    if config.rr_a is not None:
        data[A] = (ADDRESS_TTL, config.rr_a.packed)
    if config.rr_aaaa is not None:
        data[AAAA] = (ADDRESS_TTL, config.rr_aaaa.packed)
    if config.rr_ns is not None:
        data[NS] = (NS_TTL, server_name(config.rr_ns).to_wire() or b"")
    records = {
        rdtype: Answer(NOERROR, 1, owned_by_question(record(rdtype, ttl, rdata)))
        for rdtype, (ttl, rdata) in data.items()
    }
    minimum = int.from_bytes(soa[-4:])
    return records, record(SOA, min(SOA_TTL, minimum), soa)


def _between(
    origin: tuple[bytes, ...], others: set[tuple[bytes, ...]]
) -> frozenset[tuple[bytes, ...]]:
    """The relative names strictly between `origin` and every other origin below it."""
    names: set[tuple[bytes, ...]] = set()
    depth = len(origin)
    for other in others:
        if len(other) > depth and other[len(other) - depth :] == origin:
            below = other[: len(other) - depth]
            names.update(below[start:] for start in range(1, len(below)))
    return frozenset(names)


def _key_of(label: bytes) -> bytes | None:
    """The key a label spells, or None. Whether it is a point of the curve does not matter here:
    the store holds packets only for keys that are."""
    if len(label) != Z32_KEY_LENGTH:
        return None
    try:
        return z32_decode(label.decode("latin-1"))
    except ValueError:
        return None
