"""DNS on real sockets."""

import asyncio
import socket
import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import aiohttp
import dns.flags
import dns.message
import pytest

from iroh_dns_server import DnsServer, Metrics
from iroh_dns_server.config import DnsConfig
from iroh_dns_server.dns import Authority, DnsService, TcpServer, UdpServer, ZoneCache
from iroh_dns_server.dns import udp as udp_module
from iroh_dns_server.sockets import bind_dns, bind_tcp, local_addr
from iroh_dns_server.store.base import Expired, PutOutcome

ORIGIN = "irohdns.example."


class EmptyStore:
    """A store without packets whose reads can be held."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    async def put(self, public_key: bytes, payload: bytes) -> PutOutcome:
        return PutOutcome.STALE

    async def get(self, public_key: bytes) -> bytes | None:
        await self.open.wait()
        return None

    async def expire(self, before_us: int, limit: int) -> Expired:
        return Expired([], more=False)

    async def close(self) -> None:
        pass


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def store() -> EmptyStore:
    return EmptyStore()


@pytest.fixture
def service(metrics: Metrics, store: EmptyStore) -> DnsService:
    authority = Authority(DnsConfig(origins=(ORIGIN,)))
    return DnsService(authority, ZoneCache(store, metrics), metrics)


@pytest.fixture
def make_tcp(service: DnsService, metrics: Metrics) -> Callable[..., TcpServer]:
    def make(**limits: Any) -> TcpServer:
        return TcpServer(bind_tcp(IPv4Address("127.0.0.1"), 0, "test"), service, metrics, **limits)

    return make


@pytest.fixture
async def published(server: DnsServer, publisher: Callable[[int], Any]) -> str:
    """The name of a large packet that the server holds."""
    who = publisher(1)
    records = [("_iroh", 30, "TXT", f'"{letter * 150}"') for letter in "abcde"]
    url = f"http://{server.http_addr}/pkarr/{who.z32}"
    async with (
        aiohttp.ClientSession() as session,
        session.put(url, data=who.payload(who.message(records))) as response,
    ):
        assert response.status == 204
    return f"_iroh.{who.z32}.{ORIGIN}"


async def test_udp_and_tcp_answer_on_one_port(
    server: DnsServer,
    published: str,
    query: Callable[..., bytes],
    ask_udp: Callable[..., Any],
    ask_tcp: Callable[..., Any],
) -> None:
    request = query(published)
    over_udp = dns.message.from_wire(await ask_udp(server.dns_addr, request))
    (reply,) = await ask_tcp(server.dns_addr, request)
    over_tcp = dns.message.from_wire(reply)
    assert over_udp == over_tcp
    assert len(over_udp.answer[0]) == 5
    assert server.metrics.dns_requests_udp == server.metrics.dns_requests_tcp == 1


async def test_an_answer_that_is_too_large_leads_to_tcp(
    server: DnsServer,
    published: str,
    query: Callable[..., bytes],
    ask_udp: Callable[..., Any],
    ask_tcp: Callable[..., Any],
) -> None:
    request = query(published, use_edns=-1, payload=None)
    cut = dns.message.from_wire(await ask_udp(server.dns_addr, request))
    assert cut.flags & dns.flags.TC
    (reply,) = await ask_tcp(server.dns_addr, request)
    assert len(dns.message.from_wire(reply).answer[0]) == 5


async def test_queries_of_one_connection_are_answered_in_order(
    server: DnsServer, published: str, query: Callable[..., bytes], ask_tcp: Callable[..., Any]
) -> None:
    request = query(published)
    requests = [number.to_bytes(2) + request[2:] for number in range(100)]
    replies = await ask_tcp(server.dns_addr, *requests)
    assert [reply[:2] for reply in replies] == [request[:2] for request in requests]


@pytest.mark.parametrize("data", [b"\0\5short", b"\0\0", b"\0\x0c\0\1\x80\0\0\1\0\0\0\0\0\0"])
async def test_nonsense_over_tcp_ends_the_connection(server: DnsServer, data: bytes) -> None:
    reader, writer = await asyncio.open_connection(*server.dns_addr)
    writer.write(data)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await writer.wait_closed()
    assert server.metrics.dns_dropped == 1


async def test_nonsense_over_udp_is_not_answered(
    server: DnsServer, query: Callable[..., bytes], ask_udp: Callable[..., Any]
) -> None:
    good = query(ORIGIN, "SOA")
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setblocking(False)
    try:
        for data in (b"", b"x", good[:11], good[:2] + b"\x80" + good[3:]):
            sender.sendto(data, server.dns_addr)
        assert dns.message.from_wire(await ask_udp(server.dns_addr, good)).answer
        with pytest.raises(BlockingIOError):
            sender.recv(100)
    finally:
        sender.close()
    assert server.metrics.dns_dropped == 4


async def test_slow_and_silent_connections_are_closed(make_tcp: Callable[..., TcpServer]) -> None:
    server = make_tcp(idle_timeout=0.05)
    address = local_addr(server._listener._sock)
    server.start()
    try:
        for data in (b"", b"\0", b"\0\x40half a message"):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(data)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            await writer.wait_closed()
    finally:
        await server.close()
        await server.close()


async def test_a_client_that_does_not_read_is_closed(
    make_tcp: Callable[..., TcpServer], query: Callable[..., bytes], metrics: Metrics
) -> None:
    server = make_tcp(idle_timeout=0.1)
    server.start()
    client = socket.create_connection(local_addr(server._listener._sock))
    client.setblocking(False)
    request = query(ORIGIN, "SOA")
    flood = (len(request).to_bytes(2) + request) * 1000
    loop = asyncio.get_running_loop()

    async def send_for_ever() -> None:
        while True:
            await loop.sock_sendall(client, flood)

    try:
        with pytest.raises(OSError, match=r"reset|pipe"):
            await asyncio.wait_for(send_for_ever(), 20)
    finally:
        client.close()
        await server.close()


async def test_connections_are_limited_in_all_and_per_host(
    make_tcp: Callable[..., TcpServer],
    query: Callable[..., bytes],
    metrics: Metrics,
    ask_tcp: Callable[..., Any],
) -> None:
    request = query(ORIGIN, "SOA")
    for limits in ({"max_connections": 2}, {"max_per_host": 2}):
        metrics.dns_tcp_refused = 0
        server = make_tcp(**limits)
        address = local_addr(server._listener._sock)
        server.start()
        try:
            kept = []
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*address)
                writer.write(len(request).to_bytes(2) + request)
                await reader.readexactly(2)
                kept.append((reader, writer))
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await ask_tcp(address, request)
            assert metrics.dns_tcp_refused == 1
            reader, writer = kept.pop()
            writer.write_eof()
            await reader.read()  # the server has closed: there is room again
            writer.close()
            assert await ask_tcp(address, request)
        finally:
            await server.close()
            for _, writer in kept:
                writer.close()


async def test_lookups_that_wait_are_limited_and_dropped_at_the_end(
    service: DnsService,
    metrics: Metrics,
    store: EmptyStore,
    query: Callable[..., bytes],
    ask_udp: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(udp_module, "MAX_LOOKUPS", 3)
    udp_socket, tcp_socket = bind_dns(IPv4Address("127.0.0.1"), 0)
    tcp_socket.close()
    server = UdpServer(udp_socket, service, metrics)
    address = local_addr(udp_socket)
    server.start()
    store.open.clear()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        for number in range(5):
            name = f"n{number}.{'y' * 52}.{ORIGIN}"
            sender.sendto(query(name), address)
        await ask_udp(address, query(ORIGIN, "SOA"))  # what needs no store is answered
        assert metrics.dns_overload == 2
        store.open.set()
        reply = await ask_udp(address, query(f"{'y' * 52}.{ORIGIN}"))
        assert dns.message.from_wire(reply).rcode() == dns.rcode.NXDOMAIN
        store.open.clear()
        sender.sendto(query(f"late.{'y' * 52}.{ORIGIN}"), address)
        await ask_udp(address, query(ORIGIN, "SOA"))
    finally:
        sender.close()
        await server.close()
        await server.close()


@pytest.mark.parametrize("wildcard", [None, IPv4Address("0.0.0.0")])
async def test_the_answer_comes_from_where_the_question_went(
    service: DnsService,
    metrics: Metrics,
    query: Callable[..., bytes],
    ask_udp: Callable[..., Any],
    wildcard: IPv4Address | None,
) -> None:
    udp_socket, tcp_socket = bind_dns(wildcard, 0)
    tcp_socket.close()
    server = UdpServer(udp_socket, service, metrics)
    server.start()
    hosts = ["127.0.0.1"]
    if sys.platform == "linux":
        hosts.append("127.1.2.3")  # the whole of 127/8 is local there
    if udp_socket.family == socket.AF_INET6 and wildcard is None:
        hosts.append("::1")
    try:
        for host in hosts:  # a connected socket: nothing else would be received
            reply = await ask_udp((host, local_addr(udp_socket).port), query(ORIGIN, "SOA"))
            assert dns.message.from_wire(reply).answer
    finally:
        await server.close()


class WindowsSocket(socket.socket):
    """A socket with the methods that there are on Windows. Windows itself was not run."""

    @property
    def recvmsg(self) -> Any:  # type: ignore[override]
        raise AttributeError("recvmsg")

    @property
    def sendmsg(self) -> Any:  # type: ignore[override]
        raise AttributeError("sendmsg")


@pytest.mark.parametrize("proactor", [False, True])
async def test_answers_go_out_where_sockets_and_loops_can_less(
    service: DnsService,
    metrics: Metrics,
    store: EmptyStore,
    query: Callable[..., bytes],
    ask_udp: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    proactor: bool,
) -> None:
    udp_socket, tcp_socket = bind_dns(IPv4Address("0.0.0.0"), 0)
    tcp_socket.close()
    sock = WindowsSocket(udp_socket.family, udp_socket.type, fileno=udp_socket.detach())
    sock.setblocking(False)
    server = UdpServer(sock, service, metrics)
    if proactor:  # its loop watches no sockets for us

        def add_reader(*_args: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", add_reader)
    server.start()
    monkeypatch.undo()
    try:
        address = ("127.0.0.1", local_addr(sock).port)
        for name in (ORIGIN, f"{'y' * 52}.{ORIGIN}"):
            reply = dns.message.from_wire(await ask_udp(address, query(name, "SOA")))
            assert reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
    finally:
        await server.close()
        await server.close()
