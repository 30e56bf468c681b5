"""What net reports find on a simulated network: relays tell how they see a host's NAT.

In place of QUIC to a relay's address discovery there is the NAT itself, asked at the moments at
which packets would pass it: when the connection is made, and with each keep-alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from iroh.net_report.report import Probe
from iroh.net_report.run import ProbeFailed
from iroh_base import RelayUrl, SocketAddr
from iroh_relay.relay_map import RelayConfig

if TYPE_CHECKING:
    from iroh.testing.simulated.host import SimulatedHost
    from iroh.testing.simulated.relay import SimulatedRelay

__all__ = ["SimulatedProbes"]

KEEP_ALIVE = 25.0
"""Seconds between two packets on an open connection (iroh-relay `quic.rs`)."""


class SimulatedProbes:
    """What `net_report.run.Probes` asks for."""

    def __init__(self, host: SimulatedHost, families: Callable[[], tuple[bool, bool]]) -> None:
        self.families = families
        self._host = host

    async def ready(self, probe: Probe) -> None:
        """Nothing has to be loaded."""

    async def qad(self, relay: RelayConfig, probe: Probe) -> QadLink:
        """See our mapping, two round trips later. Waits while a line is down."""
        found = self._find(relay.url)
        if probe is not Probe.QAD_IPV4:
            raise ProbeFailed("the simulated internet has no IPv6")
        latency = await self._host.round_trips(2, found, udp=True)
        return QadLink(self._host, found, latency)

    async def https(self, relay: RelayUrl) -> float:
        """Give the round trip to a relay, three of them later."""
        return await self._host.round_trips(3, self._find(str(relay)))

    async def captive_portal(self, relay: RelayUrl) -> bool:
        """There is none."""
        await self._host.round_trips(2, self._find(str(relay)))
        return False

    def _find(self, url: str) -> SimulatedRelay:
        found = self._host.network.relay_at(url)
        if found is None or not found.is_up:
            raise ProbeFailed(f"there is no relay at {url}")
        return found


class QadLink:
    """An open connection, see `net_report.run.QadLink`."""

    def __init__(self, host: SimulatedHost, relay: SimulatedRelay, latency: float) -> None:
        self.addr: SocketAddr = host.seen_by(relay)
        self.on_change: Callable[[], None] | None = None
        self.latency = latency
        self._host, self._relay = host, relay
        self._closed = False
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._keep_alive)

    @property
    def relay(self) -> RelayUrl:
        """Whose it is."""
        return self._relay.url

    @property
    def is_open(self) -> bool:
        """Whether it still tells of changes."""
        return not self._closed and self._relay.is_up

    def close(self) -> None:
        """End it."""
        self._closed = True
        self._timer.cancel()

    def _keep_alive(self) -> None:
        if not (self._relay.is_up and self._host.reaches(self._relay, udp=True)):
            self._closed = True
            return
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._keep_alive)
        seen = self._host.seen_by(self._relay)
        if seen != self.addr:
            self.addr = seen
            if self.on_change is not None:
                self.on_change()
