"""`async with` and `async for`: whoever is cancelled on the way in or out leaves nothing behind."""

import asyncio
from typing import Any

import pytest

from cancelling import at_step, cancels, each_step, within
from iroh import Endpoint, Router, SecretKey, presets, serve_metrics
from iroh.address_lookup import AddressLookupServices, LookupContext, MdnsAddressLookup
from iroh.protocols import Echo
from iroh.resolver import DnsResolver
from iroh.testing import LocalServers, SimulatedNetwork, connect_pair, in_virtual_time
from iroh_relay.server import RelayServer

from ..address_lookup.kit import FakeClock
from ..conftest import ALPN


class Each:
    """Makes one for each step, and remembers them all."""

    def __init__(self, make: Any) -> None:
        self.make, self.made = make, []

    async def __call__(self) -> Any:
        self.made.append(await self.make())
        return await within(self.made[-1])


@cancels("iroh.Endpoint.__aexit__", "iroh.Router.__aexit__")
async def test_leaving_goes_on(bind) -> None:
    """The endpoint is closed, though nobody waits for it."""

    async def closed(_result: object) -> None:
        assert all(endpoint.is_closed() for endpoint in endpoints.made)

    await bind()  # what it imports at first is a step less, later
    endpoints = Each(bind)
    assert await each_step(endpoints, closed) >= 1

    async def router() -> Router:
        return Router(await bind(), {ALPN: Echo()})

    routers = Each(router)

    async def shut_down(_result: object) -> None:
        assert all(each.is_shutdown() for each in routers.made)
        assert all(each._endpoint.is_closed() for each in routers.made[:-1])

    assert await each_step(routers, shut_down) >= 1


async def test_binding_on_the_way_in() -> None:
    """A port is free again, whether it was cancelled on the way in or out."""
    async with Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0") as probe:
        addr = probe.bound_sockets()[0]
    binding = {"bind_addr": addr, "protocols": {ALPN: Echo()}}

    async def free(_result: object) -> None:
        async with Endpoint.bind(presets.Minimal, bind_addr=addr):
            pass

    bind = lambda: within(Endpoint.bind(presets.Minimal, **binding))  # noqa: E731
    assert await each_step(bind, free) >= 1


@cancels("iroh.MetricsServer.__aenter__", "iroh.MetricsServer.__aexit__")
async def test_the_metrics_page(bind) -> None:
    """Its sockets are looked for by conftest.py; cancelled on the way out it is closed again."""
    servers: list[Any] = []

    async def serve() -> None:
        servers.append(serve_metrics(endpoint))
        await within(servers[-1])

    async def close(_result: object) -> None:
        await servers[-1].close()

    endpoint = await bind()
    assert await each_step(serve, close) >= 1


@cancels("iroh.testing.LocalServers.__aenter__", "iroh.testing.LocalServers.__aexit__")
async def test_local_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers and endpoints are closed, and the folder is gone."""
    made: list[LocalServers] = []
    start = RelayServer.start

    async def slowly(server: RelayServer) -> None:
        await asyncio.sleep(0)
        await start(server)

    monkeypatch.setattr(RelayServer, "start", slowly)

    async def serve() -> None:
        made.append(LocalServers())
        async with made[-1] as servers:
            await servers.bind()

    async def closed(_result: object) -> None:
        assert all(each.is_closed() for servers in made for each in servers._endpoints)

    assert await each_step(serve, closed) >= 3
    for servers in made[1:]:  # the first one got no relay
        assert servers.relay._closed.is_set()
        assert not servers.dns.config.data_dir.exists()  # it was let go before


async def test_a_pair() -> None:
    async def nothing_left(_result: object) -> None:
        assert asyncio.all_tasks() == tasks

    tasks = asyncio.all_tasks()
    assert await each_step(lambda: within(connect_pair(ALPN)), nothing_left) >= 3


@in_virtual_time
@cancels("iroh.testing.SimulatedNetwork.__aexit__")
async def test_a_simulated_network() -> None:
    made: list[SimulatedNetwork] = []

    async def run() -> None:
        made.append(SimulatedNetwork())
        async with made[-1] as net:
            await net.endpoint()

    async def closed(_result: object) -> None:
        for net in made:
            assert all(endpoint.is_closed() for endpoint, _host in net._endpoints.values())
            assert not net.relay._tasks

    assert await each_step(run, closed) >= 2


@cancels("iroh.RecvStream.__anext__")
async def test_chunks_are_not_lost(connect) -> None:
    client, server = await connect()
    send = await client.open_uni()
    await send.write_all(b"1")
    recv = await server.accept_uni()
    assert await anext(recv) == b"1"
    await at_step(1, lambda: anext(recv))
    await send.write_all(b"2")
    await send.finish()
    assert [chunk async for chunk in recv] == [b"2"]


@cancels("iroh.address_lookup.DiscoveryStream.__anext__")
async def test_events_of_the_local_network() -> None:
    lookup, key = MdnsAddressLookup(interfaces=[], port=0), SecretKey(bytes([5]) * 32)
    lookup.bind(LookupContext(key, DnsResolver(()), FakeClock()))
    events = lookup.subscribe()
    await at_step(1, lambda: anext(events))
    await lookup.close()
    assert [event async for event in events] == []


async def test_all_lookups_at_once() -> None:
    """Every service's work ends with who asked."""
    services, waiting, all_wait = AddressLookupServices(), [], asyncio.Event()

    class Silent:
        def publish(self, _data: object) -> None: ...

        async def resolve(self, _id: object) -> Any:
            waiting.append(self)
            if len(waiting) == 3:
                all_wait.set()
            try:
                await asyncio.get_running_loop().create_future()
                yield
            finally:
                waiting.remove(self)

    for _ in range(3):
        services.add(Silent())
    asking = asyncio.create_task(anext(services.resolve(SecretKey(bytes(32)).public())))
    await all_wait.wait()
    asking.cancel()
    await asyncio.wait((asking,))
    assert waiting == []
