"""One endpoint as a process: commands come in as JSON lines on stdin, answers leave on stdout.

The program knows only the public API of n0's bindings, `import iroh`. Run by the interpreter of
the Rust environment it is the real peer; run by ours, the very same file drives our endpoint, and
so shows that a program written for the bindings runs unchanged.

    in   {"id": 1, "do": "bind", "with": {"alpns": ["echo"]}}
    out  {"id": 1, "ok": {"endpoint": 1, ...}}
         {"id": 1, "error": {"type": "IrohError", "kind": "CONNECT", "message": "..."}}

Every command is a task of its own, so that `accept` can wait while `connect` is asked for.
Endpoints and connections are known by number. Payloads are made from a seed on both sides and
compared by SHA-256, so that no bulk passes through the pipes. End of stdin ends the process.
Nothing but the standard library and `iroh` may be imported here.
"""

import asyncio
import ctypes
import importlib.metadata
import importlib.util
import itertools
import json
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import iroh
from interop.peer_moves import Moves, digest

OURS = ("iroh_base", "iroh_relay", "iroh_dns_server")


def describe(error: BaseException) -> dict[str, Any]:
    """Tell the harness what was raised, in the terms of the bindings' IrohError."""
    told = {"type": type(error).__name__, "message": str(error), "repr": repr(error), "kind": None}
    if isinstance(error, iroh.IrohError):
        told["kind"] = error.kind().name
        told["message"] = error.message()
        told["debug"] = error.debug_message()
    return told


def quicken() -> None:
    """Let the bindings copy bytes at once into what they hand to Rust.

    Their generated code moves byte by byte in a Python loop, 6 MB/s at most; with that, a long
    transfer would measure the loop. What goes over the network is the same.
    """
    builder = getattr(sys.modules.get("iroh.iroh_ffi"), "_UniffiRustBufferBuilder", None)
    if builder is None:
        return

    def write(self: Any, value: bytes) -> None:
        with self._reserve(len(value)):
            at = ctypes.addressof(self.rbuf.data.contents) + self.rbuf.len
            ctypes.memmove(at, bytes(value), len(value))

    builder.write = write


# -- who am I ----------------------------------------------------------------------------------


def library() -> dict[str, Any] | None:
    """Find the native library beside the module, and say whether this process has it mapped."""
    folder = Path(iroh.__file__).parent
    found = [p for p in folder.iterdir() if p.stem in ("libiroh_ffi", "iroh_ffi", "uniffi_iroh")]
    native = [path for path in found if path.suffix in (".so", ".dylib", ".dll", ".pyd")]
    if not native:
        return None
    maps = Path("/proc/self/maps")
    return {
        "path": str(native[0]),
        "sha256": digest(native[0].read_bytes()),
        "size": native[0].stat().st_size,
        "mapped": str(native[0]) in maps.read_text() if maps.exists() else None,
    }


def identity() -> dict[str, Any]:
    """Tell everything that shows which implementation of `iroh` this process runs."""
    distribution = importlib.metadata.distribution("iroh")
    return {
        "version": distribution.version,
        "module": iroh.__file__,
        "library": library(),
        "importable": [name for name in OURS if importlib.util.find_spec(name) is not None],
        "executable": sys.executable,
        "prefix": sys.prefix,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


# -- parts of the commands ----------------------------------------------------------------------


def whereabouts(endpoint: Any) -> dict[str, Any]:
    """Say who and where an endpoint is."""
    addr = endpoint.addr()
    return {
        "id": str(endpoint.id()),
        "relay": addr.relay_url(),
        "addresses": addr.direct_addresses(),
        "sockets": endpoint.bound_sockets(),
        "ticket": str(iroh.EndpointTicket.from_addr(addr)),
    }


def path_list(connection: Any) -> list[dict[str, Any]]:
    """Describe the open paths."""
    return [
        {
            "id": path.id,
            "remote": path.remote_addr,
            "relayed": path.is_relay,
            "direct": path.is_ip,
            "selected": path.is_selected,
            "tx": path.stats.udp_tx_bytes,
            "rx": path.stats.udp_rx_bytes,
            "mtu": path.stats.current_mtu,
        }
        for path in connection.paths()
    ]


# -- the commands ------------------------------------------------------------------------------


class Agent(Moves):
    """The endpoints and connections of this process, and one `do_...` method per command."""

    def __init__(self) -> None:
        self.endpoints: dict[int, Any] = {}
        self.connections: dict[int, Any] = {}
        self.numbers = itertools.count(1)
        self.streams: dict[int, Any] = {}
        self.serving: set[asyncio.Task[None]] = set()

    async def do_hello(self) -> dict[str, Any]:
        """Say who is speaking."""
        return identity()

    # endpoints

    async def do_bind(
        self,
        alpns: list[str] | None = None,
        preset: str = "minimal",
        relay: str | None = None,
        key: str | None = None,
        address: str | None = None,
    ) -> dict[str, Any]:
        """Bind an endpoint. relay: a URL, or None for no relay; address "none": relay only."""
        if relay is None:
            mode = iroh.RelayMode.disabled()
        else:
            relays = iroh.RelayMap.empty()
            relays.insert(iroh.RelayConfig(url=relay, quic_port=None))
            mode = iroh.RelayMode.custom(relays)
        options = iroh.EndpointOptions(
            preset={"minimal": iroh.preset_minimal, "n0": iroh.preset_n0}[preset](),
            alpns=[alpn.encode() for alpn in alpns or []],
            relay_mode=mode,
            secret_key=bytes.fromhex(key) if key else None,
            bind_addr=address,
        )
        endpoint = await iroh.Endpoint.bind(options)
        number = self.keep(self.endpoints, endpoint)
        return {"endpoint": number, **whereabouts(endpoint)}

    async def do_online(self, endpoint: int) -> dict[str, Any]:
        """Wait for the home relay."""
        await self.endpoints[endpoint].online()
        return whereabouts(self.endpoints[endpoint])

    async def do_counters(self, endpoint: int) -> dict[str, int]:
        """Give the endpoint's counters."""
        return {name: item.value for name, item in self.endpoints[endpoint].stats().items()}

    async def do_close_endpoint(
        self, endpoint: int, connection: int = 0, code: int = 0, reason: str = ""
    ) -> dict[str, Any]:
        """Close an endpoint, and say how long that took and what its accept says afterwards.

        connection: closed with code and reason right before.
        """
        start = time.monotonic()
        if connection:
            self.connections[connection].close(code, reason.encode())
        await self.endpoints[endpoint].close()
        took = time.monotonic() - start
        after = await self.endpoints[endpoint].accept_next()
        closed = self.endpoints[endpoint].is_closed()
        return {"ms": round(1000 * took), "closed": closed, "accepts": after is not None}

    # connections

    async def do_connect(
        self,
        endpoint: int,
        alpn: str,
        id: str = "",
        relay: str | None = None,
        addresses: list[str] | None = None,
        ticket: str | None = None,
    ) -> dict[str, Any]:
        """Dial an address, or a ticket."""
        if ticket is not None:
            addr = iroh.EndpointTicket.from_string(ticket).endpoint_addr()
        else:
            addr = iroh.EndpointAddr(iroh.EndpointId.from_string(id), relay, addresses or [])
        start = time.monotonic()
        connection = await self.endpoints[endpoint].connect(addr, alpn.encode())
        return self.present(connection, start)

    async def do_accept(self, endpoint: int, decision: str = "accept") -> dict[str, Any]:
        """Take the next attempt: accept it, refuse it, or accept it once its address is proven."""
        retries = 0
        incoming = await self.endpoints[endpoint].accept_next()
        # A dialer sends its first packet to every address it knows, so there may be copies.
        while decision == "validate" and not await incoming.remote_addr_validated():
            await incoming.retry()
            retries += 1
            incoming = await self.endpoints[endpoint].accept_next()
        if decision == "refuse":
            await incoming.refuse()
            return {}
        relayed = (await incoming.remote_addr()).is_relay()
        start = time.monotonic()
        accepting = await incoming.accept()
        offered = bytes(await accepting.alpn()).decode()
        connection = await accepting.connect()
        told = {"relayed": relayed, "offered": offered, "retries": retries}
        return {**told, **self.present(connection, start)}

    async def do_next(self, endpoint: int) -> dict[str, bool]:
        """Wait for an attempt, and leave it; say whether there was one."""
        return {"some": await self.endpoints[endpoint].accept_next() is not None}

    def present(self, connection: Any, start: float) -> dict[str, Any]:
        """Number a connection and say who is at the other end."""
        return {
            "connection": self.keep(self.connections, connection),
            "remote": str(connection.remote_id()),
            "alpn": bytes(connection.alpn()).decode(),
            "side": connection.side().name,
            "ms": round(1000 * (time.monotonic() - start)),
            "paths": path_list(connection),
        }

    async def do_paths(self, connection: int) -> dict[str, Any]:
        """Describe the open paths now."""
        return {"paths": path_list(self.connections[connection])}

    async def do_stats(self, connection: int) -> dict[str, int]:
        """Give the connection's totals."""
        stats = self.connections[connection].stats()
        names = ("udp_tx_datagrams", "udp_tx_bytes", "udp_rx_datagrams", "udp_rx_bytes")
        return {name: getattr(stats, name) for name in names}

    async def do_close(self, connection: int, code: int, reason: str) -> dict[str, Any]:
        """Close with the application's code and reason."""
        self.connections[connection].close(code, reason.encode())
        return {"reason": self.connections[connection].close_reason()}

    async def do_closed(self, connection: int) -> dict[str, Any]:
        """Wait for the end and give its text."""
        return {"reason": str(await self.connections[connection].closed())}


# -- the pipes ---------------------------------------------------------------------------------


async def answer(command: Callable[..., Awaitable[Any]], request: dict[str, Any]) -> None:
    """Run one command and write its answer."""
    reply: dict[str, Any] = {"id": request["id"]}
    try:
        reply["ok"] = await command(**request.get("with", {}))
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 (the root of a task: the harness judges what it is)
        reply["error"] = describe(error)
    print(json.dumps(reply), flush=True)


async def main(agent: Agent) -> None:
    """Read commands until stdin ends, then close every endpoint."""
    set_loop = getattr(sys.modules.get("iroh.iroh_ffi"), "uniffi_set_event_loop", None)
    if set_loop is not None:
        set_loop(asyncio.get_running_loop())
    quicken()
    running: set[asyncio.Task[None]] = set()
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        task = asyncio.create_task(answer(getattr(agent, f"do_{request['do']}"), request))
        running.add(task)
        task.add_done_callback(running.discard)
    for task in (*running, *agent.serving):
        task.cancel()
    for endpoint in agent.endpoints.values():
        await endpoint.close()


if __name__ == "__main__":
    asyncio.run(main(Agent()))
