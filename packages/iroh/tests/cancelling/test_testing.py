"""`iroh.testing`: what a test gives up leaves servers and the simulated network as they were."""

import asyncio

import pytest

from cancelling import at_step, cancels, each_step, nothing
from iroh import Endpoint
from iroh.protocols import ECHO_ALPN, Echo
from iroh.testing import (
    LocalServers,
    SimulatedNetwork,
    VirtualTimeLoop,
    becomes_direct,
    becomes_relayed,
    in_virtual_time,
    stays_relayed,
)
from iroh_relay.client.errors import StreamClosedError
from iroh_relay.client.stream import DialRequest


@cancels("iroh.testing.LocalServers.bind", "iroh.testing.LocalServers.published")
async def test_local_servers() -> None:
    async with LocalServers() as servers:

        async def close(endpoint: Endpoint | None) -> None:
            assert len(servers._endpoints) == (endpoint is not None)  # those that the end closes

        assert await each_step(servers.bind, close) >= 1
        (endpoint,) = servers._endpoints
        await at_step(1, lambda: servers.published(endpoint), goes_on=True)
        assert (await servers.published(endpoint)).endpoint_id == endpoint.id()
        assert await each_step(lambda: servers.published(endpoint), nothing) >= 1


@in_virtual_time
@cancels(
    "iroh.testing.becomes_direct", "iroh.testing.becomes_relayed", "iroh.testing.stays_relayed"
)
async def test_checks() -> None:
    """The connections are not touched."""
    async with SimulatedNetwork() as net:
        server = await net.endpoint(protocols={ECHO_ALPN: Echo()})
        client = await net.endpoint()
        await asyncio.gather(server.online(), client.online())
        conn = await client.connect(server.id(), ECHO_ALPN)
        for check in (stays_relayed, becomes_direct):
            await at_step(1, lambda check=check: check(conn), goes_on=True)
        await becomes_direct(conn)
        await at_step(1, lambda: becomes_relayed(conn), goes_on=True)
        net.host_of(client).line.passes_udp = False
        await becomes_relayed(conn)


@in_virtual_time
@cancels(
    "iroh.testing.SimulatedNetwork.endpoint",
    "iroh.testing.SimulatedHost.dial",
    "iroh.testing.SimulatedHost.round_trips",
    "iroh.testing.SimulatedRelay.close",
)
async def test_the_simulated_network() -> None:
    """Nothing is bound, nothing opened; a relay's end goes on."""
    async with SimulatedNetwork() as net:

        async def bound(endpoint: Endpoint | None) -> None:
            assert len(net._endpoints) == (endpoint is not None)

        assert await each_step(net.endpoint, bound) >= 1
        (endpoint, host) = next(iter(net._endpoints.values()))
        await endpoint.online()
        served = len(net.relay._tasks)
        request = DialRequest(url=str(net.relay.url), auth_token=None)
        host.line.delay = 0.05
        await at_step(1, lambda: host.round_trips(2, net.relay), goes_on=True)
        await at_step(1, lambda: host.dial(request), goes_on=True)
        assert len(net.relay._tasks) == served == 1
        assert await host.round_trips(2, net.relay) == pytest.approx(0.11)
        await endpoint.close()
        stream = await host.dial(request)
        await at_step(1, net.relay.close)
        assert not net.relay._tasks
        with pytest.raises(StreamClosedError):
            await stream.receive()


@cancels("iroh.testing.VirtualTimeLoop.limited")
async def test_a_story_in_virtual_time() -> None:
    """The story is cancelled with it."""
    loop, ended = VirtualTimeLoop(), []

    async def story() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    await at_step(1, lambda: loop.limited(story()))
    assert ended == [True]
    assert loop._main is None
    loop.close()
