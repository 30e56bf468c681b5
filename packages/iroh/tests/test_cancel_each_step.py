"""Every public await, cancelled at every step: run it, throw CancelledError in at its n-th
suspension, for n = 1, 2, ... until it is done before. After each: nothing of it goes on, nobody
waits for it, and the endpoints still work.

test_cancellation.py says for the calls one by one what must not be lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import pytest

from iroh import (
    AddrChangeCallback,
    BiStream,
    CaTlsConfig,
    Connection,
    DnsResolver,
    Endpoint,
    RelayConfig,
    Router,
    SecretKey,
    asyncio_streams,
    presets,
    serve_metrics,
)
from iroh.protocols import (
    ECHO_ALPN,
    PING_ALPN,
    PIPE_ALPN,
    Echo,
    Ping,
    Pipe,
    open_pipe,
    ping,
    ping_once,
)
from iroh_dns_server import Config, DnsConfig, DnsServer, HttpConfig
from iroh_relay.server import RelayServer

from .conftest import ALPN, meet
from .relay_kit import LOCAL

LOOPBACK = IPv4Address("127.0.0.1")

MOST = 60
"""More steps than any call has; one that has more would never be seen to end."""


class Stepped:
    """Runs a coroutine, and cancels it where it suspends for the n-th time."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], last: int) -> None:
        self._coroutine, self._left = coroutine, last

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[], Any] = partial(self._coroutine.send, None)
        try:
            while True:
                waits = resume()
                self._left -= 1
                if not self._left:  # it may still wait, for what it has to tidy up
                    waits = self._coroutine.throw(asyncio.CancelledError)
                try:
                    yield waits
                except BaseException as error:  # noqa: BLE001 (whatever the loop throws in)
                    resume = partial(self._coroutine.throw, error)
                else:
                    resume = partial(self._coroutine.send, None)
        except StopIteration as stop:
            return stop.value


async def each_step(
    call: Callable[[], Awaitable[Any]], after: Callable[[Any], Awaitable[None]]
) -> int:
    """Cancel the call at each of its steps; give their number.

    after: gets what it gave, None when it was cancelled.
    """

    async def run() -> Any:
        return await call()

    for step in range(1, MOST):
        tasks = asyncio.all_tasks()
        try:
            result = await Stepped(run(), step)
        except asyncio.CancelledError:
            await after(None)
            await settle(tasks)
        else:
            await after(result)
            return step - 1
    raise AssertionError(f"it does not end in {MOST} steps")


async def settle(before: set[asyncio.Task[Any]]) -> None:
    """Wait until no task goes on that was not there before."""
    while more := asyncio.all_tasks() - before:
        await asyncio.wait(more)


async def nothing(_result: Any) -> None:
    """Leave it at that."""


async def works(client: Connection, server: Connection) -> None:
    """Talk over the connection."""
    send = await client.open_uni()
    await send.write_all(b"still fine")
    await send.finish()
    assert await (await server.accept_uni()).read_to_end(100) == b"still fine"


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
    return await Endpoint.bind(presets.Minimal, **options)


WAITS: dict[str, Callable[[Connection], Awaitable[Any]]] = {
    "accept_bi": Connection.accept_bi,
    "accept_uni": Connection.accept_uni,
    "read_datagram": Connection.read_datagram,
    "read_many_datagrams": lambda conn: conn.read_many_datagrams(5),
    "closed": Connection.closed,
    "path event": lambda conn: anext(conn.path_events()),
}


@pytest.mark.parametrize("name", WAITS)
async def test_waiting_for_what_does_not_come(bind, name) -> None:
    client, server = await meet_new(bind)
    step = Stepped(_as_coroutine(WAITS[name](server)), 1)
    with pytest.raises(asyncio.CancelledError):
        await step
    assert len(server._driver.inbox.waiters) == 0
    await works(client, server)


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def meet_new(bind) -> tuple[Connection, Connection]:
    server, client = await bind(alpns=[ALPN]), await bind()
    return await meet(client, server)


async def test_what_endpoints_wait_for(bind) -> None:
    endpoint = await bind(alpns=[ALPN])
    watcher = endpoint.watch_addr()
    for call in (endpoint.online, endpoint.accept_next, watcher.updated, endpoint.closed):
        with pytest.raises(asyncio.CancelledError):
            await Stepped(_as_coroutine(call()), 1)
    await meet(await bind(), endpoint)


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


async def test_routers_and_metrics(bind) -> None:
    async with serve_metrics(await bind()) as server:
        assert server.url
    endpoint = await bind()

    async def close(_result: Any) -> None:
        await metrics.close()

    metrics = serve_metrics(endpoint)
    await each_step(metrics.start, close)
    await metrics.start()
    with pytest.raises(asyncio.CancelledError):
        await Stepped(metrics.close(), 1)
    await metrics.close()
    router = Router(endpoint, {ALPN: Echo()})
    with pytest.raises(asyncio.CancelledError):
        await Stepped(router.shutdown(), 1)
    await router.shutdown()
    assert endpoint.is_closed()


async def test_asyncio_streams(bind) -> None:
    client, server = await meet_new(bind)
    reader, writer = asyncio_streams(await client.open_bi())
    writer.write(b"line")
    theirs = await server.accept_bi()
    for _ in range(3):
        with pytest.raises(asyncio.CancelledError):
            await Stepped(_as_coroutine(reader.readline()), 1)
    await theirs.send().write_all(b"answer\n")
    assert await reader.readline() == b"answer\n"
    writer.close()
    await writer.wait_closed()
    await works(client, server)


@pytest.mark.parametrize("server", [RelayServer, DnsServer])
async def test_closing_a_server_goes_on(server, tmp_path) -> None:
    """Cancelled at its first step it is still done, and asking again waits for it."""
    http = HttpConfig(port=0, bind_addr=LOOPBACK)
    configs = {
        RelayServer: lambda: LOCAL,
        DnsServer: lambda: Config(
            data_dir=tmp_path, http=http, dns=DnsConfig(port=0, bind_addr=LOOPBACK)
        ),
    }
    running = server(configs[server]())
    await running.start()
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await Stepped(running.close(), 1)
    await running.close()
    await running.close()


async def test_stopping_a_watch_goes_on(bind) -> None:
    class Callback(AddrChangeCallback):
        async def on_change(self, addr) -> None:
            told.set()

    told = asyncio.Event()
    endpoint = await bind()
    handle = endpoint.watch_addr(Callback())
    await told.wait()
    with pytest.raises(asyncio.CancelledError):
        await Stepped(handle.stop(), 1)
    await handle.stop()
    assert "over" in repr(handle)


async def test_pings_and_pipes(bind) -> None:
    handlers = {PING_ALPN: Ping(), PIPE_ALPN: Pipe(to_nobody)}
    server, client = await bind(protocols=handlers), await bind()

    async def still(_result: Any) -> None:
        assert await ping(client, server.addr()) > 0

    assert await each_step(lambda: ping(client, server.addr()), still) >= 1
    conn = await client.connect(server.addr(), PING_ALPN)
    assert await each_step(lambda: ping_once(conn), nothing) >= 1
    assert await ping_once(conn) > 0
    conn.close()
    conn = await client.connect(server.addr(), PIPE_ALPN)
    await each_step(lambda: open_pipe(conn), nothing)
    conn.close()


async def to_nobody(stream: BiStream, _conn: Connection) -> None:
    """Take a pipe and leave it."""


async def test_resolving_and_trusting(bind) -> None:
    resolver = DnsResolver(nameservers=["127.0.0.1:9"])
    for call in (
        lambda: resolver.lookup_ipv4("example.org"),
        lambda: resolver.lookup_txt("example.org"),
        lambda: resolver.resolve_host("example.org"),
        lambda: resolver.resolve_host_staggered("example.org"),
        lambda: resolver.lookup_endpoint_by_id(SecretKey.generate().public(), "example.org"),
    ):
        tasks = asyncio.all_tasks()
        with pytest.raises(asyncio.CancelledError):
            await Stepped(_as_coroutine(call()), 1)
        await settle(tasks)
    trust = CaTlsConfig.system()
    with pytest.raises(asyncio.CancelledError):
        await Stepped(_as_coroutine(trust.web_trust()), 1)
    assert await trust.web_trust() is await trust.web_trust()


async def test_stopping_a_router_goes_on(bind) -> None:
    endpoint = await bind()
    router = Router(endpoint, {ALPN: Echo()})
    with pytest.raises(asyncio.CancelledError):
        await Stepped(router.stop(), 1)
    assert router.is_shutdown()
    await router.stop()
    assert not endpoint.is_closed()
