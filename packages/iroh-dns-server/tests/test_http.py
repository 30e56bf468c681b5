"""pkarr over HTTP, on a real server, also with clients that misbehave."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from iroh_dns_server import Config, DnsServer, SqliteStore, StoreBusyError, StoreError
from iroh_dns_server.http import HttpServer, RateLimiter
from iroh_dns_server.http.body import BODY_LIMIT, read_body
from iroh_dns_server.http.exchange import BodyError
from iroh_dns_server.metrics import Metrics
from iroh_dns_server.sockets import bind_tcp, local_addr

DAY_US = 24 * 3600 * 1_000_000


@pytest.fixture
async def http(server: DnsServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{server.http_addr}") as session:
        yield session


async def raw(address: tuple[str, int], *parts: bytes, end: bool = False, head: int = 0) -> bytes:
    """Send bytes as they are; what the server sends until it closes, or that many heads of it."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if end:
            writer.write_eof()
        async with asyncio.timeout(10):
            if head:
                return b"".join([await reader.readuntil(b"\r\n\r\n") for _ in range(head)])
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_publish_and_fetch(
    http: aiohttp.ClientSession, server: DnsServer, publisher: Callable[[int], Any]
) -> None:
    who = publisher(1)
    path = f"/pkarr/{who.z32}"
    async with http.get(path) as response:
        assert response.status == 404
        assert await response.json() == {"status": "404", "detail": None}
        assert response.content_type == "application/json"
    now = time.time_ns() // 1000
    for payload, stored in (
        (who.txt("one", now), who.txt("one", now)),
        (who.txt("two", now + 1), who.txt("two", now + 1)),
        (who.txt("old", now), who.txt("two", now + 1)),
        (who.txt("two", now + 1), who.txt("two", now + 1)),
    ):
        async with http.put(path, data=payload) as response:
            assert (response.status, await response.read()) == (204, b"")
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "Server" not in response.headers
        async with http.get(path) as response:
            assert (response.status, await response.read()) == (200, stored)
            assert response.headers["Content-Type"] == "application/x-pkarr-signed-packet"
    async with http.head(path) as response:
        assert (response.status, response.content_length) == (200, len(who.txt("two", 1)))
    assert server.metrics.pkarr_publish_update == 3
    assert server.metrics.pkarr_publish_noop == 1
    assert server.metrics.store_packets_inserted == 1
    assert server.metrics.store_packets_updated == 2
    assert server.metrics.http_requests == 10
    assert server.metrics.http_requests_error == 1


async def test_an_empty_packet_is_taken(
    http: aiohttp.ClientSession, publisher: Callable[[int], Any]
) -> None:
    who = publisher(1)
    payload = who.payload(who.message([]))
    assert len(payload) == 84
    async with http.put(f"/pkarr/{who.z32}", data=payload) as response:
        assert response.status == 204


@pytest.mark.parametrize(
    ("make", "detail"),
    [
        (lambda who, other: b"", "invalid body payload: Signed packet too short: 32 bytes"),
        (lambda who, other: b"x" * 1073, "invalid body payload: Signed packet too large: 1105"),
        (lambda who, other: b"x" * BODY_LIMIT, "invalid body payload: Signed packet too large"),
        (lambda who, other: b"\1" + who.txt("x")[1:], "invalid body payload: Invalid signature"),
        (lambda who, other: other.txt("x"), "invalid body payload: Invalid signature"),
        (lambda who, other: who.txt("x")[:-1], "invalid body payload: Invalid signature"),
        (lambda who, other: who.payload(b"junk"), "invalid body payload: "),
        (lambda who, other: who.payload(bytes(12), 2**64 - 1), "invalid timestamp: "),
    ],
)
async def test_bad_bodies(
    http: aiohttp.ClientSession,
    server: DnsServer,
    publisher: Callable[[int], Any],
    make: Callable[[Any, Any], bytes],
    detail: str,
) -> None:
    who, other = publisher(1), publisher(2)
    async with http.put(f"/pkarr/{who.z32}", data=make(who, other)) as response:
        answer = await response.json()
        assert (response.status, answer["status"]) == (400, "400")
        assert answer["detail"].startswith(detail)
    async with http.get(f"/pkarr/{who.z32}") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    "key", ["abc", "y" * 51, "y" * 53, "ye" + "y" * 50, "Y" * 52, "y" * 51 + "n"]
)
async def test_bad_keys(http: aiohttp.ClientSession, key: str) -> None:
    for method in ("GET", "PUT"):
        async with http.request(method, f"/pkarr/{key}", data=b"x") as response:
            assert response.status == 400
            assert (await response.json())["detail"].startswith("invalid key: ")


async def test_packets_from_the_future(config: Config, publisher: Callable[[int], Any]) -> None:
    now = 1_800_000_000_000_000
    who = publisher(1)
    async with DnsServer(config, clock=lambda: now) as server:
        url = f"http://{server.http_addr}/pkarr/{who.z32}"
        async with aiohttp.ClientSession() as session:
            async with session.put(url, data=who.txt("x", now + DAY_US + 1)) as response:
                detail = (await response.json())["detail"]
                assert response.status == 400
            assert "86400 s ahead of this server's clock (2027-01-15T08:00:00Z)" in detail
            async with session.put(url, data=who.txt("x", now + DAY_US)) as response:
                assert response.status == 204
            async with session.put(url, data=who.txt("x", 0)) as response:
                assert response.status == 204  # an old one: never an error


async def test_other_routes_and_methods(
    http: aiohttp.ClientSession, server: DnsServer, publisher: Callable[[int], Any]
) -> None:
    for path, body in (("/", "Hi!"), ("/healthcheck", "OK")):
        async with http.get(path) as response:
            assert (response.status, await response.text()) == (200, body)
    async with http.get("/healthz") as response:
        answer = await response.json()
        assert (answer["status"], answer["git_hash"]) == ("ok", "unknown")
    for path in ("/nope", "/pkarr/", "/pkarr", f"/pkarr/{'y' * 52}/x"):
        async with http.get(path) as response:
            assert (response.status, (await response.json())["status"]) == (404, "404")
            assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert server.metrics.http_requests == 3
    for method in ("POST", "DELETE"):
        async with http.request(method, f"/pkarr/{'y' * 52}", data=b"x") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD,PUT")


async def test_cors_preflight(http: aiohttp.ClientSession) -> None:
    async with http.options(f"/pkarr/{'y' * 52}", headers={"Origin": "https://x"}) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Access-Control-Allow-Methods"] == "GET,POST,PUT"
        assert response.headers["Access-Control-Allow-Headers"] == "content-type"


async def test_large_bodies(server: DnsServer, publisher: Callable[[int], Any]) -> None:
    start = f"PUT /pkarr/{publisher(1).z32} HTTP/1.1\r\nHost: x\r\n".encode()
    size = BODY_LIMIT + 1
    announced = await raw(server.http_addr, start + b"Content-Length: 3000000\r\n\r\n", head=1)
    assert announced.startswith(b"HTTP/1.1 413 ")
    chunked = start + b"Transfer-Encoding: chunked\r\n\r\n"
    counted = await raw(server.http_addr, chunked, b"%x\r\n%b\r\n" % (size, b"x" * size), head=1)
    assert counted.startswith(b"HTTP/1.1 413 ")
    waiting = start + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    reply = await raw(server.http_addr, waiting % size, head=1)
    assert reply.startswith(b"HTTP/1.1 413 ")


async def test_a_chunked_body_and_one_that_was_announced(
    server: DnsServer, publisher: Callable[[int], Any]
) -> None:
    who = publisher(1)
    body = who.txt("x")
    start = f"PUT /pkarr/{who.z32} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
    chunks = b"".join(b"1\r\n%b\r\n" % body[i : i + 1] for i in range(len(body))) + b"0\r\n\r\n"
    reply = await raw(server.http_addr, start + b"Transfer-Encoding: chunked\r\n\r\n", chunks)
    assert reply.startswith(b"HTTP/1.1 204 ")
    announced = start + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    reply = await raw(server.http_addr, announced, body)
    assert reply.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 ")


async def test_malformed_and_cut_off_requests_hurt_nobody(
    server: DnsServer, http: aiohttp.ClientSession, publisher: Callable[[int], Any]
) -> None:
    who = publisher(1)
    start = f"PUT /pkarr/{who.z32} HTTP/1.1\r\nHost: x\r\n".encode()
    for parts in (
        (b"\x16\x03\x01 this is TLS",),
        (b"GET / HTTP/9\r\n\r\n",),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",),
        (start + b"Content-Length: -1\r\n\r\n",),
        (start + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",),
        (start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",),
        (start + b"Content-Length: 200\r\n\r\n", b"only a part"),
        (start,),
    ):
        reply = await raw(server.http_addr, *parts, end=True)
        assert reply == b"" or reply.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    async with http.put(f"/pkarr/{who.z32}", data=who.txt("x")) as response:
        assert response.status == 204


async def test_a_compressed_body_is_not_unpacked(
    http: aiohttp.ClientSession, publisher: Callable[[int], Any]
) -> None:
    who = publisher(1)
    headers = {"Content-Encoding": "gzip"}
    async with http.put(f"/pkarr/{who.z32}", data=who.txt("x"), headers=headers) as response:
        assert response.status == 204


async def test_a_slow_body_is_given_up() -> None:
    """On a bare server, so that the deadline can be short."""

    async def handler(request: web.Request) -> web.Response:
        try:
            await read_body(request, timeout=0.01)
        except BodyError as error:
            return web.Response(status=error.status, text=error.detail)
        raise AssertionError("the body was never sent")

    app = web.Application()
    app.router.add_put("/", handler)
    sock = bind_tcp(None, 0, "test")
    server = HttpServer(sock, app, Metrics())
    await server.start()
    try:
        request = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        reply = await raw(("127.0.0.1", local_addr(sock).port), request, head=1)
        assert reply.startswith(b"HTTP/1.1 408 ")
    finally:
        await server.close()


async def test_silent_and_surplus_connections_are_closed() -> None:
    metrics = Metrics()
    sock = bind_tcp(None, 0, "test")
    server = HttpServer(sock, web.Application(), metrics, max_connections=2, idle_timeout=0.05)
    await server.start()
    address = ("127.0.0.1", local_addr(sock).port)
    try:
        assert await raw(address) == b""
        assert await raw(address, b"GET / HTTP/1.1\r\nHost: half a request") == b""
    finally:
        await server.close()
        await server.close()
    sock = bind_tcp(None, 0, "test")
    server = HttpServer(sock, web.Application(), metrics, max_connections=1)
    await server.start()
    address = ("127.0.0.1", local_addr(sock).port)
    try:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):  # it may be closed while we send
            assert await raw(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        assert metrics.http_connections_refused == 1
    finally:
        await server.close()
        writer.close()


async def test_the_rate_limit(with_rate_limit: Config, publisher: Callable[[int], Any]) -> None:
    who = publisher(1)
    now = 50.0
    limiter = RateLimiter(clock=lambda: now)
    async with DnsServer(with_rate_limit, limiter=limiter) as server:
        url = f"http://{server.http_addr}/pkarr/{who.z32}"
        async with aiohttp.ClientSession() as session:
            statuses = []
            for _ in range(3):
                async with session.put(url, data=who.txt("x")) as response:
                    statuses.append(response.status)
            assert statuses == [204, 204, 429]
            now += 0.5
            async with session.put(url, data=b"not even a packet") as response:
                assert response.status == 429
                assert await response.text() == "Too Many Requests! Wait for 3s"
                assert response.headers["Retry-After"] == "3"
                assert response.headers["x-ratelimit-after"] == "3"
                assert response.headers["Access-Control-Allow-Origin"] == "*"
            for _ in range(5):
                async with session.get(url) as response:
                    assert response.status == 200
            now += 3.5
            async with session.put(url, data=who.txt("y")) as response:
                assert response.status == 204
        assert server.metrics.http_rate_limited == 2


async def test_a_store_that_fails(
    config: Config, publisher: Callable[[int], Any], caplog: pytest.LogCaptureFixture
) -> None:
    who = publisher(1)
    assert config.data_dir is not None
    store = SqliteStore.open(config.data_dir)
    failure: StoreError | RuntimeError = StoreBusyError("too many writes")

    class Failing:
        expire = store.expire
        close = store.close

        async def put(self, public_key: bytes, payload: bytes) -> Any:
            raise failure

        async def get(self, public_key: bytes) -> Any:
            raise failure

    async with DnsServer(config, store=Failing()) as server, aiohttp.ClientSession() as session:
        url = f"http://{server.http_addr}/pkarr/{who.z32}"
        async with session.put(url, data=who.txt("x")) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
        failure = StoreError("disk full")
        async with session.put(url, data=who.txt("x")) as response:
            assert (response.status, (await response.json())["detail"]) == (500, "disk full")
        async with session.get(url) as response:
            assert response.status == 500
        assert server.metrics.store_errors == 3
        failure = RuntimeError("a bug")
        async with session.get(url) as response:
            assert (response.status, await response.json()) == (
                500, {"status": "500", "detail": None},
            )  # fmt: skip
    assert "a bug" in caplog.text
