"""Whatever is called `iroh` in this interpreter, by the API of n0's bindings: ours, or theirs.

Relay off, loopback only.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import iroh
import iroh.iroh_ffi
from bench.interface import ALPN, Client, Conn, Info, OnDatagram, OnStream, Stream

DISTS: tuple[str, ...] = ("iroh",)

_tasks: set[asyncio.Task[None]] = set()


class BiStream:
    """A stream of the bindings' API under the workloads' names."""

    def __init__(self, stream: Any) -> None:
        send, receive = stream.send(), stream.recv()
        self.write = send.write_all
        self.finish = send.finish
        self.read = receive.read
        self.read_exactly = receive.read_exact
        self._keep = (stream, send, receive)


class Connection:
    """A dialled connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def open_bi(self) -> Stream:
        """Open a stream."""
        return BiStream(await self._connection.open_bi())

    async def send_datagram(self, data: bytes) -> None:
        """Send a datagram, waiting for buffer space."""
        await self._connection.send_datagram_wait(data)

    async def close(self) -> None:
        """Close with code 0."""
        self._connection.close(0, b"")

    def packets(self) -> int | None:
        """Count datagrams of all paths."""
        stats = self._connection.stats()
        return int(stats.udp_tx_datagrams + stats.udp_rx_datagrams)


class Endpoint:
    """A dialling endpoint."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    async def connect(self, info: Info) -> Conn:
        """Dial the server by its id and address."""
        peer = iroh.EndpointId.from_string(info["id"])
        addr = iroh.EndpointAddr(peer, None, [info["addr"]])
        return Connection(await self._endpoint.connect(addr, ALPN))

    async def close(self) -> None:
        """Close the endpoint."""
        await self._endpoint.close()


async def _bind(alpns: list[bytes] | None = None) -> Any:
    iroh.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())
    options = iroh.EndpointOptions(
        preset=iroh.preset_minimal(),
        relay_mode=iroh.RelayMode.disabled(),
        bind_addr="127.0.0.1:0",
        alpns=alpns,
    )
    return await iroh.Endpoint.bind(options)


async def bind() -> Client:
    """Bind a dialling endpoint."""
    return Endpoint(await _bind())


def _spawn(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    _tasks.add(task)
    task.add_done_callback(_reap)


def _reap(task: "asyncio.Task[None]") -> None:
    """Forget a task; a client that went away is no error of the server."""
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()


async def _datagrams(connection: Any, on_datagram: OnDatagram) -> None:
    while True:
        on_datagram(await connection.read_datagram())


async def _connection(incoming: Any, on_stream: OnStream, on_datagram: OnDatagram) -> None:
    connection = await (await incoming.accept()).connect()
    _spawn(_datagrams(connection, on_datagram))
    while True:
        _spawn(_serve_stream(BiStream(await connection.accept_bi()), on_stream))


async def _serve_stream(stream: Stream, on_stream: OnStream) -> None:
    await on_stream(stream)


async def serve(on_stream: OnStream, on_datagram: OnDatagram) -> Info:
    """Start a server."""
    endpoint = await _bind([ALPN])

    async def accept() -> None:
        while (incoming := await endpoint.accept_next()) is not None:
            _spawn(_connection(incoming, on_stream, on_datagram))

    _spawn(accept())
    addr = next(addr for addr in endpoint.bound_sockets() if addr.startswith("127."))
    return {"id": str(endpoint.id()), "addr": addr}
