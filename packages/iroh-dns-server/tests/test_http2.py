"""HTTP/2: h2's own client side against ours, in memory; and over TLS on a real server."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import dns.message
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_dns_server import Config, DnsServer, HttpsConfig, Metrics
from iroh_dns_server.http import http2
from iroh_dns_server.http.body import BODY_LIMIT
from iroh_dns_server.http.exchange import Ask, BodyError, Reply, error_reply
from iroh_dns_server.http.http2 import Http2

ORIGIN = "irohdns.example."
CALM = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


class FakeRoutes:
    """Answers with what was asked. /wait never comes back, /big is large."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.asks: list[Ask] = []

    async def answer(self, ask: Ask) -> Reply:
        self.asks.append(ask)
        if ask.path == "/wait":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if ask.path == "/big":
            return Reply(200, bytes(50_000), "x/y")
        if ask.path == "/early":
            return error_reply(429)
        try:
            return Reply(200, await ask.read(), "x/y", {"X-Path": ask.path})
        except BodyError as error:
            return error_reply(error.status, error.detail)


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()
        self.closed = self.stuck = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 7) if name == "peername" else default

    def write(self, data: Any) -> None:
        self.out += data

    def get_write_buffer_size(self) -> int:
        return http2.UNREAD_LIMIT + 1 if self.stuck else 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


class Bench:
    """A client and a connection, and what passes between them."""

    def __init__(self, **options: Any) -> None:
        self.metrics = Metrics()
        self.routes = FakeRoutes()
        routes: Any = self.routes
        self.server = Http2(routes, self.metrics, **options)
        self.connection = self.server()
        self.transport = FakeTransport()
        self.connection.connection_made(self.transport)
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.client = h2.connection.H2Connection(config)
        self.client.initiate_connection()
        self.events: list[Any] = []

    def ask(self, path: str, body: bytes | None = b"", method: str = "PUT") -> int:
        """Begin a request; body None: it does not end."""
        stream: int = self.client.get_next_available_stream_id()
        headers = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "x")]
        self.client.send_headers(stream, headers, end_stream=body == b"")
        if body:
            self.client.send_data(stream, body, end_stream=True)
        return stream

    async def pump(self, *, until: type | None = None, stream: int | None = None) -> Any:
        """Pass bytes both ways until the client has seen that event."""
        async with asyncio.timeout(10):
            while True:
                if data := self.client.data_to_send():
                    self.connection.data_received(data)
                await asyncio.sleep(0)
                if self.transport.out:
                    data, self.transport.out = bytes(self.transport.out), bytearray()
                    self.events += self.client.receive_data(data)
                    for event in self.events:
                        if isinstance(event, h2.events.DataReceived):
                            with contextlib.suppress(Exception):
                                self.client.acknowledge_received_data(1, event.stream_id)
                if until is None:
                    return None
                for event in self.events:
                    if type(event) is until and stream in (None, getattr(event, "stream_id", 0)):
                        return event

    async def answer(self, stream: int) -> tuple[int, bytes]:
        """The status and body of an answer."""
        await self.pump(until=h2.events.StreamEnded, stream=stream)
        found = [e for e in self.events if getattr(e, "stream_id", None) == stream]
        [head] = [dict(e.headers) for e in found if type(e) is h2.events.ResponseReceived]
        data = b"".join(e.data for e in found if type(e) is h2.events.DataReceived)
        return int(head[":status"]), data

    async def end(self) -> None:
        """What asyncio does when the transport is closed."""
        tasks = self.connection.tasks()
        self.connection.connection_lost(None)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not self.server.connections


async def test_requests_on_one_connection() -> None:
    bench = Bench()
    streams = [bench.ask(f"/a%20b?q={n}", b"%d" % n) for n in range(1, 51)]
    for number, stream in enumerate(streams, 1):
        assert await bench.answer(stream) == (200, b"%d" % number)
    ask = bench.routes.asks[0]
    assert (ask.method, ask.path, ask.query, ask.remote) == ("PUT", "/a b", "q=1", "192.0.2.1")
    await bench.end()


async def test_head_and_large_answers() -> None:
    bench = Bench()
    assert await bench.answer(bench.ask("/", method="HEAD")) == (200, b"")
    bench.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
    await bench.pump()
    stream = bench.ask("/big", method="GET")
    await bench.pump(until=h2.events.DataReceived, stream=stream)
    bench.client.increment_flow_control_window(100_000)
    bench.client.increment_flow_control_window(100_000, stream)
    status, body = await bench.answer(stream)
    assert (status, len(body)) == (200, 50_000)
    await bench.end()


async def test_bodies_too_large_too_slow_or_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    status, _ = await bench.answer(bench.ask("/", bytes(BODY_LIMIT + 1)))
    assert status == 413
    early = bench.ask("/early", None)
    assert (await bench.answer(early))[0] == 429
    reset = await bench.pump(until=h2.events.StreamReset, stream=early)
    assert reset.error_code == h2.errors.ErrorCodes.NO_ERROR
    monkeypatch.setattr(http2, "BODY_TIMEOUT", 0.01)
    assert (await bench.answer(bench.ask("/", None)))[0] == 408
    await bench.end()


async def test_a_peer_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "WRITE_TIMEOUT", 0.01)
    bench = Bench()
    bench.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    stream = bench.ask("/big", method="GET")
    reset = await bench.pump(until=h2.events.StreamReset, stream=stream)
    assert reset.error_code == h2.errors.ErrorCodes.CANCEL
    bench.transport.stuck = True
    bench.ask("/")
    bench.connection.data_received(bench.client.data_to_send())
    await asyncio.sleep(0)
    assert bench.transport.closed
    assert bench.metrics.http2_refused == 1
    await bench.end()


async def test_rapid_reset() -> None:
    bench = Bench()
    for _ in range(http2.CONTROL_LIMIT + 1):
        bench.client.reset_stream(bench.ask("/wait"))
        await bench.pump()
        if bench.transport.closed:
            break
    gone = await bench.pump(until=h2.events.ConnectionTerminated)
    assert gone.error_code == CALM
    assert bench.transport.closed
    assert bench.metrics.http2_refused == 1
    assert bench.routes.cancelled == len(bench.routes.asks)
    await bench.end()


@pytest.mark.parametrize("what", ["ping", "settings", "window", "priority", "empty data"])
async def test_floods(what: str) -> None:
    bench = Bench()
    stream = bench.ask("/wait", None)
    for _ in range(http2.CONTROL_LIMIT + 1):
        match what:
            case "ping":
                bench.client.ping(b"12345678")
            case "settings":
                bench.client.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 9})
            case "window":
                bench.client.increment_flow_control_window(1)
            case "priority":
                bench.client.prioritize(stream, weight=7)
            case _:
                bench.client.send_data(stream, b"")
    gone = await bench.pump(until=h2.events.ConnectionTerminated)
    assert gone.error_code == CALM
    assert bench.transport.closed
    await bench.end()


async def test_frames_that_make_no_event_are_bounded_by_bytes() -> None:
    """RST_STREAM for a stream that is over is ignored by h2."""
    bench = Bench()
    await bench.pump()
    stream = bench.ask("/")
    await bench.answer(stream)
    frame = b"\0\0\4\3\0" + stream.to_bytes(4) + bytes(4)
    for _ in range(http2.BYTE_LIMIT // (len(frame) * 1000) + 1):
        bench.connection.data_received(frame * 1000)
    assert bench.transport.closed
    await bench.end()


async def test_a_connection_that_works_is_never_refused() -> None:
    bench = Bench()
    for _ in range(http2.CONTROL_LIMIT):
        bench.client.ping(b"12345678")
        assert (await bench.answer(bench.ask("/")))[0] == 200
    assert bench.metrics.http2_refused == 0
    await bench.end()


async def test_headers_and_streams_that_are_too_many() -> None:
    bench = Bench()
    await bench.pump()
    for _ in range(http2.MAX_STREAMS):
        bench.ask("/wait")
    await bench.pump()
    assert len(bench.routes.asks) == http2.MAX_STREAMS
    bench.client.remote_settings.max_concurrent_streams = 1000  # as if it had not been told
    bench.client.remote_settings.acknowledge()
    bench.ask("/")
    await bench.pump(until=h2.events.ConnectionTerminated)
    assert bench.metrics.http2_refused == 1
    await bench.end()
    assert bench.routes.cancelled == http2.MAX_STREAMS
    bench = Bench()
    stream = bench.client.get_next_available_stream_id()
    headers = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "x")]
    bench.client.send_headers(stream, [*headers, *((f"x{n}", "y" * 500) for n in range(40))])
    await bench.pump(until=h2.events.ConnectionTerminated)
    assert (bench.transport.closed, bench.routes.asks) == (True, [])
    await bench.end()


async def test_an_idle_connection_ends_and_a_busy_one_does_not() -> None:
    bench = Bench(idle_timeout=0.01)
    stream = bench.ask("/wait")
    await bench.pump()
    assert len(bench.routes.asks) == 1
    await asyncio.sleep(0.03)
    assert not bench.transport.closed
    bench.client.reset_stream(stream)
    gone = await bench.pump(until=h2.events.ConnectionTerminated)
    assert gone.error_code == h2.errors.ErrorCodes.NO_ERROR
    await bench.end()


async def test_closing_lets_requests_end_and_refuses_new_ones() -> None:
    bench = Bench()
    slow = bench.ask("/", None)
    await bench.pump()
    closing = asyncio.create_task(bench.server.close())
    await asyncio.sleep(0)
    late = bench.ask("/")
    reset = await bench.pump(until=h2.events.StreamReset, stream=late)
    assert reset.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
    bench.client.send_data(slow, b"x", end_stream=True)
    assert await bench.answer(slow) == (200, b"x")
    await closing
    assert bench.transport.closed
    await bench.end()


@given(st.binary(max_size=200), st.booleans())
async def test_arbitrary_bytes(data: bytes, greeted: bool) -> None:
    bench = Bench()
    start = bench.client.data_to_send() if greeted else b""
    bench.connection.data_received(start + data)
    await bench.end()


async def test_over_tls(
    config: Config, publisher: Callable[[int], Any], query: Callable[..., bytes]
) -> None:
    """Publish and ask on one connection of a real server."""
    who = publisher(1)
    https = HttpsConfig(port=0, bind_addr=IPv4Address("127.0.0.1"))
    async with DnsServer(replace(config, https=https)) as server:
        assert server.https_addr is not None
        assert server.certificates is not None
        context = ssl.create_default_context(cadata=server.certificates.chain_pem.decode())
        context.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection(
            *server.https_addr, ssl=context, server_hostname="localhost"
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()

        async def exchange(method: str, path: str, body: bytes) -> bytes:
            stream = client.get_next_available_stream_id()
            head = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "x")]
            client.send_headers(stream, head)
            client.send_data(stream, body, end_stream=True)
            found = b""
            async with asyncio.timeout(10):
                while True:
                    writer.write(client.data_to_send())
                    for event in client.receive_data(await reader.read(65536)):
                        if isinstance(event, h2.events.DataReceived):
                            found += event.data or b""
                        if isinstance(event, h2.events.StreamEnded):
                            return found

        assert await exchange("PUT", f"/pkarr/{who.z32}", who.txt("x")) == b""
        answer = await exchange("POST", "/dns-query", query(f"_iroh.{who.z32}.{ORIGIN}"))
        assert '"x"' in dns.message.from_wire(answer).answer[0].to_text()
        assert server.metrics.dns_requests_https == 1
        assert server.metrics.http2_connections == 1
    assert await reader.read() or reader.at_eof()  # GOAWAY, then the end
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
