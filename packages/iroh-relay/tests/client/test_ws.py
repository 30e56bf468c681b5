"""The client over real sockets, against a relay on loopback."""

import asyncio
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme
from aiohttp import web

from iroh_relay.client import (
    DialRequest,
    RelayClient,
    RelayState,
    RelayStatus,
    StreamClosedError,
)
from iroh_relay.client.ws import dial
from iroh_relay.protos import MAX_FRAME_SIZE, ClientToRelayDatagrams
from iroh_relay.relay_map import RelayConfig

from .fake_relay import FakeRelay, Session, fake_relay
from .fakes import KEY, PEER, datagram, settle

PEER_ID = PEER.to_bytes()


class Inbox:
    """Where a client's datagrams go."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[bytes, bytes, int, int]] = asyncio.Queue()

    def __call__(self, *args: Any) -> None:
        self.queue.put_nowait(args)


def client_of(url: str, token: str | None = None, **options: Any) -> tuple[RelayClient, Inbox]:
    inbox = Inbox()
    config = RelayConfig(url=url, auth_token=token)
    return RelayClient(config, KEY, on_datagrams=inbox, home=True, **options), inbox


async def until(client: RelayClient, wanted: Callable[[RelayStatus], bool]) -> RelayStatus:
    """Wait for a status. Statuses that come and go between two turns may be missed."""
    async for status in client.status.watch():
        if wanted(status):
            return status
    raise AssertionError(f"the client ended: {client.status.get()}")


async def failure(client: RelayClient) -> str:
    """The first error of a client."""
    status = await until(client, lambda status: status.last_error is not None)
    assert status.last_error is not None
    return status.last_error


async def test_exchange() -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            assert session.endpoint_id == KEY.public().to_bytes()
            for size, segment_size in ((5, 0), (14520, 1452), (65502, 0), (65500, 131)):
                data = bytes(range(256)) * 256
                assert client.send(PEER_ID, data[:size], segment_size, 2)
                got = ClientToRelayDatagrams.decode(await session.frames.get())
                assert (got.dst, got.datagrams.contents) == (PEER, data[:size])
                assert (got.datagrams.ecn, got.datagrams.segment_size or 0) == (2, segment_size)
                await session.send(datagram(data[:size], segment_size or None, 1))
                assert await inbox.queue.get() == (PEER_ID, data[:size], segment_size, 1)
        await session.over.wait()
        assert client.status.get().state is RelayState.DISCONNECTED


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


async def test_server_restart() -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            await relay.clients.get()
            await client.connected()
            await relay.stop()
            await until(client, lambda status: not status.is_connected)
            client.send(PEER_ID, b"meanwhile")
            await relay.start()
            session = await relay.clients.get()
            await client.connected()
            assert ClientToRelayDatagrams.decode(await session.frames.get()).dst == PEER
            await session.send(datagram(b"again"))
            assert (await inbox.queue.get())[1] == b"again"
            assert client.stats.conns_success == 2


@pytest.mark.parametrize("message", [b"\x0e", b"\x06" + bytes(3), b"", bytes(MAX_FRAME_SIZE + 1)])
async def test_garbage_ends_the_connection_and_a_new_one_is_made(message: bytes) -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await session.send(datagram(b"ok"))
            await inbox.queue.get()
            await session.send(message)
            await session.over.wait()
            await relay.clients.get()
            await client.connected()


async def test_text_and_websocket_pings_are_no_frames() -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await session.ws.send_str("hello")
            await session.ws.ping(b"ws")
            await session.send(datagram(b"ok"))
            assert (await inbox.queue.get())[1] == b"ok"
            assert client.is_connected


async def test_close_frame_of_the_relay() -> None:
    async with fake_relay() as relay:
        client, _ = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            closing = asyncio.create_task(session.ws.close(code=1001))
            status = await until(client, lambda status: not status.is_connected)
            assert status.last_error == "closed by the relay (code 1001)"
            await relay.clients.get()
            await closing


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


async def test_version_1() -> None:
    async with fake_relay() as relay:
        relay.echo = "iroh-relay-v1"
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await session.send(b"\x0bsome problem")
            await session.send(datagram(b"ok"))
            await inbox.queue.get()
            assert client.is_connected
            await session.send(b"\x0d\x00")
            await session.over.wait()


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


async def test_nobody_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        client, _ = client_of(f"http://127.0.0.1:{reserved.getsockname()[1]}/")
        async with client:
            assert "cannot connect to 127.0.0.1" in await failure(client)


async def test_slow_server_bounds_what_waits_and_loses_nothing_that_was_accepted() -> None:
    async with fake_relay() as relay:
        client, _ = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            relay.reading.clear()
            accepted = await _fill(client)
            assert client.stats.frames_dropped == 1
            relay.reading.set()
            for number in range(accepted):
                frame = await session.frames.get()
                assert frame[34:38] == number.to_bytes(4), number
            assert client.send(PEER_ID, b"at once again")
            assert (await session.frames.get())[34:] == b"at once again"
            assert client.is_connected


async def _fill(client: RelayClient) -> int:
    """Send large frames until one is refused; how many were accepted."""
    for number in range(2000):
        if not client.send(PEER_ID, number.to_bytes(4) + bytes(65000)):
            return number
        await asyncio.sleep(0)
    raise AssertionError("nothing bounds what waits")


async def test_a_write_that_fills_the_transport_lets_others_wait_for_it() -> None:
    over = asyncio.Event()
    # aiohttp waits for the transport only after each 256 KiB; so each of these may wait.
    large = bytes(300_000)

    async def never_read(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=("iroh-relay-v2",))
        await ws.prepare(request)
        await over.wait()
        return ws

    async with fake_relay() as relay:
        relay.instead = never_read
        stream = await dial(DialRequest(relay.url))
        while not stream.writing_paused:  # until the server's buffers are full too
            while not stream.writing_paused:
                stream.write(large)
            await settle()
        waiting = [asyncio.create_task(stream.drain(large)) for _ in range(2)]
        await settle()
        assert not any(task.done() for task in waiting)
        stream.abort()
        with pytest.raises(StreamClosedError):
            await stream.receive()
        await asyncio.wait(waiting)
        assert all(isinstance(task.exception(), StreamClosedError | None) for task in waiting)
        await stream.close(0.0)
        over.set()


async def test_slow_server_and_close() -> None:
    async with fake_relay() as relay:
        client, _ = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            relay.reading.clear()
            await _fill(client)
            # Or the goodbye would wait for 3 s, as it should.
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0)
            session.drop()
            await closing


async def test_pong_that_arrives_while_the_loop_is_blocked() -> None:
    def block() -> None:
        if blocking:
            # What user code may do to us: the pong lies in our socket, and its deadline passes.
            time.sleep(0.6)
            blocked.set()

    blocking, blocked = False, asyncio.Event()
    async with fake_relay() as relay:
        relay.after_pong = block
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await _first_pong(client, session, inbox)
            blocking = True
            client.check_connection()
            await blocked.wait()
            await settle()
            assert client.stats.pongs_received == 2
            assert client.stats.conns_closed == 0
            await session.send(datagram(b"still here"))
            assert (await inbox.queue.get())[1] == b"still here"


async def _first_pong(client: RelayClient, session: Session, inbox: Inbox) -> None:
    """Wait until a round-trip time is known: what is sent after a pong arrives after it."""
    while client.stats.rtt is None:
        await session.send(datagram(b"?"))
        await inbox.queue.get()


async def test_pong_that_is_really_late() -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await _first_pong(client, session, inbox)
            relay.answering.clear()
            start = time.monotonic()
            client.check_connection()
            status = await until(client, lambda status: not status.is_connected)
            assert status.last_error == "ping timeout"
            assert 0.45 < time.monotonic() - start < 5
            relay.answering.set()
            await relay.clients.get()


async def test_local_address_gone() -> None:
    async with fake_relay() as relay:
        client, _ = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            client.check_connection({"127.0.0.1"})
            assert client.is_connected
            client.check_connection({"192.0.2.1"})
            await session.over.wait()
            await relay.clients.get()
            await client.connected()


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


async def test_name_that_does_not_exist() -> None:
    client, _ = client_of("http://relay.test/", resolver=Names())
    async with client:
        assert "relay.test does not exist" in await failure(client)


async def test_two_clients_with_one_default_clock_leave_nothing() -> None:
    async with fake_relay() as relay:
        for _ in range(3):
            client, _ = client_of(relay.url)
            client.start()
            await client.connected()
            await client.close()
            assert client.stats.conns_closed == 1


def test_importing_the_client_does_not_import_aiohttp() -> None:
    code = "import sys, iroh_relay.client; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
