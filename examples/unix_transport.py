"""A transport of one's own: iroh over Unix stream sockets, which stand for Tor, or Bluetooth.

    python examples/unix_transport.py                both ends in this process
    python examples/unix_transport.py serve FOLDER   print a ticket, then echo until interrupted
    python examples/unix_transport.py dial TICKET    say hello to whoever made the ticket

An address is the path of a socket. Whoever has something to send opens a stream to it; the answers
come over a stream of the other's. A stream has no datagrams, so each is framed, and the first frame
is the sender's own path:

    length 2, big endian | that many bytes

There is no UDP socket and no relay. Who is at the other end is proven by QUIC, as ever.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path

from iroh import (
    CustomAddr,
    CustomTransport,
    Deliver,
    Endpoint,
    EndpointAddr,
    EndpointBuilder,
    EndpointTicket,
    Preset,
)
from iroh.protocols.echo import ECHO_ALPN, Echo

UNIX = 0x554E4958
"""The transport's id: "UNIX". Any u64 from 0x21 on will do that nobody else has taken."""
MAX_STREAMS = 64
"""Streams we open at most, and streams we let others open."""
MAX_QUEUED = 256
"""Datagrams that wait for a stream. More are lost, which tells QUIC to go slower."""


class UnixTransport(CustomTransport):
    """Datagrams over Unix stream sockets."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._addr = CustomAddr(UNIX, os.fsencode(path))
        self._queues: dict[CustomAddr, asyncio.Queue[bytes | None]] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._reading: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, deliver: Deliver) -> None:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._reading) < MAX_STREAMS:
                keep(self._reading, self._read(reader, writer, deliver))
            else:
                writer.close()

        self._server = await asyncio.start_unix_server(accepted, self._path)
        self.local_addrs.set((self._addr,))

    def is_valid_send_addr(self, addr: CustomAddr) -> bool:
        return addr.id == UNIX

    def send(self, dst: CustomAddr, src: CustomAddr | None, data: bytes, segment_size: int) -> bool:
        queue = self._queues.get(dst)
        if queue is None:
            if len(self._queues) >= MAX_STREAMS:
                return False
            queue = self._queues[dst] = asyncio.Queue(MAX_QUEUED)
            keep(self._writing, self._write(dst, queue))
        with contextlib.suppress(asyncio.QueueFull):
            queue.put_nowait(data)
        return True

    async def close(self) -> None:
        for queue in self._queues.values():
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)  # the end comes behind what is queued: the goodbye, mostly
        if self._writing:
            await asyncio.wait(self._writing)
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        for task in self._reading:
            task.cancel()
        if self._reading:
            await asyncio.wait(self._reading)

    async def _write(self, dst: CustomAddr, queue: "asyncio.Queue[bytes | None]") -> None:
        try:
            _, writer = await asyncio.open_unix_connection(os.fsdecode(dst.data))
            with contextlib.closing(writer):
                writer.write(framed(self._addr.data))
                while (data := await queue.get()) is not None:
                    writer.write(framed(data))
                    await writer.drain()
        except OSError:
            pass  # nobody is there: what is queued is lost, and the next datagram tries again
        finally:
            del self._queues[dst]

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deliver: Deliver
    ) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError):
            sender = CustomAddr(UNIX, await frame(reader))
            while True:  # until the peer is gone
                deliver(sender, await frame(reader), local=self._addr)


def keep(tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
    """Run a task, and hold it for as long as it runs."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def framed(data: bytes) -> bytes:
    """Put the length in front."""
    return len(data).to_bytes(2, "big") + data


async def frame(reader: asyncio.StreamReader) -> bytes:
    """Read a frame. Raises EOFError (IncompleteReadError) at the end of the stream."""
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))


# -- what one does with it -------------------------------------------------------------------------


class UnixOnly(Preset):
    """Everything over a Unix socket, made in this folder."""

    def __init__(self, folder: Path) -> None:
        self.transport = UnixTransport(folder / f"{os.urandom(4).hex()}.sock")

    def apply(self, builder: EndpointBuilder) -> None:
        builder.clear_ip_transports()
        builder.add_custom_transport(self.transport)


async def serve(folder: Path) -> None:
    """Echo until cancelled; print where."""
    async with Endpoint.bind(UnixOnly(folder), protocols={ECHO_ALPN: Echo()}) as server:
        addr = server.addr().with_addrs(server.custom_addrs())  # custom ones only if we say so
        print(EndpointTicket.from_addr(addr), flush=True)
        await asyncio.get_running_loop().create_future()


async def dial(addr: EndpointAddr) -> None:
    """Say hello, print the answer and the path it took."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Endpoint.bind(UnixOnly(Path(folder))) as client,
            await client.connect(addr, ECHO_ALPN) as connection,
        ):
            send, recv = await connection.open_bi()
            await send.write_all(b"hello over a Unix socket")
            await send.finish()
            print((await recv.read_to_end(100)).decode())
            (path,) = connection.paths()
            print(f"from {connection.remote_id().fmt_short()} over {path.remote_addr}")


async def both() -> None:
    """Both ends in one process."""
    with tempfile.TemporaryDirectory() as folder:
        async with Endpoint.bind(UnixOnly(Path(folder)), protocols={ECHO_ALPN: Echo()}) as server:
            await dial(EndpointAddr(server.id()).with_addrs(server.custom_addrs()))


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    match arguments:
        case []:
            asyncio.run(both())
        case ["serve", folder]:
            with contextlib.suppress(KeyboardInterrupt):
                asyncio.run(serve(Path(folder)))
        case ["dial", ticket]:
            asyncio.run(dial(EndpointTicket.from_string(ticket).endpoint_addr()))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
