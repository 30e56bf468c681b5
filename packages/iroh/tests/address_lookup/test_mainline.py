"""Publishing to a DHT of our own nodes on loopback, and finding there."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from iroh import Endpoint, presets
from iroh.address_lookup import Dht, DhtAddressLookup, DhtError, LookupContext
from iroh.resolver import DnsResolver
from iroh_base import (
    AddrFilter,
    EndpointData,
    EndpointInfo,
    PkarrError,
    RelayUrl,
    SecretKey,
    SignedPacket,
    SocketAddr,
    UserData,
)
from iroh_base.mainline import MutableItem, PutResult

from .kit import FakeClock

KEY = SecretKey(bytes([5]) * 32)
RELAY = RelayUrl("https://relay.example/")
HERE = SocketAddr("10.0.0.1", 1)
LOOPBACK = ("127.0.0.1", 0)


@pytest.fixture
async def nodes() -> AsyncIterator[list[Dht]]:
    """Nodes that know each other."""
    async with AsyncExitStack() as stack:
        nodes: list[Dht] = []
        for _ in range(5):
            node = Dht(bootstrap=[where(each) for each in nodes[:1]], server=True, bind=LOOPBACK)
            stack.push_async_callback(node.close)
            await node.start()
            nodes.append(node)
        yield nodes


@pytest.fixture
async def client(nodes: list[Dht]) -> AsyncIterator[Dht]:
    dht = Dht(bootstrap=[where(nodes[0])], bind=LOOPBACK)
    yield dht
    await dht.close()


def where(node: Dht) -> str:
    ip, port = node.local_addr
    return f"{ip}:{port}"


def context(key: SecretKey, clock: FakeClock) -> LookupContext:
    return LookupContext(key, DnsResolver(()), clock)


async def found(lookup: DhtAddressLookup, key: SecretKey = KEY) -> list[EndpointInfo]:
    return [item.endpoint_info async for item in lookup.resolve(key.public())]


async def published(nodes: list[Dht], newer_than: int = -1) -> MutableItem:
    """The item, once all nodes have it."""
    while True:
        results = [await node.get(bytes(KEY.public())) for node in nodes]
        items = {result.item for result in results}
        item = items.pop()
        if not items and item is not None and item.seq > newer_than:
            return item


async def test_published_republished_and_resolved(nodes: list[Dht], client: Dht) -> None:
    clock = FakeClock()
    lookup = DhtAddressLookup(dht=client)
    lookup.bind(context(KEY, clock))
    lookup.publish(EndpointData([HERE], UserData("x")))  # nothing is left of it: relays only
    assert clock.sleeping() == []
    lookup.publish(EndpointData([HERE, RELAY], UserData("hello")))
    lookup.publish(EndpointData([HERE, RELAY], UserData("changed at once")))
    lookup.publish(EndpointData([RELAY], UserData("changed at once")))  # is the same
    await clock.until_sleeping(0.05)
    await clock.advance(0.05)
    await clock.until_sleeping(3600)
    first = await published(nodes)
    data = EndpointData([RELAY], UserData("changed at once"))
    assert await found(lookup) == [EndpointInfo(KEY.public(), data)]
    assert [item.provenance async for item in lookup.resolve(KEY.public())] == ["pkarr"]
    await clock.advance(3600)
    await clock.until_sleeping(3600)
    again = await published(nodes, first.seq)
    assert again.value == first.value
    assert again.to_packet().records()[0].ttl == 30
    await lookup.close()
    await lookup.close()
    assert clock.sleeping() == []


async def test_a_packet_from_the_future_is_overtaken(nodes: list[Dht], client: Dht) -> None:
    packet = SignedPacket.sign(KEY, ["relay=https://old.example/"], 1 << 60)
    assert (await client.put(MutableItem.from_packet(packet))).stored == 5
    clock = FakeClock()
    lookup = DhtAddressLookup(dht=client, secret_key=KEY, clock=clock)
    lookup.publish(EndpointData([RELAY]))
    await clock.until_sleeping(0.05)
    await clock.advance(0.05)
    await clock.until_sleeping(3600)
    assert (await found(lookup))[0].data.addrs == (RELAY,)
    assert (await published(nodes)).seq == (1 << 60) + 1
    await lookup.close()


async def test_nobody_is_asked_to_publish(client: Dht) -> None:
    lookup = DhtAddressLookup(dht=client, secret_key=KEY, publish=False)
    lookup.publish(EndpointData([RELAY]))
    assert await found(lookup) == []
    await lookup.close()
    assert client.known_nodes == 5
    assert client.stats.malformed == 0


async def test_a_network_that_is_not_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(LOOPBACK)
        nowhere = f"127.0.0.1:{sock.getsockname()[1]}"
        clock = FakeClock()
        lookup = DhtAddressLookup(bootstrap=[nowhere], secret_key=KEY, clock=clock)
        lookup.publish(EndpointData([RELAY]))
        await clock.until_sleeping(0.05)
        await clock.advance(0.05)
        with pytest.raises(DhtError, match="no node"):
            await found(lookup)
        await clock.until_sleeping(60)
        await lookup.close()
    with pytest.raises(DhtError, match="closed"):
        await found(lookup)


async def test_a_bootstrap_node_without_an_address() -> None:
    dht = Dht(bootstrap=["nowhere.example:6881"], resolver=DnsResolver(()))
    with pytest.raises(DhtError, match="no bootstrap node"):
        await dht.get(bytes(KEY.public()))
    with pytest.raises(DhtError, match="no socket"):
        await Dht(bind=("192.0.2.1", 0)).start()
    await dht.close()
    with pytest.raises(ValueError, match="host:port"):
        Dht(bootstrap=["nowhere"])


async def test_an_item_that_is_no_packet(client: Dht) -> None:
    await client.put(MutableItem.sign(KEY, 1, b"something else"))
    lookup = DhtAddressLookup(dht=client)
    with pytest.raises(PkarrError):
        await found(lookup)


async def test_compare_and_swap(client: Dht) -> None:
    assert (await client.put(MutableItem.sign(KEY, 1, b"one"))).stored == 5
    refused = await client.put(MutableItem.sign(KEY, 3, b"three"), cas=2)
    assert refused == PutResult(0, {301: 5})
    assert (await client.put(MutableItem.sign(KEY, 3, b"three"), cas=1)).stored == 5


async def test_cancelled_and_closed_while_waiting() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(LOOPBACK)
        dht = Dht(bootstrap=[f"127.0.0.1:{sock.getsockname()[1]}"], bind=LOOPBACK)
        getting = asyncio.create_task(dht.get(bytes(32)))
        other = asyncio.create_task(dht.get(bytes(32)))
        await asyncio.to_thread(sock.recv, 2000)
        getting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await getting
        await dht.close()
        with pytest.raises(DhtError, match="closed"):
            await other


async def test_an_endpoint_dials_what_it_finds(nodes: list[Dht]) -> None:
    bootstrap = [where(nodes[0])]
    async with (
        await Endpoint.bind(
            presets.Minimal,
            bind_addr="127.0.0.1:0",
            alpns=[b"dht"],
            secret_key=KEY,
            address_lookup=[
                DhtAddressLookup(bootstrap=bootstrap, addr_filter=AddrFilter.unfiltered())
            ],
        ) as server,
        await Endpoint.bind(
            presets.Minimal,
            bind_addr="127.0.0.1:0",
            address_lookup=[DhtAddressLookup(bootstrap=bootstrap, publish=False)],
        ) as client,
    ):
        await published(nodes)
        dialling = asyncio.create_task(client.connect(server.id(), b"dht"))
        accepted = await server.accept_next()
        assert accepted is not None
        await accepted
        assert (await dialling).remote_id() == server.id()
