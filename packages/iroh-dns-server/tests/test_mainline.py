"""Keys that nobody published here, found in a DHT of our own nodes on loopback."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import dns.message
import dns.rcode
import pytest

from iroh_base import SecretKey, SignedPacket
from iroh_base.mainline import Addr, DhtNode, MutableItem
from iroh_dns_server import DnsServer
from iroh_dns_server.config import Config, MainlineConfig
from iroh_dns_server.mainline import DHT_CACHE_TTL, MISSING_TTL, MainlineFallback

KEY = SecretKey(bytes([3]) * 32)
NAME = f"_iroh.{KEY.public().to_z32()}.irohdns.example."
Ask = Callable[[Addr, bytes], Any]


class Node(asyncio.DatagramProtocol):
    """A node that answers."""

    def __init__(self, entrance: Addr | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.node = DhtNode(self.loop.time(), os.urandom, server=True)
        self.node.set_entrances([entrance] if entrance else [])
        self.changed = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.addr: Addr = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Addr) -> None:
        self.node.receive(data, addr, self.loop.time())
        self.flush()

    def flush(self) -> None:
        for data, addr in self.node.take_datagrams():
            self.transport.sendto(data, addr)
        self.changed.set()

    async def finish(self, number: int) -> Any:
        self.flush()
        while True:
            results = dict(self.node.take_results())
            if number in results:
                return results[number]
            self.changed.clear()
            await self.changed.wait()


@pytest.fixture
async def nodes() -> AsyncIterator[list[Node]]:
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for _ in range(4):
            entrance = nodes[0].addr if nodes else None
            loop = asyncio.get_running_loop()
            transport, node = await loop.create_datagram_endpoint(
                lambda entrance=entrance: Node(entrance), local_addr=("127.0.0.1", 0)
            )
            stack.callback(transport.abort)
            await node.finish(node.node.find(node.node.id, loop.time()))
            nodes.append(node)
        yield nodes


def with_mainline(config: Config, addr: Addr) -> Config:
    bootstrap = (f"{addr[0]}:{addr[1]}",)
    return dataclasses.replace(config, mainline=MainlineConfig(bootstrap=bootstrap))


def text(packet: SignedPacket) -> list[str]:
    return packet.txt_records()


async def put(node: Node, packet: SignedPacket) -> None:
    item = MutableItem.from_packet(packet)
    result = await node.finish(node.node.put(item, asyncio.get_running_loop().time()))
    assert result.stored == 3  # all others


async def test_a_key_of_the_dht_is_answered(
    nodes: list[Node], config: Config, query: Callable[..., bytes], ask_udp: Ask
) -> None:
    await put(nodes[1], SignedPacket.sign(KEY, ["relay=https://dht.example/"], 1))
    async with DnsServer(with_mainline(config, nodes[0].addr)) as server:
        for _ in range(2):
            answer = dns.message.from_wire(await ask_udp(server.dns_addr, query(NAME)))
            (rrset,) = answer.answer
            assert rrset.to_text().endswith('30 IN TXT "relay=https://dht.example/"')
        assert server.metrics.cache_zones_dht == 1
        asked = sum(node.node.stats.queries for node in nodes)
        await ask_udp(server.dns_addr, query(NAME, "A"))
        assert sum(node.node.stats.queries for node in nodes) == asked  # it is remembered
        other = SecretKey(bytes([4]) * 32).public().to_z32()
        missing = await ask_udp(server.dns_addr, query(f"_iroh.{other}.irohdns.example."))
        assert dns.message.from_wire(missing).rcode() == dns.rcode.NXDOMAIN


async def test_what_was_published_here_comes_first(
    nodes: list[Node], config: Config, query: Callable[..., bytes], ask_udp: Ask
) -> None:
    await put(nodes[1], SignedPacket.sign(KEY, ["relay=https://dht.example/"], 2))
    async with DnsServer(with_mainline(config, nodes[0].addr)) as server:
        await ask_udp(server.dns_addr, query(NAME))
        packet = SignedPacket.sign(KEY, ["relay=https://here.example/"], server._clock())
        store = server._pkarr._store  # type: ignore[union-attr]
        await store.put(bytes(KEY.public()), packet.to_relay_payload())
        answer = dns.message.from_wire(await ask_udp(server.dns_addr, query(NAME)))
        assert "here.example" in answer.to_text()


async def test_a_dht_that_is_not_there(
    config: Config, query: Callable[..., bytes], ask_udp: Ask
) -> None:
    """The question stays open: no resolver may remember that there is nothing."""
    async with DnsServer(with_mainline(config, ("127.0.0.1", 9))) as server:
        answer = dns.message.from_wire(await ask_udp(server.dns_addr, query(NAME)))
        assert answer.rcode() == dns.rcode.SERVFAIL
        assert server.metrics.store_errors == 0


async def test_how_long_things_are_remembered(nodes: list[Node]) -> None:
    ip, port = nodes[0].addr
    fallback = MainlineFallback([f"{ip}:{port}", "nowhere.invalid:1"])
    await fallback.start()
    try:
        key = bytes(KEY.public())
        assert await fallback.find(key) is None
        now = asyncio.get_running_loop().time()
        assert now < fallback._known[key][0] <= now + MISSING_TTL
        packet = SignedPacket.sign(KEY, ["relay=https://dht.example/"], 1)
        await put(nodes[1], packet)
        assert await fallback.find(key) is None  # until that time is over
        fallback._known[key] = now, None
        found = await asyncio.gather(*(fallback.find(key) for _ in range(5)))
        assert found == [packet.dns_packet] * 5
        assert fallback._known[key][0] > now + DHT_CACHE_TTL - 1
        assert len(fallback) == 1
    finally:
        await fallback.close()
    await fallback.close()
