"""Two people type to each other.

    python examples/chat.py             prints a ticket and waits for one who has it
    python examples/chat.py TICKET      joins

A line is a message. The end of input (Ctrl-D) ends it for both. With presets.N0 in place of
presets.Minimal it works across the internet.
"""

import asyncio
import contextlib
import sys

from iroh import Connection, Endpoint, EndpointTicket, IrohError, RecvStream, SendStream, presets

ALPN = b"iroh-example/chat/0"


async def type_lines(send: SendStream) -> None:
    """Send what is typed, until the end of input."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        await send.write_all(line.encode())
    await send.finish()


async def show_lines(recv: RecvStream, name: str) -> None:
    """Print what comes, a line at a time, until the other side has no more to say."""
    buffer = b""
    async for chunk in recv:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            print(f"{name}: {line.decode(errors='replace')}", flush=True)


async def talk(connection: Connection, send: SendStream, recv: RecvStream) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(type_lines(send))
        tasks.create_task(show_lines(recv, connection.remote_id().fmt_short()))
    with contextlib.suppress(IrohError):
        await send.stopped()  # the other side has everything


async def host() -> None:
    async with Endpoint.bind(presets.Minimal, alpns=[ALPN]) as endpoint:
        print(EndpointTicket.from_addr(endpoint.addr()), flush=True)
        incoming = await endpoint.accept_next()
        assert incoming is not None
        connection = await incoming
        send, recv = await connection.accept_bi()
        await recv.read_exact(1)
        await talk(connection, send, recv)
        await connection.closed()


async def join(ticket: str) -> None:
    addr = EndpointTicket.from_string(ticket).endpoint_addr()
    async with (
        Endpoint.bind(presets.Minimal) as endpoint,
        await endpoint.connect(addr, ALPN) as connection,
    ):
        send, recv = await connection.open_bi()
        await send.write_all(b"\n")  # the other side sees a stream with its first byte
        await talk(connection, send, recv)


if __name__ == "__main__":
    asyncio.run(join(sys.argv[1]) if len(sys.argv) > 1 else host())
