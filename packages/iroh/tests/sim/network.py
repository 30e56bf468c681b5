"""Addresses, links and NATs: which datagram reaches whom, when, and from which address it seems.

A host has several addresses. Any hashable is one: (ip, port), or something opaque that stands for
"host B through relay R". Which of them a datagram leaves from is its `Datagrams.local`, or, when
the engine leaves the choice to the system, the first address of the same kind as the destination.

A fan-out address stands for several: what goes there goes to each of them, as iroh's mixed mapped
address does while it dials.
"""

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from iroh.quic.datagrams import Address, Datagrams

from .link import Conditions, Link
from .nat import Nat, UdpAddress

MAX_GRO = 64  # segments that one Datagrams carries at most; Linux' UDP_GRO_CNT_MAX
TRACE_LENGTH = 200


class InFlight(NamedTuple):
    """A datagram on its way. `source`: as the receiver sees it; `local`: the receiver's address."""

    at: float
    order: int
    host: str
    source: Address
    local: Address
    data: bytes
    ecn: int
    is_intact: bool


def kind_of(address: Address) -> object:
    """Tell IPv4, IPv6 and the others apart; only addresses of one kind reach each other."""
    if isinstance(address, tuple) and len(address) == 2 and isinstance(address[1], int):
        return "ipv6" if ":" in str(address[0]) else "ipv4"
    return address[0] if isinstance(address, tuple) else type(address)


class Network:
    """Carries datagrams between hosts. `conditions`: of every link that got none of its own."""

    def __init__(self, rng: random.Random, conditions: Conditions, quantum: float) -> None:
        self.conditions = conditions
        self.unreachable: Counter[str] = Counter()
        """Datagrams that had no way: reason -> number."""
        self.heard: dict[str, float] = {}
        """Host -> when it last got a datagram of a connection, neither corrupt nor a copy."""
        self.trace: deque[tuple[float, Address, Address, int, str]] = deque(maxlen=TRACE_LENGTH)
        self.sent = self.digest = 0
        self._rng = rng
        self._quantum = quantum
        self._order = itertools.count()
        self._queue: list[InFlight] = []
        self._links: dict[tuple[Address, Address], Link] = {}
        self._addresses: dict[str, list[Address]] = {}
        self._owner: dict[Address, str] = {}
        self._nats: dict[Address, Nat] = {}
        self._nat_ips: dict[str, Nat] = {}
        self._fans: dict[Address, Sequence[Address]] = {}

    # -- what there is -------------------------------------------------------------------------

    def attach(self, host: str, addresses: Iterable[Address]) -> None:
        """Give a host (more) addresses."""
        for address in addresses:
            assert address not in self._owner, f"{address} is taken"
            self._owner[address] = host
            self._addresses.setdefault(host, []).append(address)

    def nat(self, private: UdpAddress, public_ip: str, **kind: bool) -> Nat:
        """Put a NAT in front of an address."""
        nat = self._nats[private] = self._nat_ips[public_ip] = Nat(private, public_ip, **kind)
        return nat

    def fan_out(self, address: Address, to: Sequence[Address]) -> None:
        """Let `address` stand for several."""
        self._fans[address] = to

    def link(self, source: Address, destination: Address) -> Link:
        """Give one direction between two addresses of hosts (private ones, behind a NAT)."""
        link = self._links.get((source, destination))
        if link is None:
            link = self._links[source, destination] = Link(self.conditions, self._rng)
        return link

    def both(self, one: Address, other: Address) -> tuple[Link, Link]:
        """Give both directions between two addresses."""
        return self.link(one, other), self.link(other, one)

    def between(self, source: str, destination: str) -> list[Link]:
        """Give every link from one host to another."""
        return [
            self.link(one, other)
            for one in self._addresses[source]
            for other in self._addresses[destination]
            if kind_of(one) == kind_of(other)
        ]

    def fates(self) -> Counter[str]:
        """Add up what happened on all links."""
        return sum((link.fates for link in self._links.values()), Counter(self.unreachable))

    # -- datagrams -----------------------------------------------------------------------------

    def send(self, host: str, batch: Datagrams, now: float, of_connection: bool = True) -> None:
        """Put the datagrams of a host on their way."""
        for destination in self._fans.get(batch.remote, (batch.remote,)):
            source = self._source(host, batch.local, destination)
            if source is None:
                self.unreachable["no source address"] += len(batch)
                continue
            for data in batch:
                self._put(source, destination, data, batch.ecn, now, of_connection)

    def put(self, source: Address, destination: Address, data: bytes, now: float) -> None:
        """Put one datagram of anybody on its way: what an attacker or a stranger sends."""
        self._put(source, destination, data, 0, now, False)

    def next_arrival(self) -> float | None:
        """Say when the next datagram arrives."""
        return self._queue[0].at if self._queue else None

    def arrived(self, now: float) -> dict[str, list[Datagrams]]:
        """Take what has arrived by now: host -> batches, runs of one sender joined as by GRO."""
        flights: dict[str, list[InFlight]] = {}
        while self._queue and self._queue[0].at <= now:
            flight = heapq.heappop(self._queue)
            flights.setdefault(flight.host, []).append(flight)
            if flight.is_intact:
                self.heard[flight.host] = now
        return {host: coalesce(taken) for host, taken in flights.items()}

    def drop_in_flight(self, host: str) -> int:
        """Lose everything that is on its way to a host; say how many datagrams."""
        kept = [flight for flight in self._queue if flight.host != host]
        dropped = len(self._queue) - len(kept)
        heapq.heapify(kept)
        self._queue = kept
        return dropped

    def _source(self, host: str, local: Address | None, destination: Address) -> Address | None:
        addresses = self._addresses[host]
        if local is not None:
            return local if local in addresses else None
        kind = kind_of(destination)
        return next((address for address in addresses if kind_of(address) == kind), None)

    def _put(
        self,
        source: Address,
        destination: Address,
        data: bytes,
        ecn: int,
        now: float,
        of_connection: bool,
    ) -> None:
        self.sent += 1
        nat = self._nats.get(source)
        shown = nat.outward(destination) if nat is not None else source
        private = self._inside(destination, shown)
        host = self._owner.get(private)
        if host is None:
            self._note(now, shown, destination, data, "unreachable")
            self.unreachable["nobody there"] += 1
            return
        copies = self.link(source, private).carry(data, ecn, now)
        self._note(now, shown, destination, data, str(len(copies)))
        for number, (at, copy, bits) in enumerate(copies):
            if self._quantum:
                at = -(-at // self._quantum) * self._quantum
            intact = copy is data and number == 0 and of_connection
            flight = InFlight(at, next(self._order), host, shown, private, copy, bits, intact)
            heapq.heappush(self._queue, flight)

    def _inside(self, destination: Address, source: Address) -> Address:
        """Give the address behind a public one; the address itself where there is no NAT."""
        if isinstance(destination, tuple) and len(destination) == 2:
            nat = self._nat_ips.get(str(destination[0]))
            if nat is not None:
                return nat.private if nat.inward(destination, source) else None
            if destination in self._nats:
                return None  # a private address cannot be reached from outside
        return destination

    def _note(
        self, now: float, source: Address, destination: Address, data: bytes, fate: str
    ) -> None:
        entry = (now, source, destination, len(data), fate)
        self.trace.append(entry)
        # Not hash(): that of a text differs from process to process.
        self.digest = (self.digest * 1_000_003 + round(now * 1e9) * 31 + len(data)) % (1 << 61)


def coalesce(flights: Sequence[InFlight]) -> list[Datagrams]:
    """Join neighbours from one address that are equally long; the last of a run may be shorter."""
    batches: list[Datagrams] = []
    run: list[bytes] = []
    head: InFlight | None = None
    for flight in flights:
        fits = (
            head is not None
            and (flight.source, flight.local, flight.ecn) == (head.source, head.local, head.ecn)
            and len(flight.data) <= len(run[0]) == len(run[-1])
            and len(run) < MAX_GRO
        )
        if not fits:
            if head is not None:
                batches.append(batch_of(head, run))
            head, run = flight, []
        run.append(flight.data)
    if head is not None:
        batches.append(batch_of(head, run))
    return batches


def batch_of(head: InFlight, run: Sequence[bytes]) -> Datagrams:
    """Make the Datagrams of a run."""
    return Datagrams(head.source, b"".join(run), len(run[0]), head.ecn, head.local)
