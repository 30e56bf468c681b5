"""The pipe: a stream joined to a socket or a terminal, wire-compatible with n0's dumbpipe 0.40.

    dialler   opens a bidirectional stream:   "hello" data ... end
    acceptor                                  data ... end

The handshake makes the stream known to the acceptor before there is data. With an ALPN of the
user's there is none. dumbpipe uses one stream of each connection; our acceptor serves all.

    router = Router(endpoint, {PIPE_ALPN: Pipe(to_tcp("localhost", 22))})
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol

from iroh.connection import Connection
from iroh.errors import ConnectionLostError, StreamLostError, StreamStoppedError
from iroh.router import ProtocolHandler
from iroh.streams import BiStream, RecvStream, SendStream
from iroh_base import IrohError

__all__ = [
    "HANDSHAKE",
    "NO_SERVER",
    "PIPE_ALPN",
    "TAKEN",
    "Pipe",
    "PipeError",
    "PipeTakenError",
    "forward",
    "open_pipe",
    "reset_socket",
    "to_tcp",
    "to_unix",
]

logger: logging.Logger = logging.getLogger(__name__)

PIPE_ALPN = b"DUMBPIPEV0"  # dumbpipe `ALPN`
HANDSHAKE = b"hello"  # dumbpipe `HANDSHAKE`
_MAX_STREAMS = 100
"""Pipes of one connection at once; the transport allows a peer no more (iroh: 100)."""
_CHUNK = 256 * 1024  # read at a time
NO_SERVER, TAKEN = 1, 2
"""The codes of a reset: what our end of the pipe leads to cannot be reached; it has one already."""


class PipeError(IrohError):
    """The other end does not speak the pipe's protocol, or there is no pipe for it.

    `code`: with which its stream is reset.
    """

    code = NO_SERVER


class PipeTakenError(PipeError):
    """Somebody else has the pipe."""

    code = TAKEN


class Reader(Protocol):
    """Where a pipe's data comes from: an asyncio.StreamReader, for example."""

    async def read(self, n: int, /) -> bytes:
        """Return some bytes, b"" at the end."""


class Writer(Protocol):
    """Where a pipe's data goes to: an asyncio.StreamWriter, for example."""

    def write(self, data: bytes, /) -> None:
        """Take bytes."""

    async def drain(self) -> None:
        """Wait until there is room for more."""

    def write_eof(self) -> None:
        """Say that nothing more comes."""


Serve = Callable[[BiStream, Connection], Awaitable[None]]
"""What is done with each accepted stream: `to_tcp`, `to_unix`, or a function of your own."""


class Pipe(ProtocolHandler):
    """Joins every stream of a connection to what `serve` makes of it."""

    def __init__(self, serve: Serve, *, handshake: bool = True) -> None:
        """handshake: whether the peer begins with one; False for ALPNs other than PIPE_ALPN."""
        self._serve = serve
        self._handshake = handshake

    async def accept(self, conn: Connection) -> None:
        """Serve the connection's streams until it ends. Cancelling it ends all its streams."""
        room = asyncio.Semaphore(_MAX_STREAMS)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await room.acquire()
                try:
                    task = tasks.create_task(self._stream(await conn.accept_bi(), conn))
                except ConnectionLostError:
                    return
                task.add_done_callback(lambda _task: room.release())
                del task  # a stream that only its task has ends with it, when we are cancelled

    async def _stream(self, stream: BiStream, conn: Connection) -> None:
        try:
            if self._handshake:
                await read_handshake(stream[1])
            await self._serve(stream, conn)
        except (IrohError, OSError) as error:
            logger.info("a pipe from %s: %s", conn.remote_id().fmt_short(), error)
            await abandon(stream, error.code if isinstance(error, PipeError) else NO_SERVER)


async def open_pipe(conn: Connection, *, handshake: bool = True) -> BiStream:
    """Open a pipe on a connection. Raises ConnectionLostError, StreamError.

    Cancelling it drops the stream, which finishes it.
    """
    stream = await conn.open_bi()
    if handshake:
        await stream[0].write_all(HANDSHAKE)
    return stream


async def read_handshake(recv: RecvStream) -> None:
    """Read the five bytes off an accepted stream. Raises PipeError, StreamError."""
    if (found := await recv.read_exact(len(HANDSHAKE))) != HANDSHAKE:
        raise PipeError(f"the pipe begins with {found!r} instead of {HANDSHAKE!r}")


async def abandon(stream: BiStream, code: int = 0) -> None:
    """Reset and stop what is open of a stream. Never raises."""
    with contextlib.suppress(IrohError):
        await stream[0].reset(code)
    with contextlib.suppress(IrohError):
        await stream[1].stop(code)


async def forward(stream: BiStream, reader: Reader, writer: Writer) -> None:
    """Carry data both ways until both have ended and the peer has all of ours.

    The end of one direction is passed on, and the other goes on. An error of either ends both:
    the stream is reset and stopped with code 0, as dumbpipe does. A peer that closes the connection
    with code 0 after its data has ended wants no more of ours: that is no error.

    Raises StreamError, or what the reader or the writer raise. Cancelling it abandons the stream.
    """
    send, recv = stream
    incoming = asyncio.create_task(_from_peer(recv, writer), name="iroh-pipe-from-peer")
    tasks = {
        incoming,
        asyncio.create_task(_to_peer(reader, send), name="iroh-pipe-to-peer"),
        asyncio.create_task(_until_all_is_there(send), name="iroh-pipe-end"),
    }
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for error in filter(None, (task.exception() for task in done)):
            if not (_is_good_bye(error) and await _ends_well(incoming)):
                raise error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await abandon(stream)


async def _to_peer(reader: Reader, send: SendStream) -> None:
    while data := await reader.read(_CHUNK):
        await send.write_all(data)
    await send.finish()


async def _from_peer(recv: RecvStream, writer: Writer) -> None:
    while data := await recv.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _until_all_is_there(send: SendStream) -> None:
    """Wait for the peer to acknowledge the end; raises when it wants no more, or is gone."""
    code = await send.stopped()
    if code is not None:
        raise StreamStoppedError(code)


def _is_good_bye(error: BaseException) -> bool:
    if not isinstance(error, StreamLostError):
        return False
    return error.reason.kind == "ApplicationClosed" and getattr(error.reason, "code", None) == 0


async def _ends_well(incoming: "asyncio.Task[None]") -> bool:
    """Whether all of the peer's data came: what did before a connection ended can be read still."""
    await asyncio.wait((incoming,))
    return incoming.exception() is None


def to_tcp(host: str, port: int) -> Serve:
    """Join each stream to a new TCP connection."""

    async def serve(stream: BiStream, _conn: Connection) -> None:
        await _join(stream, await asyncio.open_connection(host, port, limit=_CHUNK))

    return serve


def to_unix(path: str) -> Serve:
    """Join each stream to a new connection to a Unix socket.

    Its streams end with a PipeError on systems without Unix sockets.
    """

    async def serve(stream: BiStream, _conn: Connection) -> None:
        connect = getattr(asyncio, "open_unix_connection", None)
        if connect is None:
            raise PipeError("this system has no Unix sockets")
        await _join(stream, await connect(path, limit=_CHUNK))

    return serve


def reset_socket(writer: asyncio.StreamWriter) -> None:
    """Break a TCP connection off: a mere close would look like the whole of the data."""
    found = writer.get_extra_info("socket")
    if found is not None and found.family != getattr(socket, "AF_UNIX", None):
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)  # struct linger: on, for 0 seconds
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def _join(
    stream: BiStream, joined: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    reader, writer = joined
    try:
        await forward(stream, reader, writer)
    except BaseException:
        reset_socket(writer)
        raise
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
