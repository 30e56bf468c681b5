"""Getting to a relay, or not: requests, answers, TLS, addresses."""

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme
from aiohttp import web

from iroh_relay.client import RelayState

from .fake_relay import FakeRelay, fake_relay
from .fakes import PEER, datagram
from .loopback import client_of, failure

PEER_ID = PEER.to_bytes()


async def test_the_request() -> None:
    async with fake_relay() as relay:
        relay.token = "let me in"
        client, _ = client_of(relay.url + "some/where?a=b", token="let me in")
        async with client:
            session = await relay.clients.get()
        request = session.request
        assert request.path_qs == "/relay?a=b"
        assert {name.lower(): value for name, value in request.headers.items()} == {
            "host": f"127.0.0.1:{relay.port}",
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-version": "13",
            "sec-websocket-key": request.headers["Sec-WebSocket-Key"],
            "sec-websocket-protocol": "iroh-relay-v2, iroh-relay-v1",
            "authorization": "Bearer let me in",
        }


async def test_denial_and_then_the_right_token() -> None:
    async with fake_relay() as relay:
        relay.token = "right"
        client, _ = client_of(relay.url, token="wrong")
        async with client:
            assert await failure(client) == "The relay denied our authentication (not authorized)"
            relay.token, relay.deny = "wrong", None
            await client.connected()
            assert client.status.get().last_error is None


async def test_a_token_that_is_no_header_value() -> None:
    client, _ = client_of("http://127.0.0.1:9/", token="a\r\nb: c")
    async with client:
        assert "not a valid HTTP header value" in await failure(client)


async def _refuse(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=400, text="no")


async def _redirect(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://127.0.0.1:9/elsewhere")


async def _page(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="hello")


@pytest.mark.parametrize(
    ("instead", "text"),
    [
        (_refuse, "Unexpected status during upgrade: 400"),
        (_redirect, "Unexpected status during upgrade: 302"),
        (_page, "Unexpected status during upgrade: 200"),
    ],
)
async def test_other_answers(
    instead: Callable[[web.Request], Awaitable[web.StreamResponse]], text: str
) -> None:
    async with fake_relay() as relay:
        relay.instead = instead
        client, _ = client_of(relay.url)
        async with client:
            assert text in await failure(client)
            relay.instead = None
            await client.connected()


@pytest.mark.parametrize(
    "echo", ["iroh-relay-v3", "iroh-relay-v2, iroh-relay-v1", "", "IROH-RELAY-V2"]
)
async def test_wrong_version(echo: str) -> None:
    async with fake_relay() as relay:
        relay.echo = echo
        client, _ = client_of(relay.url)
        async with client:
            text = "Server replied with invalid iroh-relay version header: "
            assert await failure(client) == text + (echo or "<empty>")


class _Mute(asyncio.Protocol):
    """Accepts and says nothing."""

    def __init__(self, met: asyncio.Event) -> None:
        self.met = met

    def data_received(self, data: bytes) -> None:
        self.met.set()


async def test_close_while_the_server_does_not_answer() -> None:
    met = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Mute(met), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/", f"https://127.0.0.1:{port}/"):
        met.clear()
        client, _ = client_of(url)
        async with client:
            await met.wait()
        assert client.status.get().state is RelayState.DISCONNECTED
    server.close()
    await server.wait_closed()


async def close_in_every_turn(url: str, **options: Any) -> int:
    """Close a client after 0, 1, 2 ... turns of the loop; how many of them were connected."""
    connected = 0
    for turns in range(80):
        client, _ = client_of(url, **options)
        client.start()
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.close()
        assert client.status.get().state is RelayState.DISCONNECTED
        connected += client.stats.conns_success
    return connected


async def test_close_in_every_turn_of_the_loop() -> None:
    async with fake_relay() as relay:
        assert await close_in_every_turn(relay.url) > 0


async def test_close_in_every_turn_of_the_loop_with_tls() -> None:
    authority = trustme.CA()
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trusting)
    async with fake_relay(server) as relay:
        url = f"https://127.0.0.1:{relay.port}/"
        assert await close_in_every_turn(url, ssl_context=trusting) > 0


async def test_nobody_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        client, _ = client_of(f"http://127.0.0.1:{reserved.getsockname()[1]}/")
        async with client:
            assert "cannot connect to 127.0.0.1" in await failure(client)


class Names:
    """A resolver that knows one name."""

    def __init__(self, *addresses: tuple[int, str]) -> None:
        self.addresses = list(addresses)
        self.asked: list[str] = []

    async def resolve(self, host: str) -> list[tuple[int, str]]:
        self.asked.append(host)
        if not self.addresses:
            raise OSError(f"{host} does not exist")
        return self.addresses


async def test_tls_with_a_trailing_dot() -> None:
    authority = trustme.CA()
    server, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("relay.test").configure_cert(server)
    authority.configure_trust(client_context)
    indicated: list[str | None] = []
    server.sni_callback = lambda _tls, name, _context: indicated.append(name)
    async with fake_relay(server) as relay:
        names = Names((socket.AF_INET, "127.0.0.1"))
        url = f"https://relay.test.:{relay.port}/"
        client, inbox = client_of(url, ssl_context=client_context, resolver=names)
        async with client:
            session = await relay.clients.get()
            await session.send(datagram(bytes(60000), 1000))
            assert len((await inbox.queue.get())[1]) == 60000
            assert client.send(PEER_ID, bytes(60000), 1000)
            assert len(await session.frames.get()) == 60036
            assert session.request.headers["Host"] == f"relay.test.:{relay.port}"
        assert names.asked == ["relay.test."]
        assert indicated == ["relay.test"]


async def test_tls_with_a_certificate_that_nobody_vouches_for() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("relay.test").configure_cert(server)
    async with fake_relay(server) as relay:
        names = Names((socket.AF_INET, "127.0.0.1"))
        client, _ = client_of(f"https://relay.test:{relay.port}/", resolver=names)
        async with client:
            assert "certificate verify failed" in await failure(client)


async def test_tries_addresses_until_one_answers() -> None:
    async with fake_relay() as relay:
        dead = [(socket.AF_INET, f"127.0.0.{n}") for n in range(2, 6)]
        names = Names((socket.AF_INET6, "::1"), *dead, (socket.AF_INET, "127.0.0.1"))
        client, _ = client_of(
            f"http://relay.test:{relay.port}/", resolver=names, prefer_ipv6=lambda: True
        )
        async with client:
            await relay.clients.get()


async def test_preferred_family() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    relay6 = FakeRelay()
    async with fake_relay() as relay4:
        relay6.port = relay4.port
        try:
            await relay6.start(host="::1")
        except OSError:
            pytest.skip("no IPv6 on loopback, or the port is taken")
        try:
            for prefer, relay in ((True, relay6), (False, relay4)):
                names = Names((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
                client, _ = client_of(
                    f"http://relay.test:{relay4.port}/",
                    resolver=names,
                    prefer_ipv6=lambda prefer=prefer: prefer,
                )
                async with client:
                    await relay.clients.get()
                    await client.connected()
        finally:
            await relay6.stop()


async def test_a_preferred_family_that_is_dead() -> None:
    names = Names((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
    async with fake_relay() as relay4:  # on IPv4 only
        url = f"http://relay.test:{relay4.port}/"
        client, _ = client_of(url, resolver=names, prefer_ipv6=lambda: True)
        async with client:
            await relay4.clients.get()
            await client.connected()


async def test_name_that_does_not_exist() -> None:
    client, _ = client_of("http://relay.test/", resolver=Names())
    async with client:
        assert "relay.test does not exist" in await failure(client)


def test_importing_the_client_does_not_import_aiohttp() -> None:
    code = "import sys, iroh_relay.client; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
