"""A relay in somebody else's application: the Rust tests of `relay_hyper.rs`, `relay_axum.rs`."""

import asyncio

from aiohttp import web

from iroh_base.addr import SocketAddr
from iroh_base.keys import SecretKey
from iroh_relay.client import RelayClient, probe_latency
from iroh_relay.relay_map import RelayConfig
from iroh_relay.server import RelayService, mount

from .peer import PATIENCE


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="mine")


async def test_a_relay_beside_other_pages() -> None:
    service = RelayService()
    app = web.Application()
    app.router.add_get("/", hello)
    mount(app, service, captive=True)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    url = f"http://{host}:{port}"
    inbox: asyncio.Queue[bytes] = asyncio.Queue()
    keys = [SecretKey.from_bytes(bytes([n]) * 32) for n in (1, 2)]
    a, b = (
        RelayClient(
            RelayConfig(url=url), key, on_datagrams=lambda _s, data, *_: inbox.put_nowait(data)
        )
        for key in keys
    )
    async with asyncio.timeout(PATIENCE):
        for client in (a, b):
            client.start()
            await client.connected()
        a.send(keys[1].public().to_bytes(), b"over a foreign server", 0)
        assert await inbox.get() == b"over a foreign server"
        assert await probe_latency(url) > 0
        reader, writer = await asyncio.open_connection(*SocketAddr(host, port))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"mine" in await reader.read()
        writer.close()
        await writer.wait_closed()
        await runner.cleanup()
        async for status in a.status.watch():
            if not status.is_connected:
                break
        await a.close()
        await b.close()
    assert len(service.clients) == 0
