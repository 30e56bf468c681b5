"""An endpoint in a lab, as a process: the commands of interop's peers, and those of a lab.

Like peer_ffi.py it knows only the API of the bindings, and runs over either implementation. Added
are: watching which path is selected, a ping, and a flow of checked bytes in both directions that
says where it stood still. Times are seconds of the system's monotonic clock, which all processes
of a machine share.
"""

import asyncio
import hashlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parents[1]))

import iroh
from interop import peer_ffi

if TYPE_CHECKING or importlib.util.find_spec("iroh_base") is None:
    Base = peer_ffi.Agent
else:
    from interop.peer_ours import OurAgent as Base

ALPN = "natlab"
MAX_NOTES = 200
"""Changes of paths that are kept of a connection."""


def describe(path: Any) -> dict[str, Any]:
    """Describe a path, and when it was seen."""
    return {
        "remote": path.remote_addr,
        "direct": path.is_ip,
        "relayed": path.is_relay,
        "six": path.is_ip and path.remote_addr.startswith("["),
        "rtt": path.rtt_ms,
    }


class Watch(iroh.PathChangeCallback):
    """Notes each change of the selected path, and wakes who waits for one."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []
        self.changed = asyncio.Condition()
        self.remotes: set[str] = set()
        """Of all paths that were ever open."""

    async def on_change(self, paths: Any) -> None:
        """Note it."""
        self.remotes |= {path.remote_addr for path in paths}
        chosen = next((describe(path) for path in paths if path.is_selected), None)
        now = time.monotonic()
        async with self.changed:
            if chosen is not None and not self.same(chosen) and len(self.notes) < MAX_NOTES:
                self.notes.append({"at": now, **chosen})
            self.changed.notify_all()

    def same(self, chosen: dict[str, Any]) -> bool:
        """Say whether that path was selected before."""
        return bool(self.notes) and self.notes[-1]["remote"] == chosen["remote"]


class Flow:
    """Paced bytes in both directions, a uni stream each, and where they stood still."""

    def __init__(self, connection: Any, seed: str, size: int, pause: float) -> None:
        self.connection, self.pause = connection, pause
        self.base = filler(seed, size)
        self.stop = asyncio.Event()
        self.begun = asyncio.Event()
        self.sent = self.got = 0
        self.out, self.into = hashlib.sha256(), hashlib.sha256()
        self.first = self.last = 0.0
        self.gaps: list[tuple[float, float]] = []
        self.late = 0.0
        """How late this process was woken at worst: a busy machine is no fault of a path."""
        self.tasks = [asyncio.create_task(self.write()), asyncio.create_task(self.read())]

    async def write(self) -> None:
        """Write a block, pause, and so on until told to stop."""
        send = await self.connection.open_uni()
        number = 0
        while not self.stop.is_set():
            block = number.to_bytes(8, "big") + self.base[8:]
            await send.write_all(block)
            self.out.update(block)
            self.sent += len(block)
            number += 1
            slept = time.monotonic()
            await asyncio.sleep(self.pause)
            self.late = max(self.late, time.monotonic() - slept - self.pause)
        await send.finish()

    async def read(self) -> None:
        """Read to the end; note the longest silences."""
        recv = await self.connection.accept_uni()
        while data := await recv.read(1 << 16):
            now = time.monotonic()
            if not self.got:
                self.first = self.last = now
                self.begun.set()
            self.into.update(data)
            self.got += len(data)
            self.gaps.append((now - self.last, self.last))
            self.last = now
            if len(self.gaps) > 64:
                self.gaps = sorted(self.gaps, reverse=True)[:16]

    async def end(self) -> dict[str, Any]:
        """Stop writing, wait for the last byte of both directions, and tell."""
        self.stop.set()
        await asyncio.gather(*self.tasks)
        gaps = sorted(self.gaps, reverse=True)[:5]
        return {
            "sent": self.sent,
            "got": self.got,
            "out": self.out.hexdigest(),
            "into": self.into.hexdigest(),
            "first": self.first,
            "late": self.late,
            "gaps": [{"seconds": round(length, 4), "from": at} for length, at in gaps],
        }


def filler(seed: str, size: int) -> bytes:
    """Make `size` reproducible bytes."""
    return hashlib.shake_128(seed.encode()).digest(size)


class LabAgent(Base):
    """The commands of a lab."""

    def __init__(self) -> None:
        super().__init__()
        self.watches: dict[int, Watch] = {}
        self.handles: list[Any] = []
        self.flows: dict[int, Flow] = {}

    async def do_bind_with_qad(self, alpns: list[str], relay: str, port: int) -> dict[str, Any]:
        """Bind an endpoint of ours that asks the relay for its outside address.

        The bindings cannot be told to trust the certificate of a lab.
        """
        relays = iroh.RelayMap.empty()
        relays.insert(iroh.RelayConfig(url=relay, quic_port=port))
        options = iroh.EndpointOptions(
            preset=iroh.preset_minimal(),
            alpns=[alpn.encode() for alpn in alpns],
            relay_mode=iroh.RelayMode.custom(relays),
            ca_tls_config=iroh.CaTlsConfig.insecure_skip_verify(),
        )
        endpoint = await iroh.Endpoint.bind(options)
        number = self.keep(self.endpoints, endpoint)
        return {"endpoint": number, **peer_ffi.whereabouts(endpoint)}

    async def do_external(self, endpoint: int, add: list[str], remove: list[str]) -> dict[str, Any]:
        """Tell an endpoint by which addresses others reach it, and by which no longer."""
        for text in remove:
            await self.endpoints[endpoint].remove_external_addr(text)
        for text in add:
            await self.endpoints[endpoint].add_external_addr(text)
        return {"addresses": self.endpoints[endpoint].addr().direct_addresses()}

    async def do_where(self, endpoint: int) -> dict[str, Any]:
        """Say who and where an endpoint is, now."""
        return peer_ffi.whereabouts(self.endpoints[endpoint])

    async def do_watch(self, connection: int) -> dict[str, Any]:
        """Start noting the selected path."""
        watch = self.watches[connection] = Watch()
        known = self.connections[connection]
        self.handles.append(known.watch_paths(watch))
        await watch.on_change(known.paths())
        return {"notes": watch.notes}

    async def do_notes(self, connection: int) -> dict[str, Any]:
        """Give what was noted, and all remote addresses there were."""
        watch = self.watches[connection]
        return {"notes": watch.notes, "remotes": sorted(watch.remotes)}

    async def do_until(
        self,
        connection: int,
        seconds: float,
        direct: bool = True,
        six: bool | None = None,
        other_than: list[str] | None = None,
    ) -> dict[str, Any]:
        """Wait until such a path is selected; give it, or {} when the time is over."""

        def wanted(path: dict[str, Any]) -> bool:
            return (
                path["direct"] is direct
                and (six is None or path["six"] is six)
                and path["remote"] not in (other_than or ())
            )

        return await self.first(self.watches[connection], wanted, seconds)

    async def first(
        self, watch: Watch, wanted: Callable[[dict[str, Any]], bool], seconds: float
    ) -> dict[str, Any]:
        """Wait until the selected path is wanted."""
        try:
            async with asyncio.timeout(seconds), watch.changed:
                await watch.changed.wait_for(lambda: watch.notes and wanted(watch.notes[-1]))
                return watch.notes[-1]
        except TimeoutError:
            return {}

    async def do_ping(self, connection: int, seconds: float) -> dict[str, Any]:
        """Send 8 bytes on a new stream, and read the same 8; say how long that took."""
        start = time.monotonic()
        known = self.connections[connection]
        async with asyncio.timeout(seconds):
            stream = await known.open_bi()
            await stream.send().write_all(b"8 bytes!")
            await stream.send().finish()
            echoed = bytes(await stream.recv().read_to_end(100))
        if echoed != b"8 bytes!":
            raise ValueError(f"8 bytes came back as {echoed!r}")
        return {"ms": round(1000 * (time.monotonic() - start), 1), "at": time.monotonic()}

    async def do_flow(
        self, connection: int, seed: str, size: int = 1000, pause: float = 0.01
    ) -> dict[str, Any]:
        """Start a flow; answer when its first byte has come from the other side."""
        flow = self.flows[connection] = Flow(self.connections[connection], seed, size, pause)
        begun = asyncio.create_task(flow.begun.wait())
        await asyncio.wait([begun, *flow.tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in flow.tasks:
            if task.done():
                task.result()  # raises what ended it
        await begun
        return {"first": flow.first}

    async def do_end_flow(self, connection: int) -> dict[str, Any]:
        """End the flow and tell what it saw."""
        return await self.flows.pop(connection).end()

    async def do_unbind(self, endpoint: int) -> dict[str, Any]:
        """Close an endpoint and forget it."""
        await self.endpoints.pop(endpoint).close()
        return {}


if __name__ == "__main__":
    asyncio.run(peer_ffi.main(LabAgent()))
