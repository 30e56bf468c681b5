"""The client over real sockets, against a relay on loopback."""

import asyncio
import time

import pytest
from aiohttp import web

from iroh_relay.client import DialRequest, RelayClient, RelayState, StreamClosedError
from iroh_relay.client.ws import dial
from iroh_relay.protos import MAX_FRAME_SIZE, ClientToRelayDatagrams

from .fake_relay import Session, fake_relay
from .fakes import KEY, PEER, datagram, settle
from .loopback import Inbox, client_of, until

PEER_ID = PEER.to_bytes()


async def test_exchange() -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            assert session.endpoint_id == KEY.public().to_bytes()
            for size, segment_size in ((5, 0), (14520, 1452), (65502, 0), (65500, 131)):
                data = bytes(range(256)) * 256
                assert client.send(PEER_ID, data[:size], segment_size, 2)
                got = ClientToRelayDatagrams.decode(await session.frames.get())
                assert (got.dst, got.datagrams.contents) == (PEER, data[:size])
                assert (got.datagrams.ecn, got.datagrams.segment_size or 0) == (2, segment_size)
                await session.send(datagram(data[:size], segment_size or None, 1))
                assert await inbox.queue.get() == (PEER_ID, data[:size], segment_size, 1)
        await session.over.wait()
        assert client.status.get().state is RelayState.DISCONNECTED


async def test_server_restart() -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            await relay.clients.get()
            await client.connected()
            await relay.stop()
            await until(client, lambda status: not status.is_connected)
            client.send(PEER_ID, b"meanwhile")
            await relay.start()
            session = await relay.clients.get()
            await client.connected()
            assert ClientToRelayDatagrams.decode(await session.frames.get()).dst == PEER
            await session.send(datagram(b"again"))
            assert (await inbox.queue.get())[1] == b"again"
            assert client.stats.conns_success == 2


@pytest.mark.parametrize("message", [b"\x0e", b"\x06" + bytes(3), b"", bytes(MAX_FRAME_SIZE + 1)])
async def test_garbage_ends_the_connection_and_a_new_one_is_made(message: bytes) -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await session.send(datagram(b"ok"))
            await inbox.queue.get()
            await session.send(message)
            await session.over.wait()
            await relay.clients.get()
            await client.connected()


async def test_text_and_websocket_pings_are_no_frames() -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await session.ws.send_str("hello")
            await session.ws.ping(b"ws")
            await session.send(datagram(b"ok"))
            assert (await inbox.queue.get())[1] == b"ok"
            assert client.is_connected


async def test_close_frame_of_the_relay() -> None:
    async with fake_relay() as relay:
        client, _ = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            closing = asyncio.create_task(session.ws.close(code=1001))
            status = await until(client, lambda status: not status.is_connected)
            assert status.last_error == "closed by the relay (code 1001)"
            await relay.clients.get()
            await closing


async def test_version_1() -> None:
    async with fake_relay() as relay:
        relay.echo = "iroh-relay-v1"
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await session.send(b"\x0bsome problem")
            await session.send(datagram(b"ok"))
            await inbox.queue.get()
            assert client.is_connected
            await session.send(b"\x0d\x00")
            await session.over.wait()


async def test_slow_server_bounds_what_waits_and_loses_nothing_that_was_accepted() -> None:
    async with fake_relay() as relay:
        client, _ = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            relay.reading.clear()
            accepted = await _fill(client)
            assert client.stats.frames_dropped == 1
            relay.reading.set()
            for number in range(accepted):
                frame = await session.frames.get()
                assert frame[34:38] == number.to_bytes(4), number
            assert client.send(PEER_ID, b"at once again")
            assert (await session.frames.get())[34:] == b"at once again"
            assert client.is_connected


async def _fill(client: RelayClient) -> int:
    """Send large frames until one is refused; how many were accepted."""
    for number in range(2000):
        if not client.send(PEER_ID, number.to_bytes(4) + bytes(65000)):
            return number
        await asyncio.sleep(0)
    raise AssertionError("nothing bounds what waits")


async def test_a_write_that_fills_the_transport_lets_others_wait_for_it() -> None:
    over = asyncio.Event()
    # aiohttp waits for the transport only after each 256 KiB; so each of these may wait.
    large = bytes(300_000)

    async def never_read(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=("iroh-relay-v2",))
        await ws.prepare(request)
        await over.wait()
        return ws

    async with fake_relay() as relay:
        relay.instead = never_read
        stream = await dial(DialRequest(relay.url))
        while not stream.writing_paused:  # until the server's buffers are full too
            while not stream.writing_paused:
                stream.write(large)
            await settle()
        waiting = [asyncio.create_task(stream.drain(large)) for _ in range(2)]
        await settle()
        assert not any(task.done() for task in waiting)
        stream.abort()
        with pytest.raises(StreamClosedError):
            await stream.receive()
        await asyncio.wait(waiting)
        assert all(isinstance(task.exception(), StreamClosedError | None) for task in waiting)
        await stream.close(0.0)
        over.set()


async def test_slow_server_and_close() -> None:
    async with fake_relay() as relay:
        client, _ = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            relay.reading.clear()
            await _fill(client)
            # Or the goodbye would wait for 3 s, as it should.
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0)
            session.drop()
            await closing


async def test_pong_that_arrives_while_the_loop_is_blocked() -> None:
    def block() -> None:
        if blocking:
            # What user code may do to us: the pong lies in our socket, and its deadline passes.
            time.sleep(0.6)
            blocked.set()

    blocking, blocked = False, asyncio.Event()
    async with fake_relay() as relay:
        relay.after_pong = block
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await _first_pong(client, session, inbox)
            blocking = True
            client.check_connection()
            await blocked.wait()
            await settle()
            assert client.stats.pongs_received == 2
            assert client.stats.conns_closed == 0
            await session.send(datagram(b"still here"))
            assert (await inbox.queue.get())[1] == b"still here"


async def _first_pong(client: RelayClient, session: Session, inbox: Inbox) -> None:
    """Wait until a round-trip time is known: what is sent after a pong arrives after it."""
    while client.stats.rtt is None:
        await session.send(datagram(b"?"))
        await inbox.queue.get()


async def test_pong_that_is_really_late() -> None:
    async with fake_relay() as relay:
        client, inbox = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await _first_pong(client, session, inbox)
            relay.answering.clear()
            start = time.monotonic()
            client.check_connection()
            status = await until(client, lambda status: not status.is_connected)
            assert status.last_error == "ping timeout"
            assert 0.45 < time.monotonic() - start < 5
            relay.answering.set()
            await relay.clients.get()


async def test_local_address_gone() -> None:
    async with fake_relay() as relay:
        client, _ = client_of(relay.url)
        async with client:
            session = await relay.clients.get()
            await client.connected()
            client.check_connection({"127.0.0.1"})
            assert client.is_connected
            client.check_connection({"192.0.2.1"})
            await session.over.wait()
            await relay.clients.get()
            await client.connected()


async def test_two_clients_with_one_default_clock_leave_nothing() -> None:
    async with fake_relay() as relay:
        for _ in range(3):
            client, _ = client_of(relay.url)
            client.start()
            await client.connected()
            await client.close()
            assert client.stats.conns_closed == 1
