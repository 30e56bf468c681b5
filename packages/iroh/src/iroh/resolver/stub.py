"""The stub resolver: names to records by asking nameservers that do the recursion.

    lookup      localhost -> hosts file -> cache -> each name of the search list -> nameservers
    nameservers raced, best first, 100 ms apart, at most three at once; the first that answers (also
                NXDOMAIN or nothing of this type) decides; SERVFAIL, REFUSED and silence do not
    fallback    a second set of nameservers, asked when all of the first have failed

Facts of n0-dns-resolver 0.1.0, which is in Rust iroh since 1.2: public resolvers stand behind the
system's (`FallbackMode::Deferred`), no negative answer is cached.
"""

import enum
import logging
import math
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from .cache import DnsCache
from .clock import Clock
from .errors import DnsError, InvalidResponseError, NxDomainError, ResolveError
from .nameserver import PUBLIC_NAMESERVERS, Nameserver
from .records import MAX_CNAME_DEPTH, Answer, RecordType, TxtRecord
from .stagger import hedge
from .system import SystemConfig, read_system_config, search_names
from .transport import exchange

__all__ = ["FallbackMode", "StubResolver"]

logger: logging.Logger = logging.getLogger(__name__)

QUERY_ATTEMPT_DELAY = 0.1
"""Seconds between two nameservers; upstream n0-dns-resolver `QUERY_ATTEMPT_DELAY`."""

MAX_CONCURRENT_QUERIES = 3
"""Upstream n0-dns-resolver `MAX_CONCURRENT_QUERIES`."""


class FallbackMode(enum.Enum):
    """When the fallback nameservers are asked; upstream iroh-dns `FallbackMode`."""

    NEVER = "never"
    EAGER = "eager"
    """Raced with the others from the start."""
    IF_SYSTEM_EMPTY = "if_system_empty"
    """Only when the system names no nameserver."""
    DEFERRED = "deferred"
    """Only when all others have failed."""


class StubResolver:
    """A `Resolver` over given nameservers, or over those of the system.

    The configuration of the system is read at the first lookup, so making one does no I/O.
    """

    def __init__(
        self,
        nameservers: Iterable[str | Nameserver] | None = None,
        *,
        fallback: FallbackMode | None = None,
        fallback_nameservers: Iterable[str | Nameserver] = PUBLIC_NAMESERVERS,
        clock: Clock,
        cache: DnsCache | None = None,
        with_system: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        system: Callable[[], SystemConfig] = read_system_config,
    ) -> None:
        self._given = None if nameservers is None else tuple(map(Nameserver.parse, nameservers))
        if fallback is None:  # who names nameservers means these and no others
            fallback = FallbackMode.DEFERRED if nameservers is None else FallbackMode.NEVER
        self._with_system = with_system
        self._fallback = fallback
        self._fallback_nameservers = tuple(map(Nameserver.parse, fallback_nameservers))
        self._clock = clock
        self._cache = DnsCache(clock.monotonic) if cache is None else cache
        self._ssl_context = ssl_context
        self._system = system
        self._config: SystemConfig | None = None
        self._ranking = Ranking(clock.monotonic)

    async def lookup_ipv4(self, host: str) -> list[str]:
        """The A records of a host; empty if it has none. Raises `DnsError`."""
        return await self._lookup_address(host, RecordType.A)

    async def lookup_ipv6(self, host: str) -> list[str]:
        """The AAAA records of a host; empty if it has none. Raises `DnsError`."""
        return await self._lookup_address(host, RecordType.AAAA)

    async def lookup_txt(self, host: str) -> list[TxtRecord]:
        """The TXT records of a host; empty if it has none. Raises `DnsError`."""
        return await self._lookup(host, RecordType.TXT)

    def clear_cache(self) -> None:
        """Forget all answers."""
        self._cache.clear()

    def reset(self) -> "StubResolver":
        """A resolver that reads the system's configuration anew; the cache goes with it."""
        return StubResolver(
            self._given,
            fallback=self._fallback,
            fallback_nameservers=self._fallback_nameservers,
            clock=self._clock,
            cache=self._cache,
            with_system=self._with_system,
            ssl_context=self._ssl_context,
            system=self._system,
        )

    def tiers(self) -> list[tuple[Nameserver, ...]]:
        """The nameservers, in sets that are asked one after the other."""
        primary = self._configuration().nameservers
        match self._fallback:
            case FallbackMode.EAGER:
                return [primary + self._fallback_nameservers]
            case FallbackMode.IF_SYSTEM_EMPTY if not primary:
                return [self._fallback_nameservers]
            case FallbackMode.DEFERRED:
                return [primary, self._fallback_nameservers]
        return [primary]

    def _configuration(self) -> SystemConfig:
        if self._config is None:
            if self._given is None:
                self._config = self._system()
            else:
                system = self._system() if self._with_system else SystemConfig()
                self._config = replace(system, nameservers=self._given + system.nameservers)
        return self._config

    async def _lookup_address(self, host: str, kind: RecordType) -> list[str]:
        ipv6 = kind is RecordType.AAAA
        if host.removesuffix(".").lower().rpartition(".")[2] == "localhost":
            return ["::1" if ipv6 else "127.0.0.1"]  # RFC 6761 section 6.3
        config = self._configuration()
        for name in search_names(host, config):
            if addresses := config.hosts_addresses(name, ipv6=ipv6):
                return addresses
        return await self._lookup(host, kind)

    async def _lookup(self, host: str, kind: RecordType) -> list[Any]:
        if (cached := self._cache.get(host, kind)) is not None:
            return list(cached)
        first: Answer | None = None
        failure: DnsError | None = None
        for name in search_names(host, self._configuration()):
            try:
                answer = await self._follow(name, kind)
            except DnsError as error:
                logger.debug("%s %s: %s", name, kind.name, error)
                failure = error
                continue
            if answer.records:
                self._cache.put(host, kind, answer.records, answer.ttl)
                return list(answer.records)
            first = first or answer
        if first is None:
            assert failure is not None  # there is always a name to try
            raise failure
        if not first.exists:
            raise NxDomainError
        return []

    async def _follow(self, name: str, kind: RecordType) -> Answer:
        """Ask, and ask again for as long as the answer is only another name."""
        for _ in range(MAX_CNAME_DEPTH):
            answer = await self._ask(name, kind)
            if answer.next_name is None:
                return answer
            name = answer.next_name
        raise InvalidResponseError

    async def _ask(self, name: str, kind: RecordType) -> Answer:
        failure: DnsError = ResolveError("no nameservers configured to query")
        for tier in self.tiers():
            if not tier:
                continue
            attempts = [self._attempt(server, name, kind) for server in self._ranking.order(tier)]
            try:
                return await hedge(
                    attempts, QUERY_ATTEMPT_DELAY, clock=self._clock, limit=MAX_CONCURRENT_QUERIES
                )
            except DnsError as error:
                failure = error
        raise failure

    def _attempt(
        self, nameserver: Nameserver, name: str, kind: RecordType
    ) -> Callable[[], Awaitable[Answer]]:
        async def attempt() -> Answer:
            start = self._clock.monotonic()
            try:
                answer = await exchange(
                    nameserver, name, kind, clock=self._clock, ssl_context=self._ssl_context
                )
            except DnsError:
                self._ranking.failed(nameserver)
                raise
            self._ranking.answered(nameserver, self._clock.monotonic() - start)
            return answer

        return attempt


class Ranking:
    """Orders nameservers by how fast they were lately; what was learned fades.

    Constants: upstream n0-dns-resolver `rtt_map.rs` (`SRTT_*`), in seconds.
    """

    ALPHA = 0.3
    BASELINE = 0.05
    FAILURE_PENALTY = 0.15
    MAX = 5.0
    DECAY = 180.0

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: dict[Nameserver, tuple[float, float]] = {}  # score, when

    def order(self, nameservers: Sequence[Nameserver]) -> list[Nameserver]:
        """The fastest first; in the given order where nothing is known."""
        return sorted(nameservers, key=self.score)

    def score(self, nameserver: Nameserver) -> float:
        """The smoothed seconds to an answer, drawn towards the baseline as time goes by."""
        score, when = self._seen.get(nameserver, (self.BASELINE, 0.0))
        fading = math.exp((when - self._monotonic()) / self.DECAY)
        return self.BASELINE + (score - self.BASELINE) * fading

    def answered(self, nameserver: Nameserver, elapsed: float) -> None:
        """Note an answer after `elapsed` seconds."""
        score = self.score(nameserver)
        self._note(nameserver, score + (elapsed - score) * self.ALPHA)

    def failed(self, nameserver: Nameserver) -> None:
        """Note that a nameserver gave no usable answer."""
        self._note(nameserver, self.score(nameserver) + self.FAILURE_PENALTY)

    def _note(self, nameserver: Nameserver, score: float) -> None:
        self._seen[nameserver] = (min(score, self.MAX), self._monotonic())
