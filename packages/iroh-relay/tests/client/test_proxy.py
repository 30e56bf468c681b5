"""Relays through proxies: which one the environment names, CONNECT, and SOCKS 5."""

import asyncio
import contextlib
import ipaddress
import ssl
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from iroh_base.addr import SocketAddr
from iroh_base.keys import SecretKey
from iroh_relay.client import RelayClient, RelayDialError, probe_latency, proxy_from_env
from iroh_relay.client.connector import connector, http_proxy
from iroh_relay.relay_map import RelayConfig
from iroh_relay.server import RelayServer, RelayServerConfig, SelfSigned

URL = "https://relay.example.org:8443"
PROXY = "http://proxy.example.org:3128"
SOCKS = "socks5://proxy.example.org:1080"


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": PROXY}, PROXY),
        ({"http_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"ALL_PROXY": SOCKS}, SOCKS),
        ({"all_proxy": SOCKS, "https_proxy": PROXY}, PROXY),
        ({"HTTP_PROXY": "nonsense", "https_proxy": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None),
        ({"HTTP_PROXY": "", "http_proxy": ""}, None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "example.org"}, None),
        ({"HTTP_PROXY": PROXY, "no_proxy": ".example.org"}, None),
        ({"HTTP_PROXY": PROXY, "no_proxy": "other.org"}, PROXY),
        ({"HTTP_PROXY": PROXY, "no_proxy": "*"}, None),
    ],
)
def test_which_proxy_the_environment_names(environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_from_env(URL, environment) == proxy


def test_what_is_no_proxy() -> None:
    assert http_proxy(None) is None
    assert http_proxy(SOCKS) is None
    assert http_proxy(PROXY) == PROXY
    for text in ("proxy:3128", "ftp://proxy", "http://"):
        with pytest.raises(RelayDialError, match="a proxy is an http, https or socks URL"):
            http_proxy(text)
    with pytest.raises(RelayDialError) as caught:
        http_proxy("ftp://me:secret@proxy")
    assert "secret" not in str(caught.value)


async def test_socks_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp_socks", None)
    with pytest.raises(RelayDialError, match=r"pip install 'iroh-relay\[socks\]'"):
        connector(proxy=SOCKS)


LOOPBACK = SocketAddr("127.0.0.1", 0)


# -- a SOCKS 5 proxy (RFC 1928) in a few lines ----------------------------------------------------


class Socks:
    """Greets, connects, pipes. `wanted` holds the hosts it was asked for."""

    def __init__(self, target: SocketAddr) -> None:
        self.target = target
        self.wanted: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            size = (await reader.readexactly(1))[0]
            self.wanted.append((await reader.readexactly(size)).decode())
        else:
            packed = await reader.readexactly(4 if kind == 1 else 16)
            self.wanted.append(str(ipaddress.ip_address(packed)))
        await reader.readexactly(2)
        theirs, ours = await asyncio.open_connection(self.target.ip, self.target.port)
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await asyncio.gather(_pipe(reader, ours), _pipe(theirs, writer))


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()


@contextlib.asynccontextmanager
async def through(
    make: Callable[[SocketAddr], Socks],
) -> AsyncIterator[tuple[RelayServer, Socks, str]]:
    """A relay, and a proxy in front of it."""
    config = RelayServerConfig(http_bind_addr=SocketAddr("127.0.0.1", 0))
    async with RelayServer(config) as relay:
        proxy = make(relay.http_addr)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        try:
            yield relay, proxy, f"socks5://{host}:{port}"
        finally:
            server.close()
            await server.wait_closed()


class Connect:
    """An HTTP proxy that knows CONNECT (RFC 9110 section 9.3.6) and one user."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        if b"\r\nproxy-authorization: basic dxnlcjpwqhnz\r\n" not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        theirs, ours = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pipe(reader, ours), _pipe(theirs, writer))


async def test_a_relay_through_an_http_proxy() -> None:
    """By CONNECT; the password is in standard base64, as in Rust 1.4 (RFC 7617)."""
    certificates, proxy = SelfSigned(), Connect()
    roots = ssl.create_default_context(cadata=certificates.chain_pem.decode())
    config = RelayServerConfig(http_bind_addr=LOOPBACK, https_bind_addr=LOOPBACK)
    async with RelayServer(config, certificates=certificates) as relay, asyncio.timeout(10):
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = RelayClient(
            RelayConfig(url=str(relay.url)),
            SecretKey.generate(),
            on_datagrams=lambda *_: None,
            proxy=f"http://user:p%40ss@127.0.0.1:{port}",
            ssl_context=roots,
        )
        async with client:
            await client.connected()
        assert relay.https_addr is not None
        assert proxy.requests[0].startswith(f"CONNECT {relay.https_addr} HTTP/1.1".encode())
        assert relay.metrics.handshakes_by_key_material == 1  # of the inner TLS session
        server.close()
        await server.wait_closed()


async def test_a_relay_through_socks() -> None:
    async with through(Socks) as (relay, proxy, url), asyncio.timeout(10):
        target = "http://relay.invalid"  # a name that the proxy alone can find
        assert await probe_latency(target, proxy=url) > 0
        client = RelayClient(
            RelayConfig(url=target),
            SecretKey.generate(),
            on_datagrams=lambda *_: None,
            proxy=url,
        )
        client.start()
        await client.connected()
        await client.close()
        assert relay.metrics.accepts == 1
        assert proxy.wanted == ["relay.invalid", "relay.invalid"]
