"""What the tests of this package share: publishers of packets, a server in a folder, questions."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rrset
import pytest

from iroh_base.keys import SecretKey
from iroh_dns_server import Config, DnsConfig, DnsServer, HttpConfig, RateLimit

LOOPBACK = IPv4Address("127.0.0.1")
ORIGIN = "irohdns.example."
Record = tuple[str, int, str, str]


class Publisher:
    """A key and the packets it signs. Built with dnspython, not with the code under test."""

    def __init__(self, seed: int) -> None:
        self.secret = SecretKey.from_bytes(seed.to_bytes(32))
        self.key = self.secret.public()
        self.z32 = self.key.to_z32()

    def message(self, records: Iterable[Record]) -> bytes:
        """A DNS message with one answer per (owner below the key, TTL, type, text)."""
        message = dns.message.Message(id=0)
        message.flags = dns.flags.QR
        for owner, ttl, rdtype, text in records:
            name = f"{owner}.{self.z32}." if owner else f"{self.z32}."
            message.answer.append(dns.rrset.from_text(name, ttl, "IN", rdtype, text))
        return message.to_wire(max_size=65535)

    def payload(self, message: bytes, timestamp_us: int | None = None) -> bytes:
        """A relay payload with a good signature."""
        timestamp = time.time_ns() // 1000 if timestamp_us is None else timestamp_us
        signed = b"3:seqi%de1:v%d:%b" % (timestamp, len(message), message)
        return self.secret.sign(signed).to_bytes() + timestamp.to_bytes(8) + message

    def txt(self, text: str, timestamp_us: int | None = None) -> bytes:
        """The payload of an ordinary packet: one TXT record at `_iroh`."""
        return self.payload(self.message([("_iroh", 30, "TXT", f'"{text}"')]), timestamp_us)


@pytest.fixture
def publisher() -> Callable[[int], Publisher]:
    """Make a publisher from a number."""
    return Publisher


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration on free loopback ports, without rate limit."""
    return Config(
        http=HttpConfig(port=0, bind_addr=LOOPBACK),
        dns=DnsConfig(port=0, bind_addr=LOOPBACK, origins=(ORIGIN, "."), rr_a=LOOPBACK),
        pkarr_put_rate_limit=RateLimit.DISABLED,
        data_dir=tmp_path / "data",
    )


@pytest.fixture
async def server(config: Config) -> AsyncIterator[DnsServer]:
    """A server that runs."""
    async with DnsServer(config) as running:
        yield running


@pytest.fixture
def with_rate_limit(config: Config) -> Config:
    """The same configuration with the usual rate limit."""
    return replace(config, pkarr_put_rate_limit=RateLimit.SIMPLE)


def make_query(name: str, rdtype: str = "TXT", **kwargs: Any) -> bytes:
    """The bytes of a query as a resolver sends it."""
    kwargs.setdefault("use_edns", 0)
    kwargs.setdefault("payload", 1232)
    return dns.message.make_query(name, rdtype, **kwargs).to_wire()


@pytest.fixture
def query() -> Callable[..., bytes]:
    """See `make_query`."""
    return make_query


class _Answers(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait(data)


async def over_udp(address: tuple[str, int], request: bytes) -> bytes:
    """Ask over UDP from a connected socket: an answer from another address does not arrive."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(_Answers, remote_addr=address)
    try:
        transport.sendto(request)
        async with asyncio.timeout(5):
            return await protocol.received.get()
    finally:
        transport.close()
        await asyncio.sleep(0)


async def over_tcp(address: tuple[str, int], *requests: bytes) -> list[bytes]:
    """Ask over one TCP connection, all requests at once; ends when the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(b"".join(struct.pack("!H", len(r)) + r for r in requests))
        replies = []
        async with asyncio.timeout(5):
            for _ in requests:
                length = int.from_bytes(await reader.readexactly(2))
                replies.append(await reader.readexactly(length))
        return replies
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def ask_udp() -> Callable[..., Any]:
    """See `over_udp`."""
    return over_udp


@pytest.fixture
def ask_tcp() -> Callable[..., Any]:
    """See `over_tcp`."""
    return over_tcp


@pytest.fixture
def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
