"""The addresses known of one remote: where they came from, and what became of them.

    UNKNOWN    never tried, or being tried
    OPEN       some connection has an open path to it
    INACTIVE   had one that is closed now
    UNUSABLE   a path to it was tried and never came up

    state \\ what   opened   abandoned
    UNKNOWN         OPEN     UNUSABLE
    OPEN            OPEN     INACTIVE
    INACTIVE        OPEN     INACTIVE
    UNUSABLE        OPEN     UNUSABLE

Abandoned addresses are remembered: the next dial tries them again. With 30 addresses that are no
relays, all unusable ones go (but not the last 30 of all), and of the inactive ones all but the 10
that were closed last (iroh `path_state.rs`; what its comment says, not what its code does).
Upstream lets untried ones grow without bound; here the oldest make room, those of lookups before
the application's, and of relays only so many are kept as anybody may have.
"""

import enum
import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from iroh.metrics import SocketMetrics
from iroh_base import CustomAddr, RelayUrl, SocketAddr, TransportAddr

MAX_ADDRESSES = 30  # iroh MAX_NON_RELAY_PATHS
MAX_INACTIVE = 10  # iroh MAX_INACTIVE_NON_RELAY_PATHS
MAX_RELAYS = 8
"""Relays remembered per remote. An endpoint has one home; each one here costs us a connection."""


class Source(enum.Enum):
    """Where an address came from."""

    APP = "app"
    """Given to connect."""
    LOOKUP = "lookup"
    """Found by an address lookup service."""
    PEER = "peer"
    """A path to it was open."""


class Status(enum.Enum):
    """What became of an address; the table above."""

    UNKNOWN = "unknown"
    OPEN = "open"
    INACTIVE = "inactive"
    UNUSABLE = "unusable"


class Known:
    """One address. sources: when each told it last. since: when the status became what it is."""

    __slots__ = ("since", "sources", "status")

    def __init__(self) -> None:
        self.sources: dict[Source, float] = {}
        self.status: Status = Status.UNKNOWN
        self.since: float = 0.0


class RemoteAddrs:
    """The addresses, in the order they became known."""

    def __init__(self, metrics: SocketMetrics) -> None:
        self._metrics = metrics
        self._known: dict[TransportAddr, Known] = {}

    def __iter__(self) -> Iterator[TransportAddr]:
        return iter(list(self._known))

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, addr: TransportAddr) -> bool:
        return addr in self._known

    def get(self, addr: TransportAddr) -> Known | None:
        """Return what is known of an address."""
        return self._known.get(addr)

    def relays(self) -> list[RelayUrl]:
        """Return the relays."""
        return [addr for addr in self._known if isinstance(addr, RelayUrl)]

    def worth_trying(self) -> list[SocketAddr]:
        """Return IP addresses without a path: those that worked last, then untried ones."""
        found = [
            (known.status is not Status.INACTIVE, -known.since, addr)
            for addr, known in self._known.items()
            if isinstance(addr, SocketAddr) and known.status in (Status.INACTIVE, Status.UNKNOWN)
        ]
        return [addr for *_, addr in sorted(found, key=lambda item: item[:2])]

    def add(self, addrs: Iterable[TransportAddr], source: Source, now: float) -> bool:
        """Learn addresses that nobody has tried. Says whether any is new."""
        before = set(self._known)
        for addr in map(canonical, addrs):
            self._known.setdefault(addr, Known()).sources[source] = now
            self._prune()
        return not before.issuperset(self._known)

    def opened(self, addr: TransportAddr, now: float) -> None:
        """A connection has a path to it."""
        addr = canonical(addr)
        _count(self._metrics, addr, "added")
        known = self._known.setdefault(addr, Known())
        known.status, known.since = Status.OPEN, now
        known.sources[Source.PEER] = now
        self._prune()

    def abandoned(self, addr: TransportAddr, now: float) -> None:
        """No connection has a path to it any more, or the attempt to open one failed."""
        addr = canonical(addr)
        known = self._known.get(addr)
        if known is None:
            return
        if known.status is Status.OPEN:
            _count(self._metrics, addr, "removed")
        was_good = known.status in (Status.OPEN, Status.INACTIVE)
        known.status = Status.INACTIVE if was_good else Status.UNUSABLE
        known.since = now

    def _prune(self) -> None:
        if len(self._known) < MAX_RELAYS:
            return
        others = [addr for addr in self._known if not isinstance(addr, RelayUrl)]
        if len(others) >= MAX_ADDRESSES:
            self._prune_failed(others)
        self._keep([addr for addr in self._known if not isinstance(addr, RelayUrl)], MAX_ADDRESSES)
        self._keep(self.relays(), MAX_RELAYS)

    def _prune_failed(self, others: Sequence[TransportAddr]) -> None:
        failed = [a for a in others if self._known[a].status is Status.UNUSABLE]
        if len(failed) == len(self._known):
            failed = failed[: len(failed) - MAX_ADDRESSES]
        inactive = [a for a in others if self._known[a].status is Status.INACTIVE]
        inactive.sort(key=lambda addr: self._known[addr].since)
        for addr in (*failed, *inactive[:-MAX_INACTIVE]):
            del self._known[addr]

    def _keep(self, addrs: Sequence[TransportAddr], count: int) -> None:
        """Let the oldest make room: what an application gave stays longest, open ones for ever."""
        spare = len(addrs) - count
        if spare <= 0:
            return
        closed = [a for a in addrs if self._known[a].status is not Status.OPEN]
        closed.sort(key=lambda addr: Source.APP in self._known[addr].sources)  # stable
        for addr in closed[:spare]:
            del self._known[addr]


def canonical(address: TransportAddr) -> TransportAddr:
    """Write an IPv4 address in IPv6 clothes (RFC 4291 2.5.5.2) as what it is, as iroh does."""
    if isinstance(address, SocketAddr) and address.ip.startswith("::ffff:"):
        mapped = ipaddress.IPv6Address(address.ip.partition("%")[0]).ipv4_mapped
        if mapped is not None:
            return SocketAddr(str(mapped), address.port)
    return address


def _count(metrics: SocketMetrics, addr: TransportAddr, what: str) -> None:
    if isinstance(addr, RelayUrl):
        kind = "relay"
    elif isinstance(addr, CustomAddr):
        kind = "custom"
    else:
        kind = "ip"
    name = f"transport_{kind}_paths_{what}"
    setattr(metrics, name, getattr(metrics, name) + 1)
