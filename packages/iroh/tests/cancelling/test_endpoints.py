"""Endpoints, and what is made for one: dialled, bound, watched, closed, and cancelled at each step.

Afterwards nothing of it goes on, nobody waits for it, and the endpoints still work.

../test_cancellation.py says for some of the calls what must not be lost, whatever the moment.
"""

import asyncio
from typing import Any

import pytest

from cancelling import at_step, cancels, each_step, next_of, nothing
from iroh import (
    AddrChangeCallback,
    CaTlsConfig,
    Connection,
    Endpoint,
    EndpointBuilder,
    EndpointOptions,
    RelayConfig,
    Router,
    SecretKey,
    asyncio_streams,
    presets,
    serve_metrics,
)
from iroh.protocols import ECHO_ALPN, Echo

from ..conftest import ALPN, meet


async def works(client: Connection, server: Connection) -> None:
    """Talk over the connection."""
    send = await client.open_uni()
    await send.write_all(b"still fine")
    await send.finish()
    assert await (await server.accept_uni()).read_to_end(100) == b"still fine"


@cancels("iroh.Endpoint.connect")
async def test_dialling(bind) -> None:
    server, client = await bind(protocols={ECHO_ALPN: Echo()}), await bind()

    async def talk(conn: Connection | None) -> None:
        if conn is not None:
            conn.close()
        async with await client.connect(server.addr(), ECHO_ALPN) as again:
            send, recv = await again.open_bi()
            async with send:
                await send.write_all(b"echo")
            assert await recv.read_to_end(10) == b"echo"

    assert await each_step(lambda: client.connect(server.addr(), ECHO_ALPN), talk) >= 1
    pending = client.connect_pending

    async def complete() -> Connection:
        return await (await pending(server.addr(), ECHO_ALPN))

    assert await each_step(complete, talk) >= 1


class Silent:
    """Finds nobody, and does not say so."""

    def publish(self, _data) -> None: ...

    async def resolve(self, _id):
        await asyncio.get_running_loop().create_future()
        yield


@cancels("iroh.Endpoint.connect", "iroh.Endpoint.connect_pending")
async def test_dialling_who_is_not_found(bind) -> None:
    """The dial is given up; the lookup goes on, for other dials."""
    client, peer = await bind(address_lookup=[Silent()]), SecretKey.generate().public()
    for dial in (client.connect, client.connect_pending):
        await at_step(1, lambda dial=dial: dial(peer, ALPN), goes_on=True)
        assert client._sock.remotes.find(peer).users == 0


@cancels("iroh.EndpointBuilder.bind", "iroh.Endpoint.close")
async def test_binding_and_closing() -> None:
    async def close(endpoint: Endpoint | None) -> None:
        if endpoint is not None:
            await endpoint.close()

    options = {"bind_addr": "127.0.0.1:0", "protocols": {ALPN: Echo()}}
    assert await each_step(lambda: _bound(options), close) >= 1
    left = [await _bound(options) for _ in range(12)]
    closing = list(left)

    async def finish(_result: Any) -> None:
        """Those whose closing was begun are closed in the end, without being asked again."""
        for endpoint in left:
            if endpoint._core.closing:
                await endpoint.close()
                assert endpoint.is_closed()

    assert await each_step(lambda: closing.pop().close(), finish) >= 1
    for endpoint in left:
        await endpoint.close()


async def _bound(options: dict[str, Any]) -> Endpoint:
    builder = EndpointBuilder()
    builder.apply_options(EndpointOptions(preset=presets.Minimal, **options))
    return await builder.bind()


async def meet_new(bind) -> tuple[Connection, Connection]:
    server, client = await bind(alpns=[ALPN]), await bind()
    return await meet(client, server)


@cancels(
    "iroh.Endpoint.online",
    "iroh.Endpoint.accept_next",
    "iroh.Endpoint.incoming",
    "iroh.Endpoint.closed",
    "iroh_base.Watcher.updated",
    "iroh_base.Watcher.initialized",
    "iroh_base.Watchable.changed",
)
async def test_what_endpoints_wait_for(bind) -> None:
    """Harmless: no attempt is lost, and nobody is left waiting."""
    endpoint = await bind(alpns=[ALPN])
    addrs, home = endpoint.watch_addr(), endpoint.watch_home_relay()
    for call in (endpoint.online, endpoint.accept_next, addrs.updated, endpoint.closed):
        await at_step(1, call)
    await at_step(1, home.initialized)
    await at_step(1, lambda: next_of(endpoint.incoming()))
    assert not endpoint._core.home_status._waiters
    await meet(await bind(), endpoint)


@cancels("iroh.CaTlsConfig.web_trust")
async def test_reading_certificates() -> None:
    trust = CaTlsConfig.system()
    await at_step(1, trust.web_trust)
    assert await trust.web_trust() is await trust.web_trust()


async def test_what_never_suspends(bind) -> None:
    """These say that they never wait: there is no step to cancel them at."""
    client, server = await meet_new(bind)
    endpoint = await bind()
    send, recv = await client.open_bi()
    await send.write_all(b"x")
    calls = (
        lambda: send.write(b"x"),
        lambda: send.set_priority(1),
        send.priority,
        send.id,
        recv.id,
        recv.bytes_read,
        send.finish,
        lambda: recv.stop(1),
        lambda: send.reset(1),
        client.open_uni,
        lambda: endpoint.add_external_addr("192.0.2.1:5"),
        lambda: endpoint.remove_external_addr("192.0.2.1:5"),
        lambda: endpoint.remove_relay("https://relay.example"),
        lambda: endpoint.remote_addr(server.remote_id()),
        endpoint.network_change,
        lambda: endpoint.insert_relay(RelayConfig(url="https://relay.example")),
        lambda: endpoint.remote_info(server.remote_id()),
    )
    for call in calls:
        assert await each_step(call, nothing) == 0


@pytest.mark.parametrize("verdict", ["accept", "refuse", "retry", "ignore"])
async def test_deciding_never_suspends(bind, verdict) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    incoming = await server.accept_next()
    for ask in (incoming.remote_addr, incoming.local_addr, incoming.remote_addr_validated):
        assert await each_step(ask, nothing) == 0
    assert await each_step(getattr(incoming, verdict), nothing) == 0
    dial.cancel()
    await asyncio.wait((dial,))


@cancels("iroh.Router.shutdown", "iroh.MetricsServer.start", "iroh.MetricsServer.close")
async def test_routers_and_metrics(bind) -> None:
    async with serve_metrics(await bind()) as server:
        assert server.url
    endpoint = await bind()

    async def close(_result: Any) -> None:
        await metrics.close()

    metrics = serve_metrics(endpoint)
    await each_step(metrics.start, close)
    await metrics.start()
    await at_step(1, metrics.close)
    await metrics.close()
    router = Router(endpoint, {ALPN: Echo()})
    await at_step(1, router.shutdown)
    await router.shutdown()
    assert endpoint.is_closed()


async def test_asyncio_streams(bind) -> None:
    client, server = await meet_new(bind)
    reader, writer = asyncio_streams(await client.open_bi())
    writer.write(b"line")
    theirs = await server.accept_bi()
    for _ in range(3):
        await at_step(1, reader.readline)
    await theirs.send().write_all(b"answer\n")
    assert await reader.readline() == b"answer\n"
    writer.close()
    await writer.wait_closed()
    await works(client, server)


@cancels("iroh.WatchHandle.stop")
async def test_stopping_a_watch_goes_on(bind) -> None:
    class Callback(AddrChangeCallback):
        async def on_change(self, addr) -> None:
            told.set()

    told = asyncio.Event()
    endpoint = await bind()
    handle = endpoint.watch_addr(Callback())
    await told.wait()
    await at_step(1, handle.stop)
    await handle.stop()
    assert "over" in repr(handle)


@cancels("iroh.Router.stop")
async def test_stopping_a_router_goes_on(bind) -> None:
    endpoint = await bind()
    router = Router(endpoint, {ALPN: Echo()})
    await at_step(1, router.stop)
    assert router.is_shutdown()
    await router.stop()
    assert not endpoint.is_closed()
