"""From the bytes of a request to the bytes of its answer, for every transport.

    request -> given before? -> parse -> authority -> the key's zone: in memory?
                                                                         else from the store

Everything is synchronous, except for a zone that must be read from a store across the network. An
answer given before is used again only as long as the zone it was made from is the newest
(`Zone.alive`), so a new packet is visible to the very next query.
"""

import logging
from typing import NamedTuple

from iroh_dns_server.dns.authority import Authority, KeyQuestion
from iroh_dns_server.dns.wire import (
    FORMERR,
    NOERROR,
    NXDOMAIN,
    SERVFAIL,
    Answer,
    BadQueryError,
    IgnoredQueryError,
    Query,
    parse_query,
    render,
    render_error,
)
from iroh_dns_server.dns.zone import Zone
from iroh_dns_server.dns.zones import ZoneCache
from iroh_dns_server.errors import DhtUnavailableError, DnsServerError, StoreError
from iroh_dns_server.metrics import Metrics

__all__ = ["DnsService", "Pending"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_REMEMBERED = 4096
"""Answers kept by their request's bytes: over UDP at most about 6 MB, else what a packet has."""
MAX_REMEMBERED_REQUEST = 300
"""Bytes of a request worth remembering: a name of full length with EDNS and a small option."""


class Pending(NamedTuple):
    """A request that needs a zone from the store; give it to `DnsService.finish`."""

    request: bytes
    query: Query
    question: KeyQuestion
    udp: bool
    https: bool


class _Remembered(NamedTuple):
    zone: Zone
    reply: bytes
    outcome: str


class DnsService:
    """Answers DNS requests. Holds no socket."""

    def __init__(self, authority: Authority, zones: ZoneCache, metrics: Metrics) -> None:
        self._authority = authority
        self._zones = zones
        self._metrics = metrics
        self._remembered: dict[bytes, _Remembered] = {}
        self._remembered_whole: dict[bytes, _Remembered] = {}
        """Those over TCP and HTTPS, which are never cut."""

    def set_authority(self, authority: Authority) -> None:
        """Answer by these origins and records from now on."""
        self._authority = authority
        self._remembered.clear()
        self._remembered_whole.clear()

    def respond(self, request: bytes, *, udp: bool, https: bool = False) -> bytes | Pending | None:
        """The answer, or None if the request deserves none, or `Pending`. Never raises."""
        known = (self._remembered if udp else self._remembered_whole).get(request[2:])
        if known is not None and known.zone.alive:
            self._count(known.outcome, udp, https)
            return request[:2] + known.reply
        try:
            query = parse_query(request)
        except IgnoredQueryError:
            self._metrics.dns_dropped += 1
            return None
        except BadQueryError as error:
            if error.rcode == FORMERR:
                self._metrics.dns_malformed += 1
            self._count("dns_lookup_error", udp, https)
            return render_error(error)
        decision = self._authority.decide(query)
        if isinstance(decision, Answer):
            return self._render(query, decision, udp, https)
        zone = self._zones.peek(decision.public_key)
        pending = Pending(request, query, decision, udp, https)
        if zone is None and (store := self._zones.local) is not None:
            try:
                zone = self._zones.read(store, decision.public_key)
            except StoreError as error:
                return self._failed(pending, error)
            return self._from_zone(pending, zone)
        return pending if zone is None else self._from_zone(pending, zone)

    async def finish(self, pending: Pending) -> bytes:
        """The answer to a request that needed the store; SERVFAIL if the store or the DHT fails."""
        try:
            zone = await self._zones.load(pending.question.public_key)
        except (StoreError, DhtUnavailableError) as error:
            return self._failed(pending, error)
        return self._from_zone(pending, zone)

    def _failed(self, pending: Pending, error: DnsServerError) -> bytes:
        logger.debug("a DNS lookup failed: %s", error)  # the store tells the operator
        self._metrics.store_errors += isinstance(error, StoreError)
        failure = Answer(SERVFAIL, authoritative=False)
        return self._render(pending.query, failure, pending.udp, pending.https)

    def _from_zone(self, pending: Pending, zone: Zone | None) -> bytes:
        answer = self._authority.from_zone(pending.query, pending.question, zone)
        reply = self._render(pending.query, answer, pending.udp, pending.https)
        if zone is not None and len(pending.request) <= MAX_REMEMBERED_REQUEST:
            remembered = self._remembered if pending.udp else self._remembered_whole
            while len(remembered) >= MAX_REMEMBERED:
                del remembered[next(iter(remembered))]
            kept = _Remembered(zone, reply[2:], _outcome(answer))
            remembered[pending.request[2:]] = kept
        return reply

    def _render(self, query: Query, answer: Answer, udp: bool, https: bool) -> bytes:
        reply, truncated = render(query, answer, udp=udp)
        if truncated:
            self._metrics.dns_truncated += 1
        self._count(_outcome(answer), udp, https)
        return reply

    def _count(self, outcome: str, udp: bool, https: bool = False) -> None:
        metrics = self._metrics
        metrics.dns_requests += 1
        if udp:
            metrics.dns_requests_udp += 1
        elif https:
            metrics.dns_requests_https += 1
        else:
            metrics.dns_requests_tcp += 1
        setattr(metrics, outcome, getattr(metrics, outcome) + 1)


def _outcome(answer: Answer) -> str:
    """The counter an answer belongs to, as upstream sorts them."""
    if answer.rcode == NOERROR and answer.answers:
        return "dns_lookup_success"
    if answer.rcode in (NOERROR, NXDOMAIN):
        return "dns_lookup_notfound"
    return "dns_lookup_error"
