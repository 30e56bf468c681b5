"""Ping, wire-compatible with n0's crate iroh-ping 1.0.

    dialler   opens a bidirectional stream:   "PING" end
    acceptor                                  "PONG" end
    dialler   closes the connection with code 0, "bye!"

n0's acceptor answers the first stream of a connection and no other; ours answers each of them.
"""

import asyncio
import contextlib
import time

from iroh.connection import Connection
from iroh.endpoint import Endpoint
from iroh.errors import ConnectionLostError, StreamError
from iroh.router import ProtocolHandler
from iroh.streams import BiStream
from iroh_base import EndpointAddr, IrohError, PublicKey

__all__ = ["PING_ALPN", "Ping", "PingError", "ping", "ping_once"]

PING_ALPN = b"iroh/ping/0"  # iroh-ping `ALPN`
_PING, _PONG = b"PING", b"PONG"
_MAX_STREAMS = 100
"""Pings answered at once on one connection; the transport allows a peer no more (iroh: 100)."""


class PingError(IrohError):
    """The peer answered something else than a pong."""


class Ping(ProtocolHandler):
    """Answers pings until the peer closes the connection. `answered` counts them."""

    def __init__(self) -> None:
        self.answered: int = 0

    async def accept(self, conn: Connection) -> None:
        """Answer every stream of the connection, until it ends.

        Cancelling it ends all its streams.
        """
        room = asyncio.Semaphore(_MAX_STREAMS)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await room.acquire()
                try:
                    task = tasks.create_task(self._answer(await conn.accept_bi()))
                except ConnectionLostError:
                    return
                task.add_done_callback(lambda _task: room.release())
                del task  # a stream that only its task has ends with it, when we are cancelled

    async def _answer(self, stream: BiStream) -> None:
        send, recv = stream
        try:
            said = await recv.read_to_end(len(_PING))
        except StreamError:  # it said more, or nothing comes any more
            said = b""
        with contextlib.suppress(IrohError):  # the connection may have ended
            if said != _PING:
                await send.reset()
                return
            await send.write_all(_PONG)
            await send.finish()
            self.answered += 1


async def ping(endpoint: Endpoint, addr: EndpointAddr | PublicKey) -> float:
    """Dial, ping once, close: the seconds that the round trip took, without the dial.

    Raises ConnectError, PingError, StreamError. Cancelling it closes the connection.
    """
    async with await endpoint.connect(addr, PING_ALPN) as conn:
        seconds = await ping_once(conn)
        conn.close(0, b"bye!")
        return seconds


async def ping_once(conn: Connection) -> float:
    """Ping on an open connection: the seconds that it took. Raises as `ping`.

    The second one on a connection is answered by peers such as ours only. PingError: another answer
    than a pong. Cancelling it drops the stream; the connection stays.
    """
    send, recv = await conn.open_bi()
    start = time.perf_counter()
    await send.write_all(_PING)
    await send.finish()
    answer = await recv.read_to_end(len(_PONG))
    seconds = time.perf_counter() - start
    if answer != _PONG:
        raise PingError(f"the peer answered {answer!r} instead of a pong")
    return seconds
