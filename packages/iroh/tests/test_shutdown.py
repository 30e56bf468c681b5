"""The end of an endpoint, whenever and from wherever it is asked for: nothing hangs, everybody is
told. Each waits for events; a hang is the suite's time limit.
"""

import asyncio
import gc
import subprocess
import sys
import textwrap

import pytest

from iroh import (
    ConnectError,
    Connection,
    ConnectionLostError,
    Endpoint,
    EndpointClosedError,
    EndpointHooks,
    ProtocolHandler,
    RelayMode,
    Router,
    StreamError,
    TransportConfig,
    presets,
)
from iroh.protocols import ECHO_ALPN, Echo
from iroh_relay.server import RelayServer

from .conftest import ALPN, meet
from .relay_kit import LOCAL, RelayedOnly


async def test_data_in_flight_on_fifty_connections(bind) -> None:
    """Who writes is told that it is closed, who reads gets code 0, on every one."""
    config = TransportConfig(stream_receive_window=20_000, send_window=20_000)
    server = await bind(alpns=[ALPN], transport_config=config)
    client = await bind(transport_config=config)
    pairs = [await meet(client, server) for _ in range(50)]
    writers, readers = [], []
    for dialled, accepted in pairs:
        send = await dialled.open_uni()
        writers.append(asyncio.create_task(send.write_all(bytes(1_000_000))))
        readers.append(await accepted.accept_uni())
        assert await readers[-1].read(1000)
    await client.close()
    assert client.is_closed()
    for end in await asyncio.gather(*writers, return_exceptions=True):
        assert isinstance(end, StreamError)
        assert str(end) == "the connection was closed on this side"
    for recv in readers:
        with pytest.raises(StreamError, match="closed by peer: 0"):
            await recv.read_to_end(1_000_000)
    for dialled, accepted in pairs:
        assert await dialled.closed() == "closed"
        assert await accepted.closed() == "closed by peer: 0"
    assert not client._engine.drivers()


async def test_what_was_acknowledged_is_there_after_the_close(bind) -> None:
    """Finish, wait for `stopped`, close: nothing is lost, even if the reader comes later."""
    server, client = await bind(alpns=[ALPN]), await bind()
    dialled, accepted = await meet(client, server)
    async with await dialled.open_uni() as send:
        await send.write_all(b"x" * 100_000)
    assert await send.stopped() is None
    await client.close()
    await accepted.closed()
    assert len(await (await accepted.accept_uni()).read_to_end(100_000)) == 100_000


async def test_a_dead_peer(bind) -> None:
    """It neither hears nor answers; whoever closes does not wait for it."""
    server, client = await bind(alpns=[ALPN]), await bind()
    dialled, accepted = await meet(client, server)
    server._engine.send = server._sock.deliver = lambda batches: None
    send = await dialled.open_uni()
    await send.write_all(b"x" * 100_000)
    await client.close()
    assert client.is_closed()
    assert dialled.close_reason() == "closed"
    assert accepted.close_reason() is None


async def test_the_relay_is_gone(bind) -> None:
    async with RelayServer(LOCAL) as relay:
        mode = RelayMode.custom_from_urls([str(relay.http_url)])
        settings = {"preset": RelayedOnly(), "bind_addr": None, "relay_mode": mode}
        server = await bind(**settings, protocols={ECHO_ALPN: Echo()})
        client = await bind(**settings)
        await server.online()
        conn = await client.connect(server.addr(), ECHO_ALPN)
        send, _ = await conn.open_bi()
        await send.write_all(b"x" * 100_000)
        home = client.watch_home_relay()
    while (status := home.get()) is not None and status.is_connected:
        await home.updated()
    await asyncio.gather(client.close(), server.close())
    assert conn.close_reason() == "closed"


async def test_twice_at_once_and_cancelled_halfway(bind) -> None:
    endpoint, client = await bind(protocols={ECHO_ALPN: Echo()}), await bind()
    conn = await client.connect(endpoint.addr(), ECHO_ALPN)
    cancelled = asyncio.create_task(endpoint.close())
    others = [asyncio.create_task(endpoint.close()) for _ in range(3)]
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled, *others])
    assert cancelled.cancelled()
    assert endpoint.is_closed()
    await endpoint.close()
    assert await conn.closed() == "closed by peer: 0"


async def test_who_waits_is_woken(bind) -> None:
    """Everything that can wait on an endpoint or its connections has an end with it."""
    server, client = await bind(alpns=[ALPN]), await bind()
    config = TransportConfig(max_concurrent_bidi_streams=0)
    other = await bind(alpns=[ALPN], transport_config=config)
    (dialled, _accepted), (full, _) = await meet(client, server), await meet(client, other)
    send, recv = await dialled.open_bi()
    await send.write_all(b"x")
    waits = {
        "accept_next": client.accept_next(),
        "online": client.online(),
        "closed": client.closed(),
        "watch_addr": client.watch_addr().updated(),
        "open_bi": full.open_bi(),
        "accept_bi": dialled.accept_bi(),
        "accept_uni": dialled.accept_uni(),
        "read_datagram": dialled.read_datagram(),
        "Connection.closed": dialled.closed(),
        "read": recv.read(),
        "received_reset": recv.received_reset(),
        "paths": anext(dialled.path_events()),
    }
    tasks = {name: asyncio.ensure_future(wait) for name, wait in waits.items()}
    await asyncio.sleep(0)
    await client.close()
    ends = dict(
        zip(tasks, await asyncio.gather(*tasks.values(), return_exceptions=True), strict=True)
    )
    assert ends["accept_next"] is None
    assert ends["closed"] is None
    assert ends["Connection.closed"] == "closed"
    assert isinstance(ends["online"], EndpointClosedError)
    for name in ("open_bi", "accept_bi", "accept_uni", "read_datagram"):
        assert isinstance(ends[name], ConnectionLostError), name
    for name in ("read", "received_reset"):
        assert isinstance(ends[name], StreamError), name


async def test_async_with_left_by_an_exception(bind) -> None:
    async def fail() -> None:
        async with Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0") as client:
            met.extend((client, await meet(client, server)))
            raise ZeroDivisionError

    met: list = []
    server = await bind(alpns=[ALPN])
    with pytest.raises(ZeroDivisionError):
        await fail()
    client, (_dialled, accepted) = met
    assert client.is_closed()
    assert await accepted.closed() == "closed by peer: 0"


async def test_async_with_left_by_cancelling(bind) -> None:
    async def use() -> None:
        async with Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0") as client:
            clients.append(client)
            entered.set()
            await asyncio.get_running_loop().create_future()

    clients: list[Endpoint] = []
    entered = asyncio.Event()
    task = asyncio.create_task(use())
    await entered.wait()
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert clients[0].is_closed()


# -- from inside -----------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before_connect", "after_handshake"])
async def test_from_a_hook_of_the_dialler(bind, when) -> None:
    class Closing(EndpointHooks):
        async def before_connect(self, remote, alpn) -> None:
            if when == "before_connect":
                await client.close()

        async def after_handshake(self, conn) -> None:
            await client.close()

    server, client = await bind(protocols={ECHO_ALPN: Echo()}), await bind(hooks=[Closing()])
    try:
        conn = await client.connect(server.addr(), ECHO_ALPN)
    except EndpointClosedError:
        assert when == "before_connect"
    else:
        assert conn.close_reason() == "closed"
    assert client.is_closed()


async def test_from_a_hook_of_the_listener(bind) -> None:
    class Closing(EndpointHooks):
        async def after_handshake(self, conn) -> None:
            await server.close()

    server, client = await bind(protocols={ECHO_ALPN: Echo()}, hooks=[Closing()]), await bind()
    conn = await client.connect(server.addr(), ECHO_ALPN)
    assert await conn.closed() == "closed by peer: 0"
    await server.close()


@pytest.mark.parametrize("how", ["endpoint.close", "router.shutdown"])
async def test_from_a_protocol_handler_among_others(bind, how) -> None:
    """The handler that asks is cancelled like the others, and nobody waits for nobody."""

    async def serve(conn: Connection) -> None:
        serving.append(conn)
        if len(serving) == 3:
            await {"endpoint.close": server.close, "router.shutdown": router.shutdown}[how]()
        await conn.closed()

    serving: list[Connection] = []
    server, client = await bind(), await bind()
    router = server._core.router = Router(server, {ALPN: serve})
    conns = [await client.connect(server.addr(), ALPN) for _ in range(3)]
    for conn in conns:
        assert await conn.closed() == "closed by peer: 0"
    await server.close()


async def test_from_an_incoming_filter(bind) -> None:
    async def filtered(_incoming) -> None:
        await server.close()

    server = await bind(protocols={ECHO_ALPN: Echo()}, incoming_filter=filtered)
    client = await bind()
    with pytest.raises(ConnectError) as caught:
        await client.connect(server.addr(), ECHO_ALPN)
    assert caught.value.code == 2
    await server.close()


@pytest.mark.parametrize("what", ["refuse", "retry", "ignore", "drop"])
async def test_attempts_that_nobody_decided_on_are_refused(bind, what) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    incoming = await server.accept_next()
    await server.close()
    with pytest.raises(ConnectError) as caught:
        await dial
    assert caught.value.code == 2
    if what != "drop":
        await getattr(incoming, what)()  # too late, and harmless


# -- the router's order ----------------------------------------------------------------------------


async def test_the_order_of_a_shutdown(bind) -> None:
    """Upstream's: no new attempts; all handlers' shutdown at once, while connections live and
    handlers run; what still runs is cancelled; the endpoint is closed.
    """

    class Logging(ProtocolHandler):
        def __init__(self, name: str) -> None:
            self.name = name

        async def accept(self, conn) -> None:
            self.conn = conn
            ready.release()
            try:
                await conn.closed()
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                log.append(f"{self.name} cancelled, {conn.close_reason() or 'open'}")
                raise

        async def shutdown(self) -> None:
            log.append(f"{self.name} told")
            told.release()
            await go.wait()
            assert not server.is_closed()
            if self.name == "a":
                self.conn.close(42, b"shutdown")

    log: list[str] = []
    ready, told, go = asyncio.Semaphore(0), asyncio.Semaphore(0), asyncio.Event()
    server, client = await bind(), await bind()
    router = Router(server, {b"a": Logging("a"), b"b": Logging("b")})
    conns = {alpn: await client.connect(server.addr(), alpn) for alpn in (b"a", b"b")}
    for _ in conns:
        await ready.acquire()
    stopping = asyncio.create_task(router.shutdown())
    for _ in conns:
        await told.acquire()
    assert router.is_shutdown()
    assert all(conn.close_reason() is None for conn in conns.values())
    late = asyncio.create_task(client.connect(server.addr(), b"a"))
    await asyncio.sleep(0)
    go.set()
    await stopping
    assert sorted(log[:2]) == ["a told", "b told"]
    assert sorted(log[2:]) == ["a cancelled, closed", "b cancelled, open"]
    assert await conns[b"a"].closed() == "closed by peer: shutdown (code 42)"
    assert await conns[b"b"].closed() == "closed by peer: 0"
    with pytest.raises(ConnectError):
        await late
    assert server.is_closed()


# -- without close ---------------------------------------------------------------------------------


def test_the_warning_names_the_remedy() -> None:
    async def forget() -> None:
        await Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0", alpns=[ALPN])

    asyncio.run(forget())
    with pytest.warns(ResourceWarning, match=r"await endpoint\.close\(\).*async with"):
        gc.collect()


def test_a_program_that_ends_while_it_closes() -> None:
    """asyncio.run cancels what is left, the closing too: it ends all the same, at once."""
    program = """
        import asyncio
        from iroh import Endpoint, presets
        from iroh.protocols import ECHO_ALPN, Echo

        async def main():
            server = await Endpoint.bind(presets.Minimal, protocols={ECHO_ALPN: Echo()})
            client = await Endpoint.bind(presets.Minimal)
            global conn, closing
            conn = await client.connect(server.addr(), ECHO_ALPN)
            closing = [asyncio.create_task(each.close()) for each in (server, client)]
            await asyncio.sleep(0)

        asyncio.run(main())
        print("ended")
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "ended\n"
    assert done.stderr == ""
