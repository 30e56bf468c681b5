"""What an endpoint finds around it: chance, sockets, relays, the state of the network.

`Machine` is the one that the program runs on. `iroh.testing` has others, on a network in memory:
everything that leaves an endpoint, or comes to it from outside, passes here.
"""

import os
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from iroh.magicsock.transports.ip import IpTransport

if TYPE_CHECKING:
    from iroh.magicsock.binds import Bind
    from iroh.magicsock.host import EngineDriver
    from iroh.metrics import SocketMetrics
    from iroh.net_report.run import Probes
    from iroh.netmon import NetworkMonitor
    from iroh.options import EndpointConfig
    from iroh.quic.datagrams import Datagrams
    from iroh_relay.client import RelayClient

__all__ = ["Machine"]


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
    ) -> IpTransport:
        """Bind the UDP sockets. Raises BindError."""
        return IpTransport(deliver, binds, metrics, defaults)

    def relay_client(self, *args: object, **settings: object) -> "RelayClient":
        """Make a client of one relay: arguments as RelayClient's."""
        from iroh_relay.client import RelayClient  # late: an endpoint without relays needs none

        return RelayClient(*args, **settings)  # type: ignore[arg-type]

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
