"""`iroh connect`: open pipes to who listens.

Without --tcp and --unix one pipe with standard input and output. With one of them a socket of this
machine, of which every connection gets a pipe, and an iroh connection, of its own: dumbpipe serves
one pipe a connection.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from iroh.cli import exits
from iroh.cli.console import Console
from iroh.cli.listen import join_stdio
from iroh.cli.setup import bound, dial
from iroh.endpoint import Endpoint
from iroh.errors import StreamResetError, StreamStoppedError
from iroh.protocols.pipe import NO_SERVER, PIPE_ALPN, TAKEN, forward, open_pipe, reset_socket

__all__ = ["run"]

Accepted = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_LIMIT = 256 * 1024  # bytes that a socket may be ahead of the pipe
_WAITING = 1024  # connections that the kernel holds before we take them
_DIALS = 16
"""Dials at once: each costs some 20 ms of computing, and a thousand at once would all time out."""


async def run(options: argparse.Namespace, console: Console) -> int:
    """Serve until the pipe ends, or until cancelled."""
    if options.alpn and len(options.alpn) > 1:
        raise exits.CliError("a connection has one ALPN", "give --alpn once", exits.USAGE)
    async with bound(options, console) as endpoint:
        if options.tcp or options.unix:
            return await _listen_locally(endpoint, options, console)
        conn = await dial(endpoint, options.peer, _alpn(options), options, console)
        peer = str(conn.remote_id())
        console.tell("connected", f"connected: {peer}", peer=peer)
        async with conn, _worded(options):
            await join_stdio(await open_pipe(conn, handshake=not options.alpn), options)
    return exits.DONE


def _alpn(options: argparse.Namespace) -> bytes:
    return bytes(options.alpn[0]) if options.alpn else PIPE_ALPN


async def _listen_locally(endpoint: Endpoint, options: argparse.Namespace, console: Console) -> int:
    tasks: set[asyncio.Task[None]] = set()
    room = asyncio.Semaphore(_DIALS)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        try:
            async with room:
                conn = await dial(endpoint, options.peer, _alpn(options), options, console)
            async with conn, _worded(options):
                pipe = await open_pipe(conn, handshake=not options.alpn)
                await forward(pipe, reader, writer)
        except Exception as error:  # noqa: BLE001 (one pipe's end is not the program's)
            told = exits.in_words(error)
            console.tell("failed", f"pipe: {told}", message=str(told), status=told.status)
            reset_socket(writer)
        except asyncio.CancelledError:
            return  # asyncio.Server would log it
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async with _local_server(options, accepted) as where:
        peer = str(options.peer.id())
        console.tell("listening", f"{where} leads to {peer}", at=where, peer=peer)
        try:
            await asyncio.get_running_loop().create_future()  # until cancelled
        except asyncio.CancelledError:
            return exits.DONE
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    raise AssertionError


@asynccontextmanager
async def _worded(options: argparse.Namespace) -> AsyncIterator[None]:
    """Say what the codes mean with which a pipe is refused."""
    try:
        yield
    except (StreamResetError, StreamStoppedError) as error:
        if not options.alpn and error.code == NO_SERVER:
            raise exits.CliError(
                "the peer cannot open its end of the pipe",
                "is the server running that it leads to?",
                exits.REFUSED,
            ) from None
        if not options.alpn and error.code == TAKEN:
            raise exits.CliError(
                "the peer's end of the pipe is taken", "start another `iroh listen`", exits.REFUSED
            ) from None
        raise


@asynccontextmanager
async def _local_server(options: argparse.Namespace, accepted: Accepted) -> AsyncIterator[str]:
    """Listen on the TCP or Unix socket of the options; gives its address. Raises OSError."""
    if options.tcp:
        host, port = options.tcp
        server = await asyncio.start_server(accepted, host, port, limit=_LIMIT, backlog=_WAITING)
        found = ", ".join(_name(each) for each in server.sockets)
    else:
        start = getattr(asyncio, "start_unix_server", None)
        if start is None:
            raise exits.CliError("this system has no Unix sockets", "use --tcp", exits.USAGE)
        _remove_stale(options.unix)
        before = os.umask(0o177)  # whoever can write to the socket can use the pipe
        try:
            server = await start(accepted, options.unix, limit=_LIMIT, backlog=_WAITING)
        finally:
            os.umask(before)
        found = options.unix
    try:
        yield found
    finally:
        server.close()
        if options.unix:
            with contextlib.suppress(OSError):
                os.unlink(options.unix)


def _name(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises CliError where somebody does."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise exits.CliError(f"{path} exists and is no socket", "", exits.LOCAL_FILE)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise exits.CliError(
        f"another program listens on {path}", "choose another path", exits.LOCAL_FILE
    )
