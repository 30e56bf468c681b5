"""agent.py, and what only our endpoint shows: changes of the machine's network, mapped ports.

Runs in a namespace of a lab and nowhere else; there a router may be asked for a port.
"""

import asyncio
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
os.environ.pop("IROH_PORTMAPPER", None)

import iroh
from interop import peer_ffi
from iroh.netmon import NetworkChange, NetworkMonitor
from iroh.portmap import PortMapper, Router
from iroh.portmap.service import protocols_of
from natlab.agent import LabAgent


class HomeAgent(LabAgent):
    """The commands of a host at home."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[dict[str, Any]] = []
        self.mapper: PortMapper | None = None
        self.sock: socket.socket | None = None

    async def do_bind_home(
        self, alpns: list[str], relay: str | None = None, udp: bool = True, portmapper: bool = False
    ) -> dict[str, Any]:
        """Bind an endpoint, perhaps without UDP, perhaps with a port of the router."""
        builder = iroh.EndpointBuilder()
        builder.alpns([alpn.encode() for alpn in alpns])
        builder.portmapper(portmapper)
        if relay is not None:
            builder.relay_mode(iroh.RelayMode.custom_from_urls([relay]))
        if not udp:
            builder.clear_ip_transports()
        endpoint = await builder.bind()
        return {"endpoint": self.keep(self.endpoints, endpoint), **peer_ffi.whereabouts(endpoint)}

    async def do_net_report(self, relays: list[str], quic_port: int) -> dict[str, Any]:
        """Bind an endpoint and wait for its first net report, and for the home relay."""
        known = iroh.RelayMap(iroh.RelayConfig(url=url, quic_port=quic_port) for url in relays)
        options = iroh.EndpointOptions(
            preset=iroh.preset_minimal(),
            relay_mode=iroh.RelayMode.custom(known),
            ca_tls_config=iroh.CaTlsConfig.insecure_skip_verify(),
        )
        start = time.monotonic()
        endpoint = await iroh.Endpoint.bind(options)
        self.keep(self.endpoints, endpoint)
        report = await endpoint.watch_net_report().initialized()
        assert report is not None
        ms = round(1000 * (time.monotonic() - start))
        await endpoint.online()
        return {
            "ms": ms,
            "udp": report.has_udp(),
            "v4": str(report.global_v4),
            "v6": str(report.global_v6),
            "varies": report.mapping_varies_by_dest_ipv4,
            "home": str(report.preferred_relay),
            "bound": endpoint.bound_sockets(),
            "addresses": endpoint.addr().direct_addresses(),
            "words": str(report),
        }

    async def do_note_changes(self, endpoint: int) -> dict[str, Any]:
        """Note from now on when the network changed."""
        monitor: NetworkMonitor = self.endpoints[endpoint]._core.monitor  # noqa: SLF001
        monitor.subscribe(self._note)
        return {}

    def _note(self, change: NetworkChange) -> None:
        addresses = list(change.state.regular_addresses)
        default = change.state.default_interface
        note = {"at": time.monotonic(), "major": change.major}
        self.changes.append({**note, "addresses": addresses, "default": default})

    async def do_changes(self) -> dict[str, Any]:
        """Give the changes since the last call."""
        changes, self.changes = self.changes, []
        return {"changes": changes}

    async def do_addresses_until(
        self, endpoint: int, has: str, seconds: float = 10.0
    ) -> dict[str, Any]:
        """Wait until the endpoint announces an address that begins so; give all."""
        watcher = self.endpoints[endpoint].watch_addr()
        async with asyncio.timeout(seconds):
            addresses = watcher.get().direct_addresses()
            while not any(text.startswith(has) for text in addresses):
                addresses = (await watcher.updated()).direct_addresses()
        return {"addresses": addresses, "at": time.monotonic()}

    # -- a port without an endpoint ------------------------------------------------------------

    async def do_map(self, protocol: str, port: int, seconds: float = 10.0) -> dict[str, Any]:
        """Bind a UDP port and have it mapped by this protocol alone."""
        found = NetworkMonitor().state.home_router
        assert found is not None
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("0.0.0.0", port))
        self.sock.setblocking(False)
        self.mapper = PortMapper(
            lambda: Router(*found),
            lambda router: [p for p in protocols_of(router) if p.name == protocol],
        )
        start = time.monotonic()
        self.mapper.update_local_port(port)
        return {**(await self.do_mapped(seconds)), "ms": 1000 * (time.monotonic() - start)}

    async def do_mapped(self, seconds: float = 10.0) -> dict[str, Any]:
        """Wait until there is a mapping, and give its outside."""
        assert self.mapper is not None
        async with asyncio.timeout(seconds):
            external = await self.mapper.external.watch().initialized()
        assert external is not None
        return {"ip": external.ip, "port": external.port}

    async def do_unmapped(self, seconds: float = 10.0) -> dict[str, Any]:
        """Wait until there is no mapping."""
        assert self.mapper is not None
        watcher = self.mapper.external.watch()
        async with asyncio.timeout(seconds):
            while watcher.get() is not None:
                await watcher.updated()
        return {}

    async def do_look(self) -> dict[str, Any]:
        """Look after the mapping, as at a change of the network; return when that is done."""
        assert self.mapper is not None
        self.mapper.network_changed()
        while (task := self.mapper._task) is not None:  # noqa: SLF001
            await asyncio.wait((task,))
        return {"external": str(self.mapper.external.get())}

    async def do_heard(self, seconds: float = 5.0) -> dict[str, Any]:
        """Wait for a datagram on the mapped port."""
        assert self.sock is not None
        async with asyncio.timeout(seconds):
            data = await asyncio.get_running_loop().sock_recv(self.sock, 100)
        return {"data": data.decode()}

    async def do_unmap(self) -> dict[str, Any]:
        """Give the port back; say how long that took."""
        assert self.mapper is not None
        assert self.sock is not None
        start = time.monotonic()
        await self.mapper.close()
        self.sock.close()
        return {"ms": 1000 * (time.monotonic() - start)}


if __name__ == "__main__":
    asyncio.run(peer_ffi.main(HomeAgent()))
