"""The internet between simulated hosts.

    host --(its NAT: mapping out)--> the internet --(the other's NAT: mapping and filter in)--> host
    host --(its line)--> relay --(its line)--> host

    async def story():
        async with SimulatedNetwork(seed=1) as net:
            server = await net.endpoint("port-restricted", protocols={ECHO_ALPN: Echo()})
            client = await net.endpoint("symmetric")
            conn = await client.connect(server.id(), ECHO_ALPN)

    run_in_virtual_time(story())

Everything random comes from the seed. In virtual time the same seed is the same run: the same
datagrams of the same sizes at the same moments (their bytes differ: keys of TLS are always new).
"""

import asyncio
import importlib
import random
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self, Unpack

from iroh.endpoint import Endpoint
from iroh.options import EndpointSettings
from iroh.quic.datagrams import Datagrams
from iroh.testing.simulated.host import SimulatedHost
from iroh.testing.simulated.lookup import Directory
from iroh.testing.simulated.nat import Line, Nat, NatKind
from iroh.testing.simulated.relay import SimulatedRelay
from iroh_base import InvalidInputError, PublicKey, SocketAddr
from iroh_relay.server.access import AccessControl
from iroh_relay.server.config import RelayServerConfig

__all__ = ["SimulatedNetwork"]

LAN_DELAY = 0.0005
"""Seconds between two hosts behind the same NAT."""
MAX_NETWORKS = 254
_LATE = ("iroh.quic.engine", "iroh.net_report.reporter", "iroh_relay.client")
"""What endpoints import when they first need it: not while virtual time goes on."""


class SimulatedNetwork:
    """An async context manager; at its end the endpoints that `endpoint` made are closed.

    seed: of all that is random. relays: how many there are at the start. Two tell an endpoint
    whether its NAT is symmetric, as in the real world, and one does not.

    relays: all relays. directory: where endpoints publish their relay, and are found by id.
    fates: what became of the datagrams ("arrived", "filtered" by a NAT, "lost" by chance, "down":
    a line was; "nobody": there is no such address). heard: those to nobody, by address.
    """

    def __init__(self, *, seed: int = 0, relays: int = 1) -> None:
        self.seed: int = seed
        self.rng: random.Random = random.Random(seed)
        self.fates: Counter[str] = Counter()
        self.heard: Counter[SocketAddr] = Counter()
        self.relays: list[SimulatedRelay] = []
        self.directory: Directory = Directory(self)
        self._nats: dict[str, Nat] = {}
        self._hosts: dict[str, SimulatedHost] = {}
        self._endpoints: dict[PublicKey, tuple[Endpoint, SimulatedHost]] = {}
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        for _ in range(relays):
            self.add_relay()

    async def __aenter__(self) -> Self:
        for name in _LATE:
            importlib.import_module(name)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            exc.add_note(self.describe())
        ends = (endpoint.close() for endpoint, _host in self._endpoints.values())
        try:  # shielded: what is cancelled before it begins to close stays open
            await asyncio.shield(asyncio.gather(*ends))
        finally:
            await asyncio.shield(asyncio.gather(*(relay.close() for relay in self.relays)))

    def describe(self) -> str:
        """Say in lines what there is and how it goes; exceptions that leave `async with` say it."""
        names = {host: endpoint.id().fmt_short() for endpoint, host in self._endpoints.values()}
        hosts = (
            f"  {names.get(host, 'a host')} {host.ip}, {host.nat.kind} NAT {host.nat.public_ip}, "
            f"{host.line}"
            for host in self._hosts.values()
        )
        fates = ", ".join(f"{count} {fate}" for fate, count in sorted(self.fates.items()))
        seconds = self._loop.time() - self._began
        head = f"the simulated network of seed {self.seed}, after {seconds:.3f} s:"
        return "\n".join((head, *hosts, *map("  {}".format, self.relays), f"  datagrams: {fates}"))

    # -- what is on it -------------------------------------------------------------------------

    @property
    def relay(self) -> SimulatedRelay:
        """The first relay."""
        return self.relays[0]

    def add_relay(
        self,
        url: str | None = None,
        *,
        access: AccessControl | None = None,
        config: RelayServerConfig | None = None,
    ) -> SimulatedRelay:
        """Add a relay; endpoints that are bound from now on know it.

        access, config: as the real server's.
        """
        number = len(self.relays) + 1
        relay = SimulatedRelay(
            url or f"https://relay-{number}.example/",
            SocketAddr(f"198.51.100.{number}", 7842),
            rng=self.rng,
            access=access,
            config=config,
        )
        self.relays.append(relay)
        return relay

    def nat(self, kind: NatKind, *, line: Line | None = None, hairpins: bool = False) -> Nat:
        """Make a network behind one public address, which several hosts may share.

        Raises InvalidInputError for a kind that there is not.
        """
        number = len(self._nats) + 1
        if number > MAX_NETWORKS:
            raise InvalidInputError(f"a simulated internet has {MAX_NETWORKS} networks at most")
        nat = Nat(kind, f"203.0.113.{number}", f"10.0.{number}.", line or Line(), hairpins)
        self._nats[nat.public_ip] = nat
        return nat

    def host(self, behind: Nat | NatKind = "port-restricted") -> SimulatedHost:
        """Make a machine behind a NAT of its own, or behind one that there is.

        It is a preset, for programs that bind their endpoint themselves:
        `Endpoint.bind(net.host("symmetric"))`.
        """
        return SimulatedHost(self, self.to_nat(behind))

    async def endpoint(
        self, behind: Nat | NatKind = "port-restricted", **settings: Unpack[EndpointSettings]
    ) -> Endpoint:
        """Bind an endpoint on a machine of its own; settings as EndpointOptions.

        Raises BindError. Cancelling it releases what was bound.
        """
        host = self.host(behind)
        endpoint = await Endpoint.bind(host, **settings)
        self._endpoints[endpoint.id()] = endpoint, host
        return endpoint

    def host_of(self, endpoint: Endpoint) -> SimulatedHost:
        """Give the machine of an endpoint that `endpoint` made. Raises InvalidInputError."""
        found = self._endpoints.get(endpoint.id())
        if found is None:
            raise InvalidInputError(f"{endpoint!r} was not made by this network")
        return found[1]

    # -- what hosts do -------------------------------------------------------------------------

    def to_nat(self, behind: Nat | NatKind) -> Nat:
        """Give the network that is meant."""
        return behind if isinstance(behind, Nat) else self.nat(behind)

    def join(self, host: SimulatedHost) -> None:
        """Bring what comes for an address to a host."""
        self._hosts[host.ip] = host

    def leave(self, host: SimulatedHost) -> None:
        """The host has another address from now on, or is gone."""
        if self._hosts.get(host.ip) is host:
            del self._hosts[host.ip]

    def relay_at(self, url: str) -> SimulatedRelay | None:
        """Give the relay with a URL."""
        return next((relay for relay in self.relays if str(relay.url) == url), None)

    def send(self, host: SimulatedHost, port: int, batch: Datagrams) -> None:
        """Send from a host's port to an IPv4 address."""
        destination, nat, own = batch.remote, host.nat, SocketAddr(host.ip, port)
        assert isinstance(destination, SocketAddr)
        if nat.is_inside(destination.ip):
            self._arrive_later(LAN_DELAY, own, destination, batch, [])
            return
        source = nat.outward(own, destination)
        target = self._nats.get(destination.ip)
        if target is None:
            self.fates["nobody"] += len(batch)
            self.heard[destination] += len(batch)
            return
        inner = target.inward(destination.port, source)
        lines = [nat.line, target.line]
        if target is nat:
            lines, inner = [], inner if nat.hairpins else None
        if not all(line.is_up and line.passes_udp for line in lines):
            self.fates["down"] += len(batch)
        elif inner is None:
            self.fates["filtered"] += len(batch)
        else:
            delay = sum(line.delay for line in lines) or LAN_DELAY
            self._arrive_later(delay, source, inner, batch, lines)

    def _arrive_later(
        self,
        delay: float,
        source: SocketAddr,
        target: SocketAddr,
        batch: Datagrams,
        lines: Sequence[Line],
    ) -> None:
        data = self._survivors(batch, lines)
        if data:
            copy = Datagrams(source, data, batch.segment_size, batch.ecn)
            self._loop.call_later(delay, self._arrive, target, copy)

    def _survivors(self, batch: Datagrams, lines: Sequence[Line]) -> bytes:
        """Give those that chance spares; they are still of one size, but for the last."""
        losses = [line.loss for line in lines if line.loss > 0]
        if not losses:
            return batch.data
        left = [data for data in batch if all(self.rng.random() >= loss for loss in losses)]
        self.fates["lost"] += len(batch) - len(left)
        return b"".join(left)

    def _arrive(self, target: SocketAddr, batch: Datagrams) -> None:
        host = self._hosts.get(target.ip)
        arrived = host is not None and host.receive(target.port, batch)
        self.fates["arrived" if arrived else "nobody"] += len(batch)
