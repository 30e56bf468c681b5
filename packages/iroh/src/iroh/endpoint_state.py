"""What an endpoint can be asked, and what of it can be watched: the reading half of `Endpoint`."""

import logging
from typing import TYPE_CHECKING, overload

from iroh.core import EndpointCore
from iroh.errors import EndpointClosedError
from iroh.metrics import CounterStats
from iroh.net_report.report import Report
from iroh.remote_info import RemoteInfo, remote_info
from iroh.watchers import (
    AddrChangeCallback,
    HomeRelayCallback,
    NetworkChangeCallback,
    WatchHandle,
    method_of,
    watch_home_relay,
    watch_network_change,
)
from iroh_base import CustomAddr, EndpointAddr, PublicKey, SecretKey, Watcher

if TYPE_CHECKING:
    from iroh.netmon import NetworkState
    from iroh_relay.client import RelayStatus


logger: logging.Logger = logging.getLogger(__name__)


class EndpointState:
    """Who we are, where we are, and how it changes."""

    def __init__(self, core: EndpointCore) -> None:
        self._core = core
        self._sock = core.sock

    def id(self) -> PublicKey:
        """Return our EndpointId: what others dial."""
        return self._core.id

    def secret_key(self) -> SecretKey:
        """Return our secret key."""
        return self._core.secret_key

    def addr(self) -> EndpointAddr:
        """Return our address as it is now: home relay and direct addresses."""
        return self._sock.addr()

    def bound_sockets(self) -> list[str]:
        """Return "ip:port" of the UDP sockets, IPv4 first. Works after close."""
        return [str(addr) for addr in self._sock.ip.bound_sockets()]

    def custom_addrs(self) -> list[CustomAddr]:
        """Return where our custom transports are reached.

        As upstream, neither `addr` nor what is published holds them: who may know them is yours
        to say. `endpoint.addr().with_addrs(endpoint.custom_addrs())` is an address with them.
        """
        return self._sock.custom.local_addrs()

    async def remote_addr(self, id: PublicKey) -> EndpointAddr | None:
        """Return what we know of a peer's addresses, None if nothing. Never waits."""
        remote = self._sock.remotes.find(id)
        if remote is None or not remote.addrs:
            return None
        return EndpointAddr(id).with_addrs(remote.addrs)

    async def remote_info(self, id: PublicKey) -> RemoteInfo | None:
        """Return what we know of a peer's addresses, and which are in use.

        None for a peer that we have not dealt with for a minute, and once we are closed. Never
        waits.
        """
        remote = self._sock.remotes.find(id)
        return None if remote is None else remote_info(id, remote.addrs)

    def stats(self) -> dict[str, CounterStats]:
        """Return the counters, by upstream's names: `stats()["socket:send_ipv4"].value`."""
        return self._core.stats()

    def openmetrics(self) -> str:
        """Return the counters as a page for Prometheus, by the names that Rust endpoints use.

        `iroh.serve_metrics` serves it.
        """
        return self._core.openmetrics()

    @overload
    def watch_addr(self) -> Watcher[EndpointAddr]: ...
    @overload
    def watch_addr(self, callback: AddrChangeCallback) -> WatchHandle: ...
    def watch_addr(
        self, callback: AddrChangeCallback | None = None
    ) -> Watcher[EndpointAddr] | WatchHandle:
        """Follow our address: a Watcher, or with a callback a WatchHandle that calls it."""
        watcher = self._core.addr.watch()
        if callback is None:
            return watcher
        return WatchHandle(watcher, method_of(callback, "on_change"), "iroh-watch-addr")

    @overload
    def watch_home_relay(self) -> "Watcher[RelayStatus | None]": ...
    @overload
    def watch_home_relay(self, callback: HomeRelayCallback) -> WatchHandle: ...
    def watch_home_relay(
        self, callback: HomeRelayCallback | None = None
    ) -> "Watcher[RelayStatus | None] | WatchHandle":
        """Follow the home relay's status (None: no home relay), or call back with its URLs."""
        watcher = self._core.home_status.watch()
        return watcher if callback is None else watch_home_relay(watcher, callback)

    @overload
    def watch_network_change(self) -> "Watcher[NetworkState]": ...
    @overload
    def watch_network_change(self, callback: NetworkChangeCallback) -> WatchHandle: ...
    def watch_network_change(
        self, callback: NetworkChangeCallback | None = None
    ) -> "Watcher[NetworkState] | WatchHandle":
        """Follow the network of this machine, or be called back at each change of it."""
        watcher = self._core.network.state.watch()
        return watcher if callback is None else watch_network_change(watcher, callback)

    async def network_change(self) -> None:
        """Look at the machine's network now, and act on a change.

        Changes are noticed without it where the operating system tells of them (Linux) and within 5
        s elsewhere; call it when you know better, as mobile applications do. Never waits. Nothing
        happens once the endpoint is closed.
        """
        if not self._core.closing:
            self._core.monitor.rescan()

    def net_report(self) -> Report | None:
        """Return what the last look at the network found; None before the first, without relays.

        `print(endpoint.net_report())` says it in words.
        """
        return self._core.reports.report.get()

    def watch_net_report(self) -> Watcher[Report | None]:
        """Follow the net reports: at the start, every 20 to 26 s, and when something changed."""
        return self._core.reports.report.watch()

    async def online(self) -> None:
        """Wait until the home relay is connected. Never returns without relays.

        Raises EndpointClosedError when the endpoint is closed before. Cancelling it is harmless.
        """
        if self._core.relay_map is None and not self._core.closing:
            logger.warning("online() waits for a home relay, and relays are disabled: for ever")
        async for status in self._core.home_status.watch():
            if status is not None and status.is_connected:
                return
        raise EndpointClosedError("the endpoint was closed before it was online")
