"""An echo server and its client, in one process: python examples/echo.py"""

import asyncio

from iroh import Connection, ConnectionLostError, Endpoint, ProtocolHandler, presets

ALPN = b"iroh-example/echo/0"


class Echo(ProtocolHandler):
    async def accept(self, conn: Connection) -> None:
        """Serve one peer until it closes the connection."""
        while True:
            try:
                send, recv = await conn.accept_bi()
            except ConnectionLostError:
                return
            async with send:
                async for chunk in recv:
                    await send.write_all(chunk)


async def main() -> None:
    async with (
        Endpoint.bind(presets.Minimal, protocols={ALPN: Echo()}) as server,
        Endpoint.bind(presets.Minimal) as client,
        await client.connect(server.addr(), ALPN) as conn,
    ):
        send, recv = await conn.open_bi()
        await send.write_all(b"hello from asyncio")
        await send.finish()
        print((await recv.read_to_end(100)).decode())


if __name__ == "__main__":
    asyncio.run(main())
