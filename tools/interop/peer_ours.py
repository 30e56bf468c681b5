"""Our endpoint as a process: peer_ffi.py, and a look inside the engine that the bindings lack.

What every program can do, peer_ffi.py does, the same file that drives the Rust peer. Here is only
what the harness wants to see (which engine ran, its paths, its key phases) or to do to the engine
under the public API: tell candidates, open a path as a client, close one, change its status.
"""

import asyncio
import gc
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import iroh
from interop import peer_ffi
from iroh.quic.api import QuicEndpoint
from iroh.quic.path_state import STATES
from iroh_base import PublicKey, RelayUrl, SocketAddr


def engine_names() -> list[str]:
    """Name the engines of all endpoints in this process."""
    kinds = {type(thing) for thing in gc.get_objects() if isinstance(thing, QuicEndpoint)}
    return sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)


class OurAgent(peer_ffi.Agent):
    """The commands that only our endpoint understands."""

    async def do_hello(self) -> dict[str, Any]:
        """Say who is speaking, and with which engine: that of a real endpoint."""
        told = await super().do_hello()
        options = iroh.EndpointOptions(
            preset=iroh.preset_minimal(),
            relay_mode=iroh.RelayMode.disabled(),
            bind_addr="127.0.0.1:0",
        )
        endpoint = await iroh.Endpoint.bind(options)
        (told["engine"],) = engine_names()
        await endpoint.close()
        return told

    async def do_inside(self, connection: int) -> dict[str, Any]:
        """Describe what the bindings do not show of a connection."""
        parts = self.parts(connection)
        mp, keys = parts.mp, parts.keys
        return {
            "multipath": mp.ids.enabled,
            "nat": mp.nat is not None,
            "usable_max": mp.ids.usable_max,
            "local_max": mp.ids.local_max,
            "peer_max": mp.ids.peer_max,
            "send_phase": keys._send_phase,  # noqa: SLF001
            "receive_phase": keys._recv_phase,  # noqa: SLF001
            "retried": parts.retry_source_cid is not None,
            "dropped": dict(parts.dropped),
            "next_path_has_ids": self.next_path(parts) in mp.remote_cids,
            "own_candidates": [str(a) for a in mp.nat.local_candidates()] if mp.nat else [],
            "candidates": [str(a) for a in mp.nat.remote_candidates()] if mp.nat else [],
            "paths": [
                {
                    "id": path.path_id,
                    "remote": str(getattr(path.remote, "url", path.remote)),
                    "state": STATES[path.state],
                    "proven": path.validated,
                    "available": path.available,
                    "told_available": path.remote_available,
                    "mtu": path.mtud.mtu,
                    "tx": path.stats.tx_datagrams,
                    "rx": path.stats.rx_datagrams,
                    "lost": path.recovery.path.lost_packets,
                }
                for path in parts.paths.all()
            ],
        }

    async def do_tell_candidates(self, connection: int, addresses: list[str]) -> dict[str, Any]:
        """Say where we may be reached: ADD_ADDRESS and REMOVE_ADDRESS as the server."""
        addrs = [SocketAddr.parse(text) for text in addresses]
        left = self.commands(connection).set_candidates(addrs)
        self.schedule(connection)
        return {"left": [str(addr) for addr in left]}

    async def do_open_path(
        self, connection: int, endpoint: int, remote: str, available: bool = False
    ) -> dict[str, Any]:
        """Open a path as the client, to an address or over a relay."""
        known = self.connections[connection]
        way: Any = RelayUrl(remote) if "://" in remote else SocketAddr.parse(remote)
        sock = self.endpoints[endpoint]._sock  # noqa: SLF001
        key = PublicKey.from_bytes(known.remote_id().to_bytes())
        now = asyncio.get_running_loop().time()
        address = sock.path_address(key, way)
        path = self.commands(connection).open(address, None, now, available=available)
        self.schedule(connection)
        return {"path": path}

    async def do_close_path(self, connection: int, path: int) -> dict[str, Any]:
        """Abandon a path."""
        self.commands(connection).close(path, asyncio.get_running_loop().time())
        self.schedule(connection)
        return {}

    async def do_set_status(self, connection: int, path: int, available: bool) -> dict[str, Any]:
        """Use a path for data, or as a backup only."""
        self.commands(connection).set_status(path, available)
        self.schedule(connection)
        return {}

    async def do_prefer(self, connection: int, relayed: bool) -> dict[str, Any]:
        """Make relayed or direct paths available and the others backup, as a magic socket would."""
        for path in self.connections[connection].paths():
            self.commands(connection).set_status(int(path.id), path.is_relay is relayed)
        self.schedule(connection)
        return {}

    def next_path(self, parts: Any) -> int:
        """The id that the next opened path would get; one above the limit has no ids."""
        return int(parts.mp.ids.next_after(parts.paths._highest))  # noqa: SLF001

    def parts(self, connection: int) -> Any:
        """Give the parts of a connection."""
        return self.connections[connection]._quic._p  # noqa: SLF001

    def commands(self, connection: int) -> Any:
        """Give the engine's commands on paths."""
        return self.connections[connection]._quic.path_commands  # noqa: SLF001

    def schedule(self, connection: int) -> None:
        """Send what a command left to send."""
        self.connections[connection]._driver.schedule()  # noqa: SLF001


if __name__ == "__main__":
    asyncio.run(peer_ffi.main(OurAgent()))
