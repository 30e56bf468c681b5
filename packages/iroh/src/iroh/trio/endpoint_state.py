"""The trio front of `iroh.endpoint_state`. Written by tools/fronts.py."""

from __future__ import annotations

from iroh import endpoint_state as aio
from iroh.metrics import CounterStats
from iroh.net_report.report import Report
from iroh.netmon import NetworkState
from iroh.remote_info import RemoteInfo
from iroh.trio.front import Front, Watch
from iroh_base import CustomAddr, EndpointAddr, PublicKey, SecretKey
from iroh_relay.client import RelayStatus

__all__ = ["EndpointState"]


class EndpointState(Front):
    """Who we are, where we are, and how it changes."""

    _aio: aio.EndpointState

    def id(self) -> PublicKey:
        """Return our EndpointId: what others dial."""
        return self._portal.call(self._aio.id)

    def secret_key(self) -> SecretKey:
        """Return our secret key."""
        return self._portal.call(self._aio.secret_key)

    def addr(self) -> EndpointAddr:
        """Return our address as it is now: home relay and direct addresses."""
        return self._portal.call(self._aio.addr)

    def bound_sockets(self) -> list[str]:
        """Return "ip:port" of the UDP sockets, IPv4 first. Works after close."""
        return self._portal.call(self._aio.bound_sockets)

    def custom_addrs(self) -> list[CustomAddr]:
        """Return where our custom transports are reached.

        As upstream, neither `addr` nor what is published holds them: who may know them is yours
        to say. `endpoint.addr().with_addrs(endpoint.custom_addrs())` is an address with them.
        """
        return self._portal.call(self._aio.custom_addrs)

    async def remote_addr(self, id: PublicKey) -> EndpointAddr | None:
        """Return what we know of a peer's addresses, None if nothing. Never waits."""
        return await self._portal.wait(self._aio.remote_addr, id)

    async def remote_info(self, id: PublicKey) -> RemoteInfo | None:
        """Return what we know of a peer's addresses, and which are in use.

        None for a peer that we have not dealt with for a minute, and once we are closed. Never
        waits.
        """
        return await self._portal.wait(self._aio.remote_info, id)

    def stats(self) -> dict[str, CounterStats]:
        """Return the counters, by upstream's names: `stats()["socket:send_ipv4"].value`."""
        return self._portal.call(self._aio.stats)

    def openmetrics(self) -> str:
        """Return the counters as a page for Prometheus, by the names that Rust endpoints use.

        `iroh.serve_metrics` serves it.
        """
        return self._portal.call(self._aio.openmetrics)

    def watch_addr(self) -> Watch[EndpointAddr]:
        """Follow our address: a Watcher, or with a callback a WatchHandle that calls it."""
        return Watch(self._portal, self._portal.call(self._aio.watch_addr))

    def watch_home_relay(self) -> Watch[RelayStatus | None]:
        """Follow the home relay's status (None: no home relay), or call back with its URLs."""
        return Watch(self._portal, self._portal.call(self._aio.watch_home_relay))

    def watch_network_change(self) -> Watch[NetworkState]:
        """Follow the network of this machine, or be called back at each change of it."""
        return Watch(self._portal, self._portal.call(self._aio.watch_network_change))

    async def network_change(self) -> None:
        """Look at the machine's network now, and act on a change.

        Changes are noticed without it where the operating system tells of them (Linux) and within 5
        s elsewhere; call it when you know better, as mobile applications do. Never waits. Nothing
        happens once the endpoint is closed.
        """
        await self._portal.wait(self._aio.network_change)

    def net_report(self) -> Report | None:
        """Return what the last look at the network found; None before the first, without relays.

        `print(endpoint.net_report())` says it in words.
        """
        return self._portal.call(self._aio.net_report)

    def watch_net_report(self) -> Watch[Report | None]:
        """Follow the net reports: at the start, every 20 to 26 s, and when something changed."""
        return Watch(self._portal, self._portal.call(self._aio.watch_net_report))

    async def online(self) -> None:
        """Wait until the home relay is connected. Never returns without relays.

        Raises EndpointClosedError when the endpoint is closed before. Cancelling it is harmless.
        """
        await self._portal.wait(self._aio.online)
