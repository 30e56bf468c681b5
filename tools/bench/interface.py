"""What a benchmarked implementation looks like to the workloads.

An adapter is a module `impl_NAME.py` with

    DISTS: tuple[str, ...]                        distributions whose versions are named
    async serve(on_stream, on_datagram) -> Info   start a server that lives as long as the process
    async bind() -> Client                        a dialling end

Info is JSON: what a client's `connect` needs. Two adapters with the same Info and wire format can
be mixed, which is how interop is measured.
"""

import importlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Info = dict[str, Any]
ALPN = b"bench/0"

IMPLEMENTATIONS = {
    "ours": "this project",
    "iroh_ffi": "n0's bindings as shipped",
    "iroh_ffi_fast": "n0's bindings without their per-byte copy: the Rust engine",
    "aioquic": "aioquic through its own asyncio API",
}


class Stream(Protocol):
    """A bidirectional stream."""

    async def write(self, data: bytes) -> object:
        """Write all of it, waiting while buffers are full."""

    async def finish(self) -> object:
        """Say that nothing more comes."""

    async def read(self, limit: int) -> bytes:
        """Read what there is; b"" at the end."""

    async def read_exactly(self, size: int) -> bytes:
        """Read so many bytes."""


class Conn(Protocol):
    """A connection of the dialling side."""

    async def open_bi(self) -> Stream:
        """Open a stream."""

    async def send_datagram(self, data: bytes) -> None:
        """Send a datagram, waiting rather than dropping others where the API can."""

    async def close(self) -> None:
        """Close it."""

    def packets(self) -> int | None:
        """Count UDP datagrams sent and received so far; None when it is not known."""


class Client(Protocol):
    """A dialling end."""

    async def connect(self, info: Info) -> Conn:
        """Connect to the server that gave this info."""

    async def close(self) -> None:
        """Release it."""


OnStream = Callable[[Stream], Awaitable[None]]
OnDatagram = Callable[[bytes], None]


class Adapter(Protocol):
    """A module `impl_NAME`."""

    DISTS: tuple[str, ...]

    async def serve(self, on_stream: OnStream, on_datagram: OnDatagram) -> Info:
        """Start the server."""

    async def bind(self) -> Client:
        """Make a dialling end."""


def load(name: str) -> Adapter:
    """Import an adapter. Raises ImportError where its distributions are missing."""
    adapter: Any = importlib.import_module(f"bench.impl_{name}")
    return adapter  # type: ignore[no-any-return]
