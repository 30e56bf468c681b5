"""Echo: every bidirectional stream and every datagram comes back as it was sent."""

import asyncio

from iroh.connection import Connection
from iroh.errors import ConnectionLostError, DatagramError, StreamError
from iroh.router import ProtocolHandler
from iroh.streams import BiStream

ECHO_ALPN = b"iroh-example/echo/0"  # the ALPN of upstream's example `echo.rs`
MAX_STREAMS = 100
"""Streams served at once on one connection; the transport allows a peer no more (iroh: 100)."""


class Echo(ProtocolHandler):
    """Serves until the peer closes the connection. Bytes are passed on as they come."""

    async def accept(self, conn: Connection) -> None:
        """Echo streams and datagrams until the connection ends.

        Cancelling it ends all its streams.
        """
        room = asyncio.Semaphore(MAX_STREAMS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._datagrams(conn))
            while True:
                await room.acquire()
                try:
                    task = tasks.create_task(self._stream(await conn.accept_bi()))
                except ConnectionLostError:
                    return
                task.add_done_callback(lambda _task: room.release())
                del task  # a stream that only its task has ends with it, when we are cancelled

    async def _stream(self, stream: BiStream) -> None:
        send, recv = stream
        try:
            async for chunk in recv:
                await send.write_all(chunk)
            await send.finish()
        except StreamError:
            return  # reset, stopped, or the connection ended: nothing left to echo

    async def _datagrams(self, conn: Connection) -> None:
        while True:
            try:
                conn.send_datagram(await conn.read_datagram())
            except ConnectionLostError:
                return
            except DatagramError:
                continue  # it came whole but does not fit our path: unreliable means just that
