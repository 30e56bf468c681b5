"""A simulated machine, which one endpoint at a time stands on."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from iroh.errors import BindError
from iroh.machine import Machine, UdpSockets
from iroh.netmon import NetworkMonitor
from iroh.netmon.state import IFF_UP, DefaultRoute, Interface, LocalIp, NetworkState
from iroh.quic.datagrams import Datagrams
from iroh.relay_mode import RelayMode
from iroh.testing.simulated.nat import Line, Nat, NatKind
from iroh.testing.simulated.reports import SimulatedProbes
from iroh_base import SocketAddr
from iroh_relay.client import RelayClient
from iroh_relay.client.errors import RelayDialError
from iroh_relay.client.stream import DialRequest, RelayStream
from iroh_relay.relay_map import RelayConfig, RelayMap

if TYPE_CHECKING:
    from iroh.magicsock.binds import Bind
    from iroh.magicsock.host import EngineDriver
    from iroh.metrics import SocketMetrics
    from iroh.options import EndpointBuilder, EndpointConfig
    from iroh.testing.simulated.network import SimulatedNetwork
    from iroh.testing.simulated.relay import SimulatedRelay

__all__ = ["SimulatedHost"]

PORT = 4000
"""What the endpoint's UDP socket gets unless it asks for a port."""
RETRY = 0.2
"""Seconds after which something that nobody answered is sent again."""


class SimulatedHost(Machine):
    """Made by `SimulatedNetwork.host`. As a preset, it binds an endpoint here and nowhere else.

    nat: the network that it is on; `nat.forget()` loses its mappings. line: nat.line.
    """

    has_router = False

    def __init__(self, network: SimulatedNetwork, nat: Nat) -> None:
        self.network = network
        self.nat: Nat = nat
        self.ip: str = nat.new_ip()
        self._rng = random.Random(network.rng.random())
        self._udp: _Udp | None = None
        self._on_event: Callable[[], None] | None = None
        network.join(self)

    def apply(self, builder: EndpointBuilder) -> None:
        """Bind the builder's endpoint here: with the network's relays, and its directory."""
        config = builder.config
        config.machine = self
        relays = (RelayConfig(url=str(r.url), quic_port=r.qad.port) for r in self.network.relays)
        builder.relay_mode(RelayMode.custom(RelayMap(relays)))
        builder.address_lookup(self.network.directory.service())

    @property
    def line(self) -> Line:
        """What joins its network to the internet."""
        return self.nat.line

    @property
    def addr(self) -> SocketAddr:
        """Its own address, which others on the same network reach."""
        return SocketAddr(self.ip, PORT if self._udp is None else self._udp.port)

    def move(self, behind: Nat | NatKind) -> None:
        """Go to another network, as a phone does: the endpoint is told that it changed."""
        self.network.leave(self)
        self.nat = self.network.to_nat(behind)
        self.ip = self.nat.new_ip()
        self.network.join(self)
        if self._on_event is not None:
            self._on_event()

    # -- the machine of an endpoint ------------------------------------------------------------

    def random_bytes(self, count: int) -> bytes:
        """Give bytes that the seed tells."""
        return self._rng.randbytes(count)

    def chance(self) -> float:
        """Give a number that the seed tells."""
        return self._rng.random()

    def ip_transport(
        self,
        deliver: Callable[[Sequence[Datagrams]], None],
        binds: Sequence[Bind],
        metrics: SocketMetrics,
        defaults: bool,
    ) -> UdpSockets:
        """Bind one IPv4 socket. Raises BindError while another endpoint has it."""
        if self._udp is not None:
            raise BindError("an endpoint is on this simulated machine already; make another host")
        asked = [bind.addr.port for bind in binds if bind.addr.is_ipv4]
        ports = asked or [PORT] * defaults
        self._udp = _Udp(self, deliver, metrics, ports[0] or PORT if ports else None)
        return self._udp

    def relay_client(self, *args: Any, **settings: Any) -> RelayClient:
        """Make the real client, which dials by `dial`."""
        settings |= {"dialer": self.dial, "rng": self.chance, "ssl_context": None}
        return RelayClient(*args, **settings)

    def monitor(self) -> NetworkMonitor:
        """Give the real monitor, which looks at this machine."""
        return NetworkMonitor(self)

    def probes(
        self,
        config: EndpointConfig,
        engine: EngineDriver,
        families: Callable[[], tuple[bool, bool]],
        home_first: Callable[[], Awaitable[None]],
    ) -> SimulatedProbes:
        """Give probes that look at the NAT."""
        return SimulatedProbes(self, families)

    # -- what the network monitor asks, see netmon.Platform --------------------------------------

    def read(self) -> NetworkState:
        """Give the state of this machine's network."""
        link = Interface(1, "sim0", IFF_UP, addrs=(LocalIp(self.ip, 24),))
        return NetworkState((link,), DefaultRoute("sim0", self.nat.prefix + "1", self.ip))

    def listen(self, on_event: Callable[[], None]) -> _Events:
        """Tell of changes."""
        self._on_event = on_event
        return _Events()

    def wall_clock(self) -> float:
        """Give the loop's time: this machine never sleeps."""
        return asyncio.get_running_loop().time()

    # -- what leaves and arrives ---------------------------------------------------------------

    def release(self, udp: _Udp) -> None:
        """The endpoint is gone."""
        if self._udp is udp:
            self._udp = self._on_event = None

    def receive(self, port: int, batch: Datagrams) -> bool:
        """Take what arrived at a port; say whether somebody listens there."""
        if self._udp is None or self._udp.port != port:
            return False
        self._udp.take(batch)
        return True

    def seen_by(self, relay: SimulatedRelay) -> SocketAddr:
        """Give our address as a relay sees it now."""
        return self.nat.outward(self.addr, relay.qad)

    def reaches(self, relay: SimulatedRelay, *, udp: bool = False) -> bool:
        """Whether packets get to a relay and back."""
        lines = (self.line, relay.line)
        return all(line.is_up and (line.passes_udp or not udp) for line in lines)

    async def round_trips(self, count: int, relay: SimulatedRelay, *, udp: bool = False) -> float:
        """Wait for so many round trips, for ever where nothing passes; give seconds of one.

        Cancelling it is harmless.
        """
        while not self.reaches(relay, udp=udp):  # noqa: ASYNC110 - as a first packet is sent again
            await asyncio.sleep(RETRY)
        seconds = 2 * (self.line.delay + relay.line.delay)
        await asyncio.sleep(count * seconds)
        return seconds

    async def dial(self, request: DialRequest) -> RelayStream:
        """Open a connection to a relay: TCP, TLS and the upgrade take three round trips.

        Raises RelayDialError. Cancelling it opens nothing.
        """
        relay = self.network.relay_at(request.url)
        if relay is None:
            raise RelayDialError(f"cannot resolve the host of {request.url}")
        await self.round_trips(3, relay)
        if not relay.is_up:
            raise RelayDialError(f"cannot connect to {request.url}: Connection refused")
        return relay.accept(self, request)


class _Udp:
    """One IPv4 socket, or none."""

    dropped = dropped_mapped_source = 0
    """What is lost is lost on the way."""

    def __init__(
        self,
        host: SimulatedHost,
        deliver: Callable[[Sequence[Datagrams]], None],
        metrics: SocketMetrics,
        port: int | None,
    ) -> None:
        self.port: int = port or 0
        self._host, self._deliver, self._metrics = host, deliver, metrics
        self._bound = [] if port is None else [SocketAddr("0.0.0.0", port)]

    def start(self) -> None:
        """It is open already."""

    async def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Let another endpoint be bound here."""
        self._host.release(self)

    def rebind(self) -> bool:
        """Our address is looked up for each datagram: there is nothing to do."""
        return True

    def sockets(self) -> list[socket.socket]:
        """There is none."""
        return []

    def bound_sockets(self) -> list[SocketAddr]:
        """Where we listen."""
        return self._bound

    def direct_addresses(self, machine: Sequence[str] | None = None) -> list[SocketAddr]:
        """Where others on the same network reach us."""
        return [self._host.addr] if self._bound else []

    def send(self, batch: Datagrams) -> bool:
        """Send, unless it is for IPv6."""
        remote = batch.remote
        if not (self._bound and isinstance(remote, SocketAddr) and remote.is_ipv4):
            return False
        self._metrics.send_ipv4 += len(batch.data)
        self._host.network.send(self._host, self.port, batch)
        return True

    def take(self, batch: Datagrams) -> None:
        """Count what arrived, say at which of our addresses, and hand it up."""
        count, metrics = len(batch), self._metrics
        metrics.recv_datagrams += count
        metrics.recv_gro_datagrams += count > 1
        metrics.recv_data_ipv4 += len(batch.data)
        batch.local = ipaddress.IPv4Address(self._host.ip).packed
        self._deliver((batch,))


class _Events:
    """The monitor's source of events: `SimulatedHost.move` is the only one."""

    alive = True
    sock = None

    def close(self) -> None:
        """Nothing to do: `SimulatedHost.release` forgets the listener."""
