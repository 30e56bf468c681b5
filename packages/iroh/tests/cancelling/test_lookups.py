"""Address lookup: a question that is cancelled is given up; closing goes on, or is done again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from cancelling import at_step, cancels, each_step, next_of
from iroh import DnsResolver
from iroh.address_lookup import (
    AddressLookupServices,
    Dht,
    DhtAddressLookup,
    DnsAddressLookup,
    FilteredAddressLookup,
    LookupContext,
    MdnsAddressLookup,
    PkarrPublisher,
    PkarrRelayClient,
    PkarrRelayError,
    PkarrResolver,
)
from iroh_base import AddrFilter, EndpointData, EndpointInfo, RelayUrl, SecretKey
from iroh_base.mainline import MutableItem

from ..address_lookup.kit import FakeClock, PkarrRelay, running_pkarr_relay

KEY = SecretKey(bytes([5]) * 32)
ID = KEY.public()
DATA = EndpointData([RelayUrl("https://relay.example/")])
PACKET = EndpointInfo(ID, DATA).to_signed_packet(KEY, 1, 30)
LOOPBACK = ("127.0.0.1", 0)


@pytest.fixture
async def relay(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PkarrRelay]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with running_pkarr_relay() as running:
        yield running


@pytest.fixture
async def nodes() -> AsyncIterator[list[Dht]]:
    """Nodes of a DHT that know each other."""
    async with AsyncExitStack() as stack:
        nodes: list[Dht] = []
        for _ in range(3):
            node = Dht(bootstrap=[where(each) for each in nodes[:1]], server=True, bind=LOOPBACK)
            stack.push_async_callback(node.close)
            await node.start()
            nodes.append(node)
        yield nodes


def where(node: Dht) -> str:
    ip, port = node.local_addr
    return f"{ip}:{port}"


def resolver() -> DnsResolver:
    return DnsResolver(())


class SlowToClose:
    """A service that takes a turn to close."""

    closed = began = False

    def publish(self, _data: EndpointData) -> None: ...

    def resolve(self, _id: object) -> None: ...

    async def close(self) -> None:
        self.began = True
        await asyncio.sleep(0)
        self.closed = True


@cancels(
    "iroh.address_lookup.AddressLookupServices.close",
    "iroh.address_lookup.FilteredAddressLookup.close",
)
async def test_closing_services() -> None:
    """The registry's goes on; the wrapper's ends with the wait for it."""
    services, slow = AddressLookupServices(), SlowToClose()
    services.add(slow)
    await at_step(1, services.close)
    assert slow.closed
    inner = SlowToClose()
    await at_step(1, FilteredAddressLookup(inner, AddrFilter.relay_only()).close)
    assert inner.began
    assert not inner.closed


@cancels(
    "iroh.address_lookup.PkarrRelayClient.publish", "iroh.address_lookup.PkarrRelayClient.resolve"
)
async def test_asking_a_pkarr_relay(relay: PkarrRelay) -> None:
    client = PkarrRelayClient(relay.url, resolver=resolver)

    async def has_it(_result: None) -> None:
        await client.publish(PACKET)

    assert await each_step(lambda: client.publish(PACKET), has_it) >= 2

    async def still(_result: object) -> None:
        assert await client.resolve(ID) == PACKET

    assert await each_step(lambda: client.resolve(ID), still) >= 2
    await client.close()


@cancels("iroh.address_lookup.PkarrResolver.resolve")
async def test_resolving_by_pkarr(relay: PkarrRelay) -> None:
    relay.packets[f"/pkarr/{ID.to_z32()}"] = PACKET.to_relay_payload()
    lookup = PkarrResolver(relay.url, resolver=resolver())

    async def still(_item: object) -> None:
        assert (await anext(aiter(lookup.resolve(ID)))).endpoint_id == ID

    assert await each_step(lambda: next_of(lookup.resolve(ID)), still) >= 2
    await lookup.close()


@cancels(
    "iroh.address_lookup.PkarrRelayClient.close",
    "iroh.address_lookup.PkarrResolver.close",
    "iroh.address_lookup.PkarrPublisher.close",
)
async def test_closing_what_talks_to_a_pkarr_relay(relay: PkarrRelay) -> None:
    """Called again it closes what is left; no request is made any more."""
    for make in (PkarrRelayClient, PkarrResolver, PkarrPublisher):
        for step in range(1, 10):
            if make is PkarrRelayClient:
                each = client = make(relay.url, resolver=resolver)
            else:
                each = make(relay.url, resolver=resolver())
                client = each._client
            await client.publish(PACKET)
            session, closing = client._session, client._session.close

            async def slowly(closing=closing) -> None:
                await asyncio.sleep(0)
                await closing()

            session.close = slowly
            try:
                await at_step(step, each.close)
            except AssertionError:
                assert step > 1
                break
            await each.close()
            assert session.closed
            with pytest.raises(PkarrRelayError):
                await client.publish(PACKET)


async def test_closing_a_publisher_that_publishes(relay: PkarrRelay) -> None:
    clock = FakeClock()
    publisher = PkarrPublisher(relay.url, secret_key=KEY, resolver=resolver(), clock=clock)
    publisher.publish(DATA)
    await relay.until_requests(1)
    await at_step(1, publisher.close)
    await publisher.close()
    assert clock.sleeping() == []


@cancels("iroh.address_lookup.DnsAddressLookup.resolve")
async def test_resolving_by_dns() -> None:
    class Silent:
        asked = 0

        async def lookup_txt(self, _host: str) -> list[object]:
            self.asked += 1
            try:
                return await asyncio.get_running_loop().create_future()
            finally:
                self.asked -= 1

    silent = Silent()
    lookup = DnsAddressLookup("example.", resolver=DnsResolver.custom(silent))
    await at_step(1, lambda: next_of(lookup.resolve(ID)))
    assert silent.asked == 0


@cancels("iroh.address_lookup.Dht.start")
async def test_joining_a_dht(nodes: list[Dht]) -> None:
    """Another call does what is left: bind, and find nodes; `close` lets go of the socket."""
    for step in range(1, 20):
        dht = Dht(bootstrap=[where(nodes[0])], bind=LOOPBACK)
        try:
            await at_step(step, dht.start)
        except AssertionError:
            await dht.close()
            break
        await dht.start()
        assert dht.known_nodes > 0
        await dht.close()
    assert step > 2


@cancels("iroh.address_lookup.Dht.get", "iroh.address_lookup.Dht.put")
async def test_asking_a_dht(nodes: list[Dht]) -> None:
    """Given up: nothing of it is left, and the next one is answered."""
    dht, item = Dht(bootstrap=[where(nodes[0])], bind=LOOPBACK), MutableItem.from_packet(PACKET)

    async def idle(_result: object) -> None:
        assert not dht._waiting

    assert await each_step(lambda: dht.put(item), idle) >= 1
    assert await each_step(lambda: dht.get(bytes(ID)), idle) >= 1
    assert (await dht.get(bytes(ID))).item == item
    await dht.close()


@cancels(
    "iroh.address_lookup.DhtAddressLookup.resolve", "iroh.address_lookup.DhtAddressLookup.close"
)
async def test_a_lookup_in_a_dht(nodes: list[Dht]) -> None:
    clock = FakeClock()
    lookup = DhtAddressLookup(bootstrap=[where(nodes[0])], secret_key=KEY, clock=clock)
    await lookup._dht.put(MutableItem.from_packet(PACKET))

    async def still(_item: object) -> None:
        assert [item.endpoint_id async for item in lookup.resolve(ID)] == [ID]

    assert await each_step(lambda: next_of(lookup.resolve(ID)), still) >= 1
    lookup.publish(DATA)
    await clock.until_sleeping(0.05)
    await at_step(1, lookup.close)
    await lookup.close()
    assert clock.sleeping() == []
    assert lookup._dht._closed


@cancels(
    "iroh.address_lookup.MdnsAddressLookup.resolve", "iroh.address_lookup.MdnsAddressLookup.close"
)
async def test_the_local_network() -> None:
    clock = FakeClock()
    lookup = MdnsAddressLookup(interfaces=[], port=0)
    lookup.bind(LookupContext(KEY, resolver(), clock))
    events = lookup.subscribe()
    await at_step(1, lambda: next_of(lookup.resolve(ID)))
    assert not lookup._waiting
    assert clock.sleeping() == []
    await at_step(1, lookup.close)
    await lookup.close()
    assert [event async for event in events] == []
