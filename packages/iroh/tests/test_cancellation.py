"""Every public await, cancelled after 0, 1, 2, ... turns of the loop.

Whatever the moment: nothing leaks (conftest.py looks at tasks and sockets), nothing hangs, and what
the docstring says is not lost is not lost.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from iroh import (
    ConnectError,
    Endpoint,
    EndpointAddr,
    Incoming,
    ProtocolHandler,
    Router,
    SecretKey,
    TransportConfig,
    presets,
)
from iroh.protocols import ECHO_ALPN, Echo

from .conftest import ALPN, meet

TURNS = range(12)
HANDSHAKE_TURNS = range(0, 40, 2)


async def cancel_after(turns: int, call: Callable[..., Awaitable], *args) -> asyncio.Task:
    """Give a call some turns of the loop, cancel it, and wait for its end."""

    async def run() -> object:
        return await call(*args)

    task = asyncio.create_task(run())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    return task


def result(task: asyncio.Task):
    """What it gave if it was faster than its end, else None."""
    return None if task.cancelled() else task.result()


async def echo(client: Endpoint, server: Endpoint) -> None:
    async with await client.connect(server.addr(), ECHO_ALPN) as conn:
        send, recv = await conn.open_bi()
        await send.write_all(b"still fine")
        await send.finish()
        assert await recv.read_to_end(100) == b"still fine"


async def complete(attempt: Incoming):
    return await attempt


async def ended(dial: asyncio.Task) -> None:
    """The dial failed, or its connection was closed by the peer: it does not hang."""
    try:
        conn = await dial
    except ConnectError:
        return
    assert (await conn.closed()).kind in ("ApplicationClosed", "ConnectionClosed")


def open_connections(endpoint: Endpoint) -> int:
    return sum(driver.inbox.close_reason is None for driver in endpoint._engine.drivers())


# -- endpoints ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocols", [None, {ECHO_ALPN: Echo()}])
async def test_bind(protocols) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        addr = f"127.0.0.1:{probe.getsockname()[1]}"

    async def bind() -> Endpoint:
        return await Endpoint.bind(presets.Minimal, bind_addr=addr, protocols=protocols)

    for turns in TURNS:
        endpoint = result(await cancel_after(turns, bind))
        if endpoint is not None:
            await endpoint.close()


async def test_connect(bind) -> None:
    server, client = await bind(protocols={ECHO_ALPN: Echo()}), await bind()
    for turns in HANDSHAKE_TURNS:
        conn = result(await cancel_after(turns, client.connect, server.addr(), ECHO_ALPN))
        if conn is not None:
            conn.close()
        assert open_connections(client) == 0
        remote = client._sock.remotes.find(server.id())
        assert remote is None or not remote.users
    await echo(client, server)


async def test_connect_pending_that_waits_for_a_lookup(bind) -> None:
    class Silent:
        def publish(self, _data) -> None: ...

        async def resolve(self, _id):
            await asyncio.get_running_loop().create_future()
            yield

    client = await bind(address_lookup=[Silent()])
    peer = SecretKey.generate().public()
    for turns in TURNS:
        assert (await cancel_after(turns, client.connect_pending, peer, ALPN)).cancelled()
    assert client._sock.remotes.find(peer).users == 0


async def test_a_pending_dial_that_nobody_completes_is_closed(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    for turns in TURNS:
        connecting = await client.connect_pending(server.addr(), ALPN)
        assert (await cancel_after(turns, connecting.connect)).cancelled() or not turns
        del connecting
        await asyncio.sleep(0)
        assert open_connections(client) == 0


async def test_accept_next_loses_no_attempt(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    for turns in TURNS:
        dial = asyncio.create_task(client.connect(server.addr(), ALPN))
        incoming = result(await cancel_after(turns, server.accept_next))
        incoming = incoming or await server.accept_next()
        accepted, dialled = await incoming, await dial
        dialled.close()
        await accepted.closed()


async def test_completing_an_incoming(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    for turns in HANDSHAKE_TURNS:
        dial = asyncio.create_task(client.connect(server.addr(), ALPN))
        incoming = await server.accept_next()
        conn = result(await cancel_after(turns, complete, incoming))
        del incoming
        if conn is not None:
            conn.close()
        await ended(dial)
        assert open_connections(server) == 0


async def test_accepting(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    for turns in HANDSHAKE_TURNS:
        dial = asyncio.create_task(client.connect(server.addr(), ALPN))
        accepting = await (await server.accept_next()).accept()
        await cancel_after(turns, accepting.alpn)
        conn = result(await cancel_after(turns, accepting.connect))
        del accepting
        if conn is not None:
            conn.close()
        await ended(dial)
        assert open_connections(server) == 0


async def test_online(bind) -> None:
    endpoint = await bind()
    for turns in TURNS:
        assert (await cancel_after(turns, endpoint.online)).cancelled()
    assert not endpoint._core.home_status._waiters


async def test_close_goes_on(bind) -> None:
    server = await bind(protocols={ECHO_ALPN: Echo()})
    for turns in TURNS:
        client = await bind()
        conn = await client.connect(server.addr(), ECHO_ALPN)
        await cancel_after(turns, client.close)
        await asyncio.gather(client.close(), client.close())
        assert client.is_closed()
        assert conn.close_reason() == "closed"


# -- the router -----------------------------------------------------------------------------------


class Told(ProtocolHandler):
    def __init__(self) -> None:
        self.told = 0
        self.cancelled = 0

    async def accept(self, conn) -> None:
        try:
            await conn.closed()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def shutdown(self) -> None:
        await asyncio.sleep(0)
        self.told += 1


async def test_router_shutdown_goes_on(bind) -> None:
    client = await bind()
    for turns in TURNS:
        handler, server = Told(), await bind()
        router = Router(server, {ALPN: handler})
        conn = await client.connect(server.addr(), ALPN)
        await cancel_after(turns, router.shutdown)
        assert not turns or conn.alpn()
        await asyncio.gather(router.shutdown(), router.shutdown())
        assert server.is_closed()
        assert handler.told == 1
        assert not router._tasks


# -- streams and datagrams ------------------------------------------------------------------------


async def test_opening_streams_beyond_the_limit(connect) -> None:
    config = TransportConfig(max_concurrent_bidi_streams=1, max_concurrent_uni_streams=1)
    client, server = await connect(transport_config=config)
    first_bi, first_uni = await client.open_bi(), await client.open_uni()
    await first_bi.send().write_all(b"x")
    await first_uni.write_all(b"x")
    for turns in TURNS:
        assert (await cancel_after(turns, client.open_bi)).cancelled()
        assert (await cancel_after(turns, client.open_uni)).cancelled()
    used = await server.accept_uni(), await server.accept_bi()
    assert len(used) == 2
    server.set_max_concurrent_bi_streams(2)
    server.set_max_concurrent_uni_streams(2)
    second_bi, second_uni = await asyncio.gather(client.open_bi(), client.open_uni())
    assert second_bi.send().stream_id == first_bi.send().stream_id + 4  # none was used up
    assert second_uni.stream_id == first_uni.stream_id + 4


async def test_accepting_streams_loses_none(connect) -> None:
    client, server = await connect()
    for turns in TURNS:
        send = await client.open_uni()
        await send.write_all(bytes([turns]))
        recv = result(await cancel_after(turns, server.accept_uni)) or await server.accept_uni()
        assert await recv.read() == bytes([turns])
        bi = await client.open_bi()
        await bi.send().write_all(bytes([turns]))
        bi = result(await cancel_after(turns, server.accept_bi)) or await server.accept_bi()
        assert await bi.recv().read() == bytes([turns])


async def test_reading_loses_nothing(connect) -> None:
    client, server = await connect()
    send = await client.open_uni()
    await send.write_all(b"-")
    recv = await server.accept_uni()
    received = await recv.read()
    for turns in TURNS:
        await send.write_all(bytes([turns]) * 3)
        received += result(await cancel_after(turns, recv.read, 2)) or b""
    await send.finish()
    assert received + await recv.read_to_end(100) == b"-" + b"".join(
        bytes([turns]) * 3 for turns in TURNS
    )


async def test_a_blocked_write_that_is_cancelled_writes_nothing(connect) -> None:
    client, server = await connect()
    send = await client.open_uni()
    written = 0

    async def write() -> None:
        nonlocal written
        written += await send.write(b"w" * 65_536)

    while not (await cancel_after(3, write)).cancelled():
        pass
    for turns in TURNS:
        await cancel_after(turns, write)
    await send.finish()
    assert len(await (await server.accept_uni()).read_to_end(2 * written)) == written


async def test_waiting_for_the_ends_of_streams(connect) -> None:
    client, server = await connect()
    send = await client.open_uni()
    await send.write_all(b"data")
    recv = await server.accept_uni()
    for turns in TURNS:
        assert (await cancel_after(turns, send.stopped)).cancelled()
        assert (await cancel_after(turns, recv.received_reset)).cancelled()
    assert await recv.read() == b"data"
    await send.reset(5)
    assert await recv.received_reset() == 5
    assert await send.stopped() is None


async def test_reading_datagrams_loses_none(connect) -> None:
    client, server = await connect()
    received = []
    for turns in TURNS:
        client.send_datagram(bytes([turns]))
        received.append(result(await cancel_after(turns, server.read_datagram)))
    while None in received:
        received[received.index(None)] = await server.read_datagram()
    assert sorted(received) == [bytes([turns]) for turns in TURNS]


async def test_a_datagram_whose_sending_is_cancelled_is_not_sent(connect) -> None:
    config = TransportConfig(datagram_send_buffer_size=1000)
    client, server = await connect(transport_config=config)
    client.send_datagram(b"x" * 900)
    for _ in TURNS:
        assert (await cancel_after(0, client.send_datagram_wait, b"never")).cancelled()
    task = asyncio.create_task(client.send_datagram_wait(b"y" * 900))
    assert [len(await server.read_datagram()) for _ in range(2)] == [900, 900]
    await task


async def test_waiting_for_the_end_of_a_connection(connect) -> None:
    client, server = await connect()
    for turns in TURNS:
        assert (await cancel_after(turns, server.closed)).cancelled()
        assert (await cancel_after(turns, anext, server.watch_path_events())).cancelled()
    assert len(server._driver.inbox.waiters) == 0
    client.close(3)
    assert (await server.closed()).code == 3


async def test_a_router_survives_dials_that_are_cancelled(bind) -> None:
    server = await bind(protocols={ECHO_ALPN: Echo()})
    client = await bind()
    await asyncio.gather(
        *(cancel_after(n, client.connect, server.addr(), ECHO_ALPN) for n in range(0, 100, 2))
    )
    await echo(client, server)


async def test_an_incoming_that_is_dropped_at_any_moment(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    for turns in TURNS:
        dial = asyncio.create_task(client.connect(server.addr(), ALPN))
        incoming: Incoming | None = await server.accept_next()
        assert incoming is not None
        await cancel_after(turns, incoming.remote_addr)
        incoming = None
        with pytest.raises(ConnectError):
            await dial
    await meet(client, server)


async def test_dialling_a_silent_address(bind) -> None:
    client = await bind()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        addr = EndpointAddr(SecretKey.generate().public(), None, [target])
        for turns in TURNS:
            assert (await cancel_after(turns, client.connect, addr, ALPN)).cancelled()
    assert open_connections(client) == 0
