"""`iroh.testing`'s simulated network: what a program sees that uses public endpoints on it."""

import asyncio
import hashlib
import os
import socket
import subprocess
import sys

import pytest

from iroh import BindError, ConnectTimeoutError, Endpoint, EndpointHooks, LookupFailedError
from iroh.protocols import ECHO_ALPN, Echo
from iroh.protocols.files import FILES_ALPN, Download, FileShare, collect
from iroh.testing import (
    SimulatedNetwork,
    VirtualTimeError,
    becomes_direct,
    becomes_relayed,
    describe_paths,
    in_virtual_time,
    is_direct,
    run_in_virtual_time,
    stays_relayed,
)
from iroh_base import InvalidInputError, SecretKey
from iroh_relay.server import Access


async def echo(conn, data: bytes = b"hello") -> None:
    send, recv = await conn.open_bi()
    await send.write_all(data)
    await send.finish()
    assert await recv.read_to_end(len(data)) == data


async def pair(net, server="port-restricted", client="port-restricted"):
    """Bind both, connect by id; gives the endpoints and the dialled connection."""
    serving = await net.endpoint(server, protocols={ECHO_ALPN: Echo()})
    dialling = await net.endpoint(client)
    await asyncio.gather(serving.online(), dialling.online())
    return serving, dialling, await dialling.connect(serving.id(), ECHO_ALPN)


@in_virtual_time
async def test_a_program_behind_nats() -> None:
    async with SimulatedNetwork() as net:
        _server, client, conn = await pair(net)
        assert not is_direct(conn), "it begins at the relay"
        assert len(net.relay.service.clients) == 2
        await becomes_direct(conn)
        await echo(conn, bytes(1_000_000))
        assert client.stats()["socket:recv_data_ipv4"].value > 1_000_000
        assert str(net.relay.url) == client.addr().relay_url()
        assert net.fates["arrived"] > 700


@in_virtual_time
async def test_outages_and_restarts() -> None:
    async with SimulatedNetwork() as net:
        _server, client, conn = await pair(net)
        await becomes_direct(conn)
        line = net.host_of(client).line
        line.passes_udp = False
        await becomes_relayed(conn)
        await echo(conn)
        line.passes_udp = True
        await becomes_direct(conn, within=120)
        net.relay.stop()
        await asyncio.sleep(300)
        assert is_direct(conn)
        assert not client.watch_home_relay().get().is_connected
        net.relay.start()
        await asyncio.sleep(20)
        assert client.watch_home_relay().get().is_connected
        line.is_up = False
        await asyncio.sleep(40)
        assert conn.close_reason() == "timed out"


@in_virtual_time
async def test_a_host_that_moves_and_a_nat_that_forgets() -> None:
    async with SimulatedNetwork() as net:
        _server, client, conn = await pair(net)
        await becomes_direct(conn)
        before = client.addr().direct_addresses()
        net.host_of(client).move("full-cone")
        await asyncio.sleep(5)
        assert not set(before) & set(client.addr().direct_addresses())
        await becomes_direct(conn)
        await echo(conn)
        net.host_of(client).nat.forget()
        await asyncio.sleep(60)
        assert is_direct(conn)
        assert net.host_of(client).seen_by(net.relay) in client.addr().ip_addrs


@in_virtual_time
async def test_one_house() -> None:
    """Two behind the same NAT meet by their own addresses, and not over the router's outside."""
    async with SimulatedNetwork() as net:
        house = net.nat("symmetric")
        _server, _client, conn = await pair(net, house, house)
        await becomes_direct(conn)
        assert any(path.remote_addr == "10.0.1.2:4000" for path in conn.paths())
        assert conn.rtt() < 10


@in_virtual_time
async def test_bad_lines() -> None:
    """Loss costs datagrams on the direct path and time on the relay's, and nobody any data."""
    async with SimulatedNetwork(relays=2) as net:
        _server, client, conn = await pair(net, "port-restricted", "symmetric")
        line = net.host_of(client).line
        line.loss, line.delay = 0.05, 0.04
        await stays_relayed(conn, during=20)
        assert "our NAT is symmetric" in conn.why_not_direct()
        await echo(conn, bytes(300_000))
        assert conn.rtt() >= 110
        net.host_of(client).move("full-cone")
        net.host_of(client).line.loss = 0.1
        await becomes_direct(conn, within=60)
        await echo(conn, bytes(300_000))
        assert net.fates["lost"] > 10


@in_virtual_time
async def test_what_fails_says_why() -> None:
    async with SimulatedNetwork(relays=2) as net:
        _server, _client, conn = await pair(net, "symmetric", "symmetric")
        with pytest.raises(AssertionError, match=r"not direct within 10 s:\n  \* https://relay-"):
            await becomes_direct(conn)
        assert "our NAT is symmetric" in describe_paths(conn)
        _, _, other = await pair(net, "none", "none")
        await becomes_direct(other)
        with pytest.raises(AssertionError, match="not relayed within 1 s"):
            await becomes_relayed(other, within=1)
        with pytest.raises(ExceptionGroup) as caught:
            await stays_relayed(other)
        assert "it became direct" in str(caught.value.exceptions[0])
        other.close()
        assert "has ended" in describe_paths(other)
        with pytest.raises(AssertionError, match="has ended"):
            await becomes_direct(other)


@in_virtual_time
async def test_a_relay_says_no() -> None:
    """The relay is the real one, its access control too; and the directory may be down."""

    class Nobody:
        async def on_connect(self, request) -> Access:
            return Access(request.auth_token == "sesame", "not you")

        def on_disconnect(self, endpoint_id, connection_id) -> None: ...

    async with SimulatedNetwork(relays=0) as net:
        net.add_relay("https://picky.example/", access=Nobody())
        endpoint = await net.endpoint()
        await asyncio.sleep(1)
        status = endpoint.watch_home_relay().get()
        assert not status.is_connected
        assert "not you" in status.last_error
        other = await net.endpoint()
        with pytest.raises(ConnectTimeoutError, match=r"tried https://picky\.example/"):
            await other.connect(endpoint.id(), ECHO_ALPN)
        with pytest.raises(LookupFailedError):
            await other.connect(SecretKey.generate().public(), ECHO_ALPN)
        net.directory.is_up = False
        with pytest.raises(LookupFailedError, match="is down"):
            await endpoint.connect(other.id(), ECHO_ALPN)


@in_virtual_time
async def test_a_preset_for_programs_that_bind_themselves() -> None:
    class Hooks(EndpointHooks):
        async def after_handshake(self, connection):
            seen.append(connection.alpn())
            return await super().after_handshake(connection)

    seen: list[bytes] = []
    async with SimulatedNetwork() as net:
        host = net.host("full-cone")
        async with Endpoint.bind(host, protocols={ECHO_ALPN: Echo()}, hooks=[Hooks()]) as server:
            assert server.bound_sockets() == ["0.0.0.0:4000"]
            with pytest.raises(BindError, match="already"):
                await Endpoint.bind(host)
            await server.online()
            client = await net.endpoint(bind_addr="0.0.0.0:999")
            assert str(net.host_of(client).addr) == "10.0.2.2:999"
            await echo(await client.connect(server.id(), ECHO_ALPN))
        async with Endpoint.bind(host) as again:
            assert again.id() != server.id()
        with pytest.raises(InvalidInputError):
            net.host_of(server)
    assert seen == [ECHO_ALPN]


@in_virtual_time
async def test_files_on_the_move(tmp_path) -> None:
    """A whole protocol, with its threads and its disk: the receiver changes its network then."""
    (tmp_path / "file").write_bytes(bytes(3_000_000))
    collection = collect([tmp_path / "file"])
    async with SimulatedNetwork() as net:
        server = await net.endpoint(protocols={FILES_ALPN: FileShare(collection)})
        client = await net.endpoint("full-cone")
        await server.online()
        conn = await client.connect(server.id(), FILES_ALPN)
        await becomes_direct(conn)
        net.host_of(client).line.delay = 0.1
        with Download(collection.hash, tmp_path / "there") as download:
            await download.prepare(conn)
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(download.run(conn))
                await asyncio.sleep(0.5)
                assert not running.done()
                net.host_of(client).move("full-cone")
            assert download.finish()
    assert (tmp_path / "there" / "file").stat().st_size == 3_000_000


@in_virtual_time
async def test_there_is_no_socket(monkeypatch) -> None:
    monkeypatch.setattr(socket.socket, "__init__", None)
    async with SimulatedNetwork() as net:
        _, _, conn = await pair(net)
        await becomes_direct(conn)
        await asyncio.sleep(30)


def test_exceptions_say_how_the_network_was() -> None:
    @in_virtual_time(max_seconds=60)
    async def story() -> None:
        async with SimulatedNetwork(seed=5) as net:
            _, client, conn = await pair(net, "symmetric")
            net.host_of(client).line.loss = 0.5
            await conn.accept_uni()

    with pytest.raises(VirtualTimeError, match="more than 60 s of virtual time") as caught:
        story()
    (note,) = caught.value.__notes__
    assert note.startswith("the simulated network of seed 5, after 60.")
    assert "10.0.1.2, symmetric NAT 203.0.113.1, Line(delay=0.005, loss=0.0" in note
    assert "<SimulatedRelay https://relay-1.example/: up, 2 clients>" in note
    assert "filtered" in note


def test_no_such_nat() -> None:
    async def story() -> None:
        async with SimulatedNetwork() as net:
            await net.endpoint("moat")

    with pytest.raises(InvalidInputError, match="'moat' is no kind of NAT: none, full-cone"):
        run_in_virtual_time(story())


async def test_without_virtual_time(recwarn) -> None:
    """It runs on any loop; it takes the time that it takes."""
    async with SimulatedNetwork() as net:
        _, _, conn = await pair(net, "none", "none")
        await becomes_direct(conn)


async def whole_story() -> str:
    """Much of what there is; gives a digest of all datagrams: when, whose, whither, how large."""
    seen = hashlib.sha256()
    loop = asyncio.get_running_loop()
    async with SimulatedNetwork(seed=7, relays=2) as net:
        send = net.send

        def tapped(host, port, batch) -> None:
            what = loop.time(), host.ip, port, str(batch.remote), len(batch.data)
            seen.update(repr(what).encode())
            send(host, port, batch)

        net.send = tapped
        _, client, conn = await pair(net, "port-restricted", "address-restricted")
        await becomes_direct(conn)
        net.host_of(client).line.loss = 0.1
        await echo(conn, bytes(200_000))
        net.host_of(client).move("full-cone")
        await becomes_direct(conn)
        net.relays[0].stop()
        await asyncio.sleep(60)
    return seen.hexdigest()


def test_the_same_seed_is_the_same_run() -> None:
    """Also in another process, where sets have another order."""
    program = "import test_simulated as t; print(t.run_in_virtual_time(t.whole_story()))"
    other = subprocess.check_output(
        [sys.executable, "-c", program],
        cwd=os.path.dirname(__file__),
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        text=True,
    )
    assert run_in_virtual_time(whole_story()) == other.strip()
