"""What an endpoint finds around it: chance, sockets, relays, the state of the network.

`Machine` is the one that the program runs on. `iroh.testing` has others, on a network in memory:
everything that leaves an endpoint, or comes to it from outside, passes here.
"""

import os
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from iroh.magicsock.transports.ip import IpTransport

if TYPE_CHECKING:
    from iroh.magicsock.binds import Bind
    from iroh.magicsock.host import EngineDriver
    from iroh.metrics import SocketMetrics
    from iroh.net_report.run import Probes
    from iroh.netmon import NetworkMonitor
    from iroh.options import EndpointConfig
    from iroh.quic.datagrams import Datagrams
    from iroh_base import SocketAddr
    from iroh_relay.client import RelayClient

__all__ = ["Machine", "UdpSockets"]


class UdpSockets(Protocol):
    """The UDP sockets of an endpoint, as `IpTransport` describes them."""

    @property
    def dropped(self) -> int:
        """Datagrams that could not be sent."""

    @property
    def dropped_mapped_source(self) -> int:
        """Datagrams that claimed a source inside the mapped prefix."""

    def start(self) -> None:
        """Read from now on."""

    async def flush(self) -> None:
        """Let what is queued leave, for a moment."""

    def close(self) -> None:
        """Release the ports at once."""

    def rebind(self) -> bool:
        """Replace every socket by a fresh one; say whether all could be."""

    def send(self, batch: "Datagrams") -> bool:
        """Send to a real address. Says False when no socket of ours reaches it."""

    def bound_sockets(self) -> "list[SocketAddr]":
        """Where we listen. Works after close."""

    def sockets(self) -> list[socket.socket]:
        """The sockets of the operating system: a list that `rebind` keeps true."""

    def direct_addresses(self, machine: Sequence[str] | None = None) -> "list[SocketAddr]":
        """Where peers on this machine's networks reach us; machine: its addresses, if known."""


class Machine:
    """The real one."""

    has_router = True
    """Whether there may be a home router that can be asked for a port."""

    def random_bytes(self, count: int) -> bytes:
        """Give bytes that nobody can guess."""
        return os.urandom(count)

    def chance(self) -> float:
        """Give a uniform number of [0, 1): for what may be guessed."""
        return random.random()

    def ip_transport(
        self,
        deliver: "Callable[[Sequence[Datagrams]], None]",
        binds: "Sequence[Bind]",
        metrics: "SocketMetrics",
        defaults: bool,
    ) -> UdpSockets:
        """Bind the UDP sockets. Raises BindError."""
        return IpTransport(deliver, binds, metrics, defaults)

    def relay_client(self, *args: Any, **settings: Any) -> "RelayClient":
        """Make a client of one relay: arguments as RelayClient's."""
        from iroh_relay.client import RelayClient  # late: an endpoint without relays needs none

        return RelayClient(*args, **settings)

    def monitor(self) -> "NetworkMonitor":
        """Give what watches the network."""
        from iroh.netmon import NetworkMonitor

        return NetworkMonitor()

    def probes(
        self,
        config: "EndpointConfig",
        engine: "EngineDriver",
        families: Callable[[], tuple[bool, bool]],
        home_first: Callable[[], Awaitable[None]],
    ) -> "Probes":
        """Give what net reports ask relays with; parameters as LiveProbes'."""
        from iroh.net_report.live import LiveProbes  # late: an endpoint without relays needs none

        return LiveProbes(
            *(engine, families, config.dns_resolver, config.ca_tls),
            home_first=home_first,
            proxy_for=config.proxy_for,
        )
