"""`iroh listen`: be the end of pipes that others open.

Without --tcp and --unix the first pipe gets standard input and output, and the program ends with
it. With one of them every pipe is joined to a new connection to that socket, until interrupted.
"""

import argparse
import asyncio
from collections.abc import Mapping

from iroh.cli import exits
from iroh.cli.console import Console
from iroh.cli.setup import bound, our_ticket, serving, wait_online
from iroh.cli.stdio import Nothing, take_stdin, take_stdout
from iroh.connection import Connection
from iroh.protocols.pipe import PIPE_ALPN, Pipe, PipeTakenError, Serve, forward, to_tcp, to_unix
from iroh.router import ProtocolHandler
from iroh.streams import BiStream

__all__ = ["run"]


async def run(options: argparse.Namespace, console: Console) -> int:
    """Serve until the pipe ends, or until cancelled."""
    if not (options.tcp or options.unix):
        return await _listen_stdio(options, console)
    if options.tcp:
        host, port = options.tcp
        serve, where = to_tcp(host, port), f"{host}:{port}"
    else:
        serve, where = to_unix(options.unix), str(options.unix)
    told = _telling(serve, console)
    async with bound(options, console) as endpoint:
        await wait_online(endpoint, options, console)
        async with serving(endpoint, _handlers(options, told), options.allow, console):
            ticket = our_ticket(endpoint)
            say = f"forwarding pipes to {where}; to open one:\n{_commands(options, ticket, 'tcp')}"
            console.ticket("listening", say, ticket, id=str(endpoint.id()), to=where)
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            except asyncio.CancelledError:
                return exits.DONE
    raise AssertionError


async def _listen_stdio(options: argparse.Namespace, console: Console) -> int:
    chosen: asyncio.Future[tuple[BiStream, Connection]]
    chosen = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def serve(stream: BiStream, conn: Connection) -> None:
        if chosen.done():
            raise PipeTakenError("the pipe is taken")
        chosen.set_result((stream, conn))
        await ended.wait()

    async with bound(options, console) as endpoint:
        await wait_online(endpoint, options, console)
        async with serving(endpoint, _handlers(options, serve), options.allow, console):
            ticket = our_ticket(endpoint)
            say = f"listening; to connect:\n{_commands(options, ticket)}"
            console.ticket("listening", say, ticket, id=str(endpoint.id()))
            stream, conn = await chosen
            peer = str(conn.remote_id())
            console.tell("connected", f"connected: {peer}", peer=peer)
            try:
                await join_stdio(stream, options)
            finally:
                ended.set()
            conn.close()
    return exits.DONE


async def join_stdio(stream: BiStream, options: argparse.Namespace) -> None:
    """Join a pipe to standard input and output. Raises StreamError, BrokenPipeError."""
    source = Nothing() if options.recv_only else take_stdin()
    sink = take_stdout()
    try:
        await forward(stream, source, sink)
    finally:
        source.close()
        sink.close()


def _handlers(options: argparse.Namespace, serve: Serve) -> Mapping[bytes, ProtocolHandler]:
    if options.alpn:
        return {alpn: Pipe(serve, handshake=False) for alpn in options.alpn}
    return {PIPE_ALPN: Pipe(serve)}


def _telling(serve: Serve, console: Console) -> Serve:
    async def told(stream: BiStream, conn: Connection) -> None:
        peer = str(conn.remote_id())
        console.tell("opened", f"pipe from {peer}", peer=peer)
        try:
            await serve(stream, conn)
        except Exception as error:
            words = str(exits.in_words(error))
            console.tell("failed", f"pipe from {peer}: {words}", peer=peer, message=words)
            raise
        console.tell("closed", "", peer=peer)

    return told


def _commands(options: argparse.Namespace, ticket: str, form: str = "") -> str:
    """What to type on the other side."""
    if options.alpn:
        alpn = _alpn_text(options.alpn[0])
        return f"  iroh connect --alpn {alpn} {ticket}"
    if form:
        return f"  iroh connect --tcp localhost:PORT {ticket}"
    return f"  iroh connect {ticket}\n  dumbpipe connect {ticket}"


def _alpn_text(alpn: bytes) -> str:
    try:
        text = alpn.decode("ascii")
    except UnicodeDecodeError:
        return alpn.hex()
    return f"utf8:{text}" if text.isprintable() and " " not in text else alpn.hex()
