"""Test kit: a clock that only tests move, a DNS server and a pkarr relay on loopback."""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from aiohttp import web

from iroh_base import PublicKey, SignedPacket


class FakeClock:
    """Time stands still until `advance`; sleepers wake in order."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._slept = asyncio.Event()

    def monotonic(self) -> float:
        return self.now

    def time_us(self) -> int:
        return int(self.now * 1e6)

    async def sleep(self, delay: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + delay, next(self._order), future))
        self._slept.set()
        await future

    def sleeping(self) -> list[float]:
        """How long from now each sleeper still sleeps."""
        return [round(when - self.now, 6) for when, _, f in sorted(self._sleepers) if not f.done()]

    async def until_sleeping(self, *delays: float) -> None:
        """Wait until there are sleepers for exactly these delays from now."""
        while self.sleeping() != sorted(delays):
            self._slept.clear()
            await asyncio.sleep(0)
            if self.sleeping() != sorted(delays):
                await self._slept.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass; everything that becomes due runs at its own moment."""
        end = self.now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end + 1e-9:
            when, _, future = heapq.heappop(self._sleepers)
            self.now = max(self.now, when)
            if not future.done():
                future.set_result(None)
                await settle()
        self.now = end


async def settle() -> None:
    """Let every task run that can, as long as it waits for nothing outside."""
    for _ in range(30):
        await asyncio.sleep(0)


Reply = dns.message.Message | bytes | None
Handler = Callable[[dns.message.Message, str], "Reply | list[Reply]"]


class DnsServer:
    """Answers over UDP and TCP on one loopback port, from `records` or by `handler`."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[dns.rrset.RRset]] = {}
        self.handler: Handler = self.from_records
        self.seen: list[tuple[str, dns.message.Message]] = []
        self.port = 0
        self._arrived = asyncio.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, name: str, kind: str, *values: str, ttl: int = 60) -> None:
        rrset = dns.rrset.from_text(name, ttl, "IN", kind, *values)
        self.records.setdefault((name.lower(), kind), []).append(rrset)

    def from_records(self, query: dns.message.Message, _transport: str) -> Reply:
        name = query.question[0].name.to_text().lower()
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        response = dns.message.make_response(query)
        response.answer = self.records.get((name, kind), [])
        if not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    async def until_seen(self, count: int) -> None:
        while len(self.seen) < count:
            self._arrived.clear()
            await self._arrived.wait()

    def kinds_seen(self) -> list[str]:
        return [transport for transport, _ in self.seen]

    def answer(self, data: bytes, transport: str) -> list[bytes]:
        query = dns.message.from_wire(data)
        self.seen.append((transport, query))
        self._arrived.set()
        replies = self.handler(query, transport)
        replies = replies if isinstance(replies, list) else [replies]
        return [r if isinstance(r, bytes) else encode(r) for r in replies if r is not None]


def encode(message: dns.message.Message) -> bytes:
    """A message of any size, its records in their order."""
    return message.to_wire(max_size=65535, want_shuffle=False)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self.server = server

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for reply in self.server.answer(data, "udp"):
            self.transport.sendto(reply, addr)


@contextlib.asynccontextmanager
async def running_dns_server(*, udp: bool = True, tls: Any = None) -> AsyncIterator[DnsServer]:
    server = DnsServer()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while length := int.from_bytes(await reader.readexactly(2)):
                for reply in server.answer(await reader.readexactly(length), "tcp"):
                    writer.write(len(reply).to_bytes(2) + reply)
        writer.transport.abort()

    tcp = await asyncio.start_server(stream, "127.0.0.1", 0, ssl=tls)
    server.port = tcp.sockets[0].getsockname()[1]
    transport = None
    if udp:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Udp(server), local_addr=("127.0.0.1", server.port)
        )
    try:
        yield server
    finally:
        if transport is not None:
            transport.abort()
        tcp.close()
        await tcp.wait_closed()
        await settle()


class PkarrRelay:
    """Stores packets over HTTP as a pkarr relay does, and remembers each request."""

    def __init__(self) -> None:
        self.url = ""
        self.packets: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        """Answers for the next requests, before it behaves."""
        self._arrived = asyncio.Event()

    async def until_requests(self, count: int) -> None:
        while len(self.requests) < count:
            self._arrived.clear()
            await self._arrived.wait()

    def packet(self, index: int) -> SignedPacket:
        _, path, _, body = self.requests[index]
        return SignedPacket.from_relay_payload(PublicKey.from_z32(path.rpartition("/")[2]), body)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.path, headers, body))
        self._arrived.set()
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        if request.method == "PUT":
            self.packets[request.path] = body
            return web.Response(status=204)
        stored = self.packets.get(request.path)
        return web.Response(status=404) if stored is None else web.Response(body=stored)


@contextlib.asynccontextmanager
async def running_pkarr_relay() -> AsyncIterator[PkarrRelay]:
    relay = PkarrRelay()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", relay.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    relay.url = f"http://127.0.0.1:{runner.addresses[0][1]}/pkarr"
    try:
        yield relay
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def stalling_server() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A TCP port where nobody ever answers, and an event that says that somebody came."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        ended.set()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], begun
    await ended.wait()
    server.close()
    await server.wait_closed()
    await settle()


async def collect(items: Any) -> list[Any]:
    return [item async for item in items]


def no_jitter(width: int) -> int:
    """A random number that leaves each delay as it is."""
    return width // 2
