"""The service itself, by multicast on the loopback interface, where it stays."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from iroh import Endpoint, presets
from iroh.address_lookup import LookupContext
from iroh.address_lookup.mdns import Discovered, DiscoveryStream, Expired, MdnsAddressLookup
from iroh.address_lookup.mdns.links import Link, MulticastLinks, links_of
from iroh.address_lookup.mdns.wire import MAX_MESSAGE, MdnsWire
from iroh.netmon import Interface, NetworkMonitor, NetworkState, read_network
from iroh.netmon.state import LocalIp
from iroh.resolver import DnsResolver
from iroh_base import AddrFilter, EndpointData, RelayUrl, SecretKey, SocketAddr, UserData

from .kit import FakeClock

LOOPBACK = [each.name for each in read_network().interfaces if each.is_loopback]
HERE = SocketAddr("10.0.0.1", 1)
QUICK = 0.05
"""Seconds of a round. A machine that stalls for longer takes endpoints for gone: see `appeared`."""

Make = Callable[..., MdnsAddressLookup]


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
async def make(port: int) -> AsyncIterator[Make]:
    numbers = itertools.count(1)
    async with AsyncExitStack() as stack:

        def make(clock: FakeClock | None = None, **settings: object) -> MdnsAddressLookup:
            lookup = quick(port, **settings)
            key = SecretKey(bytes([next(numbers)]) * 32)
            lookup.bind(LookupContext(key, DnsResolver(()), clock or FakeClock()))
            stack.push_async_callback(lookup.close)
            return lookup

        yield make


def quick(port: int, **settings: object) -> MdnsAddressLookup:
    return MdnsAddressLookup(**{"cadence": QUICK, "interfaces": LOOPBACK, "port": port, **settings})


def key(number: int) -> SecretKey:
    return SecretKey(bytes([number]) * 32)


async def appeared(events: DiscoveryStream) -> Discovered:
    """The next endpoint that appears; that one is taken for gone and comes back is possible."""
    async for event in events:
        if isinstance(event, Discovered):
            return event
    raise AssertionError("the events ended")


async def vanished(events: DiscoveryStream) -> Expired:
    """The next endpoint that vanishes."""
    async for event in events:
        if isinstance(event, Expired):
            return event
    raise AssertionError("the events ended")


async def test_published_and_resolved(make: Make) -> None:
    ours, theirs = make(), make()
    data = EndpointData([HERE, RelayUrl("https://relay.example/")], UserData("hello"))
    theirs.publish(data)
    items = ours.resolve(key(2).public())
    item = await anext(items)
    assert (item.endpoint_id, item.endpoint_info.data) == (key(2).public(), data)
    assert (item.provenance, item.last_updated_us) == ("mdns", None)
    moved = EndpointData([SocketAddr("10.0.0.2", 1)])
    theirs.publish(moved)
    assert (await anext(items)).endpoint_info.data == moved
    await items.aclose()
    at_once = ours.resolve(key(2).public())
    assert (await anext(at_once)).endpoint_info.data == moved
    await at_once.aclose()
    assert ours.stats.queries_heard
    assert ours.stats.replies_heard
    assert not ours.stats.replies_sent  # nothing was published


async def test_what_cannot_be_read_is_counted(make: Make) -> None:
    ours, theirs = make(), make()
    theirs.publish(EndpointData([HERE]))
    items = ours.resolve(key(2).public())
    await anext(items)
    await items.aclose()
    query = MdnsWire("irohv1").query()
    ours._hear(query[:-1], 4)
    ours._hear(query + bytes(MAX_MESSAGE), 4)
    ours._hear(b"for others", 4)
    assert ours.stats.dropped == 2


async def test_a_lookup_ends_after_ten_seconds(make: Make) -> None:
    clock = FakeClock()
    ours = make(clock)
    ending = asyncio.create_task(_all(ours.resolve(key(9).public())))
    await clock.until_sleeping(10.0)
    await clock.advance(10.0)
    assert await ending == []


async def _all(items: AsyncIterator[object]) -> list[object]:
    return [item async for item in items]


async def test_events_of_those_nobody_asked_for(make: Make) -> None:
    ours, theirs = make(), make()
    events = ours.subscribe()
    theirs.publish(EndpointData([HERE]))
    event = await appeared(events)
    assert event.endpoint_info.endpoint_id == key(2).public()
    await theirs.close()
    assert await vanished(events) == Expired(key(2).public())
    await ours.close()
    assert await _all(events) == []


async def test_what_was_asked_for_is_no_event(make: Make) -> None:
    ours, theirs, third = make(), make(), make()
    events = ours.subscribe()
    items = ours.resolve(key(2).public())
    theirs.publish(EndpointData([HERE]))
    await anext(items)
    third.publish(EndpointData([HERE]))
    event = await appeared(events)
    assert event.endpoint_info.endpoint_id == key(3).public()
    await items.aclose()
    events.close()
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_who_does_not_advertise_is_not_found(make: Make) -> None:
    ours, quiet, loud = make(), make(advertise=False), make()
    events = ours.subscribe()
    quiet.publish(EndpointData([HERE]))
    loud.publish(EndpointData([HERE]))
    assert (await appeared(events)).endpoint_info.endpoint_id == key(3).public()
    assert (await appeared(quiet.subscribe())).endpoint_info.endpoint_id == key(3).public()
    assert not quiet.stats.replies_sent


async def test_a_filter_and_another_service(make: Make) -> None:
    ours, theirs, stranger = make(), make(addr_filter=AddrFilter.ip_only()), make(service_name="x")
    data = EndpointData([HERE, RelayUrl("https://relay.example/")])
    stranger.publish(data)
    theirs.publish(data)
    events = ours.subscribe()
    event = await appeared(events)
    assert event == Discovered(event.endpoint_info)
    assert event.endpoint_info.endpoint_id == key(2).public()
    assert event.endpoint_info.data.addrs == (HERE,)


async def test_endpoints_find_each_other(port: int) -> None:
    """Through the endpoint's own registry: bound with the service, or given it later."""
    async with (
        await Endpoint.bind(
            presets.Minimal,
            bind_addr="127.0.0.1:0",
            alpns=[b"mdns"],
            user_data="printer",
            address_lookup=[quick(port)],
        ) as server,
        await Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0") as client,
    ):
        lookup = quick(port, advertise=False)
        client.add_address_lookup(lookup)
        events = lookup.subscribe()
        event = await appeared(events)
        assert event.endpoint_info.data.user_data == "printer"
        server.set_user_data("scanner")  # and who watches is told
        event = await appeared(events)
        assert event.endpoint_info.data.user_data == "scanner"
        dialling = asyncio.create_task(client.connect(server.id(), b"mdns"))
        accepted = await server.accept_next()
        assert accepted is not None
        theirs = await accepted
        assert (await dialling).remote_id() == server.id()
        assert theirs.remote_id() == client.id()
        assert client.remove_address_lookup(lookup)
        assert not client.remove_address_lookup(lookup)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="cadence"):
        MdnsAddressLookup(cadence=0)
    with pytest.raises(ValueError, match="service name"):
        MdnsAddressLookup(service_name="")


# -- the interfaces ----------------------------------------------------------------------------

UP, LOOP, MULTICAST = 0x1, 0x8, 0x1000
LO = Interface(1, "lo", UP | LOOP, b"", (LocalIp("127.0.0.1", 8), LocalIp("::1", 128)))
ETH = Interface(2, "eth", UP | MULTICAST, b"", (LocalIp("10.0.0.1", 24), LocalIp("10.0.0.2", 24)))
WIFI = Interface(3, "wifi", UP | MULTICAST, b"", (LocalIp("fe80::1", 64),))
TUNNEL = Interface(4, "tun", UP, b"", (LocalIp("10.9.0.1", 24),))


def test_which_links_are_used() -> None:
    state = NetworkState((LO, ETH, WIFI, TUNNEL))
    assert links_of(state) == [(4, 2, "10.0.0.1"), (6, 3, "")]
    assert links_of(state, {"tun"}) == [(4, 4, "10.9.0.1")]
    assert links_of(NetworkState((LO,))) == [(4, 1, "127.0.0.1"), (6, 1, "")]  # not on any network
    assert links_of(NetworkState()) == []


async def test_links_follow_the_network(port: int) -> None:
    links = MulticastLinks(lambda data, family: None, port=port)
    loopback = links_of(read_network(), LOOPBACK)
    try:
        await links.follow([*loopback, Link(4, 99, "192.0.2.1")])  # one that cannot be opened
        assert links.links == loopback
        await links.follow([])
        assert links.links == []
        links.send(b"to nobody", None)
    finally:
        links.close()


class Platform:
    """A machine whose network is what the test says; nothing tells of changes."""

    state = NetworkState()

    def read(self) -> NetworkState:
        return self.state

    def listen(self, on_event: Callable[[], None]) -> object:
        raise OSError

    def wall_clock(self) -> float:
        return 0.0


async def test_an_interface_that_comes_later(make: Make) -> None:
    platform = Platform()
    monitor = NetworkMonitor(platform)
    monitor.start()
    ours = make(monitor=monitor)
    theirs = make()
    theirs.publish(EndpointData([HERE]))
    events = ours.subscribe()
    platform.state = read_network()
    monitor.rescan()
    await appeared(events)
    platform.state = NetworkState()
    monitor.rescan()
    assert await vanished(events) == Expired(key(2).public())
    await monitor.close()


async def test_too_many_subscribers_and_a_slow_one(make: Make) -> None:
    ours = make()
    streams = []
    with suppress(RuntimeError):
        while len(streams) < 100:
            streams.append(ours.subscribe())
    assert len(streams) == 64
    streams[0].close()
    ours.subscribe().close()
    for _ in range(30):
        ours._tell(Expired(key(3).public()))
    assert ours.stats.dropped == 10 * 63
    streams[1].close()
    assert len(await _all(streams[1])) == 20
