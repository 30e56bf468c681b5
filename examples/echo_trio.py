"""An echo server and its client, for trio: python examples/echo_trio.py"""

import trio

from iroh import ConnectionLostError, presets
from iroh.trio import BiStream, Connection, open_endpoint, serve_connections

ALPN = b"iroh-example/echo/0"


async def echo(stream: BiStream) -> None:
    async with stream:
        async for chunk in stream:
            await stream.send_all(chunk)


async def serve(connection: Connection) -> None:
    """Serve one peer until it closes the connection."""
    async with trio.open_nursery() as nursery:
        while True:
            try:
                stream = await connection.accept_bi()
            except ConnectionLostError:
                return
            nursery.start_soon(echo, stream)


async def main() -> None:
    async with (
        open_endpoint(presets.Minimal, alpns=[ALPN]) as server,
        open_endpoint(presets.Minimal) as client,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(serve_connections, server, serve)
        async with (
            await client.connect(server.addr(), ALPN) as connection,
            await connection.open_bi() as stream,
        ):
            await stream.send_all(b"hello from trio")
            await stream.send_eof()
            with trio.fail_after(10):
                print((await stream.recv().read_to_end(100)).decode())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
