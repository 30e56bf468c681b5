"""An endpoint's port mapping: which of its sockets, on which network, and who hears of it.

It works on IPv4, for the first socket that is bound to all addresses, or to the one that we have
on the gateway's network; so an endpoint on loopback, or a machine without a gateway, asks nobody.
"""

from collections.abc import Callable

from iroh.magicsock.socket import MagicSock
from iroh.netmon import NetworkMonitor
from iroh.portmap import PortMapper, Router

__all__ = ["PortForwarding"]


class PortForwarding:
    """A `PortMapper` for the sockets of one endpoint."""

    def __init__(
        self,
        sock: MagicSock,
        monitor: NetworkMonitor,
        changed: Callable[[], None],
        make: Callable[[Callable[[], Router | None]], PortMapper] = PortMapper,
    ) -> None:
        """changed() is called after our mapped address became another."""
        self._sock = sock
        self._monitor = monitor
        self._changed = changed
        self.mapper: PortMapper = make(self._router)

    async def run(self) -> None:
        """Ask for a mapping and follow it, until cancelled."""
        self.mapper.update_local_port(self._port())
        async for external in self.mapper.external.watch():
            if self._sock.direct.set_portmapped(external):
                self._sock.direct_changed()
                self._changed()

    def network_changed(self) -> None:
        """Look whether the gateway, or our socket, is another."""
        self.mapper.update_local_port(self._port())
        self.mapper.network_changed()

    async def close(self) -> None:
        """Take the mapping back, within half a second."""
        await self.mapper.close()

    def _router(self) -> Router | None:
        found = self._monitor.state.home_router
        return None if found is None or self._port() is None else Router(*found)

    def _port(self) -> int | None:
        found = self._monitor.state.home_router
        for addr in self._sock.ip.bound_sockets():
            if addr.is_ipv4 and (not any(addr.packed) or (found and addr.ip == found[1])):
                return addr.port
        return None
