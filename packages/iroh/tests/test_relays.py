"""Endpoints and relays: choosing a home, losing one, and leaving while one is stuck."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from iroh import (
    ConnectError,
    Endpoint,
    EndpointAddr,
    RelayConfig,
    RelayMap,
    RelayMode,
    StreamError,
    TransportConfig,
)
from iroh.protocols import ECHO_ALPN, Echo
from iroh_base import SocketAddr
from iroh_relay.server import RelayServer

from .conftest import ALPN
from .relay_kit import LOCAL, RelayedOnly, home_becomes, urls


@pytest.fixture
async def relays() -> AsyncIterator[list[RelayServer]]:
    async with RelayServer(LOCAL) as first, RelayServer(LOCAL) as second:
        yield [first, second]


async def echo(client: Endpoint, target: EndpointAddr, size: int = 1000) -> None:
    async with await client.connect(target, ECHO_ALPN) as conn:
        send, recv = await conn.open_bi()
        await send.write_all(b"e" * size)
        await send.finish()
        assert len(await recv.read_to_end(size)) == size


async def test_endpoints_without_a_udp_socket(bind, relays) -> None:
    mode = RelayMode.custom_from_urls(urls(relays)[:1])
    server = await bind(preset=RelayedOnly(), bind_addr=None, relay_mode=mode, alpns=[])
    assert server.bound_sockets() == []
    await server.close()
    server = await bind(
        preset=RelayedOnly(), bind_addr=None, relay_mode=mode, protocols={ECHO_ALPN: Echo()}
    )
    client = await bind(preset=RelayedOnly(), bind_addr=None, relay_mode=mode)
    await server.online()
    assert server.addr().direct_addresses() == []
    await echo(client, server.addr(), 100_000)
    stats = client.stats()
    assert stats["socket:send_relay"].value > 100_000
    assert stats["socket:recv_data_relay"].value > 100_000
    assert stats["socket:paths_relay"].value >= 1
    assert stats["socket:num_conns_direct"].value == 0
    assert stats["socket:relay_conns_success"].value == 1
    assert stats["socket:relay_home_change"].value == 1


async def test_a_home_relay_among_several(bind, relays) -> None:
    mode = RelayMode.custom_from_urls(urls(relays))
    endpoint = await bind(relay_mode=mode)
    await endpoint.online()
    assert endpoint.addr().relay_url() in urls(relays)


async def test_home_moves_when_its_relay_is_taken_out(bind, relays) -> None:
    first, second = urls(relays)
    relay_map = RelayMap.from_urls([first])
    endpoint = await bind(relay_mode=RelayMode.custom(relay_map), protocols={ECHO_ALPN: Echo()})
    client = await bind(relay_mode=RelayMode.custom_from_urls([]))
    await home_becomes(endpoint, first)
    addresses = endpoint.watch_addr()
    await endpoint.insert_relay(RelayConfig(url=second))
    assert await endpoint.remove_relay(first)
    await home_becomes(endpoint, second)
    assert (await addresses.updated()).relay_url() == second
    await echo(client, EndpointAddr(endpoint.id(), second))
    await endpoint.remove_relay(second)
    await home_becomes(endpoint, None)
    relay_map.insert(RelayConfig(url=first))  # the map itself may be changed, too
    await home_becomes(endpoint, first)


async def test_a_peer_at_home_elsewhere(bind, relays) -> None:
    first, second = urls(relays)
    server = await bind(
        relay_mode=RelayMode.custom_from_urls([first]), protocols={ECHO_ALPN: Echo()}
    )
    client = await bind(relay_mode=RelayMode.custom_from_urls([second]))
    await asyncio.gather(server.online(), client.online())
    await echo(client, EndpointAddr(server.id(), first))


async def test_closing_tells_peers_over_the_relay(bind, relays) -> None:
    mode = RelayMode.custom_from_urls(urls(relays)[:1])
    server = await bind(preset=RelayedOnly(), bind_addr=None, relay_mode=mode, alpns=[ALPN])
    await server.online()
    ends = []
    for _ in range(3):
        client = await bind(preset=RelayedOnly(), bind_addr=None, relay_mode=mode)
        dial = asyncio.create_task(client.connect(server.addr(), ALPN))
        ends.append((await (await server.accept_next()), await dial))
    await server.close()
    for accepted, dialled in ends:
        assert await dialled.closed() == "closed by peer: 0"
        assert await accepted.closed() == "closed"


class Tap:
    """A TCP proxy before a relay that can stop taking what endpoints send."""

    def __init__(self, target: SocketAddr) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> "Tap":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=4096)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def shut(self) -> None:
        self._open.clear()

    async def _serve(self, reader, writer) -> None:
        self._tasks.add(asyncio.current_task())
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pipe(reader, up_writer))
                tasks.create_task(self._pipe(up_reader, writer))
        except asyncio.CancelledError:
            pass  # __aexit__; asyncio's stream server logs it otherwise
        finally:
            for end in (writer, up_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _pipe(self, reader, writer) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_a_stuck_relay_does_not_hold_up_close(bind, relays, monkeypatch) -> None:
    monkeypatch.setattr("iroh_relay.client.connection.CLOSE_TIMEOUT", 0.1)  # else 3 s
    async with Tap(relays[0].http_addr) as tap:
        mode = RelayMode.custom_from_urls([tap.url])
        server = await bind(
            preset=RelayedOnly(), bind_addr=None, relay_mode=mode, protocols={ECHO_ALPN: Echo()}
        )
        client = await bind(preset=RelayedOnly(), bind_addr=None, relay_mode=mode)
        await server.online()
        conn = await client.connect(server.addr(), ECHO_ALPN)
        tap.shut()
        send, _ = await conn.open_bi()
        flood = asyncio.create_task(send.write_all(bytes(50_000_000)))
        await asyncio.wait((flood,), timeout=0.3)
        assert not flood.done()
        async with asyncio.timeout(3):
            await asyncio.gather(client.close(), client.close())
        assert client.is_closed()
        assert conn.close_reason() == "closed"
        with pytest.raises(StreamError):
            await flood
        async with asyncio.timeout(3):
            await server.close()


async def test_closing_while_the_relay_is_being_dialled(bind) -> None:
    async def never(_reader, writer) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(never, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        for relays in ([url], [url, f"{url}second"]):  # several are probed, too
            endpoint = await bind(relay_mode=RelayMode.custom_from_urls(relays))
            online = asyncio.create_task(endpoint.online())
            await asyncio.wait((online,), timeout=0.05)
            async with asyncio.timeout(2):
                await endpoint.close()
            with pytest.raises(ConnectError):
                await online
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def test_a_relay_that_dies_mid_transfer_ends_the_connection_by_its_timeout(bind) -> None:
    config = TransportConfig(max_idle_timeout=0.5)
    async with RelayServer(LOCAL) as relay:
        mode = RelayMode.custom_from_urls([str(relay.http_url)])
        settings = {"bind_addr": None, "relay_mode": mode, "transport_config": config}
        server = await bind(preset=RelayedOnly(), protocols={ECHO_ALPN: Echo()}, **settings)
        client = await bind(preset=RelayedOnly(), **settings)
        await server.online()
        conn = await client.connect(server.addr(), ECHO_ALPN)
    assert (await conn.closed()).kind == "TimedOut"
