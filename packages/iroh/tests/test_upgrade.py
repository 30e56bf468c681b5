"""Real endpoints on loopback: from the relay to a direct path, and back when that dies."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable

import pytest

from iroh import Connection, Endpoint, EndpointAddr, RelayMode
from iroh.quic.datagrams import Datagrams
from iroh_base import SocketAddr
from iroh_relay.server import RelayServer
from iroh_relay.server.config import RelayServerConfig

from .conftest import ALPN

MIB = 1 << 20


@pytest.fixture
async def relay() -> AsyncIterator[RelayServer]:
    async with RelayServer(RelayServerConfig(http_bind_addr=SocketAddr("127.0.0.1", 0))) as server:
        yield server


@pytest.fixture
async def relayed(bind, relay) -> tuple[Endpoint, Endpoint, Connection, Connection]:
    """Two endpoints, and both ends of a connection between them that began over the relay."""
    mode = RelayMode.custom_from_urls([str(relay.http_url)])
    server, client = await bind(relay_mode=mode, alpns=[ALPN]), await bind(relay_mode=mode)
    await asyncio.gather(server.online(), client.online())
    target = EndpointAddr(server.id(), str(relay.http_url))

    async def accept() -> Connection:
        return await (await server.accept_next())

    dialled, accepted = await asyncio.gather(client.connect(target, ALPN), accept())
    assert selected(dialled).is_relay
    return server, client, dialled, accepted


def selected(conn: Connection):
    (path,) = (path for path in conn.paths() if path.is_selected)
    return path


async def until(conn: Connection, holds: Callable[[], bool]) -> None:
    """Wait until a change of the connection's paths makes it true."""
    async for _ in conn.watch_paths():
        if holds():
            return


async def transfer(sender: Connection, receiver: Connection, size: int, at=None) -> None:
    """Move `size` random bytes, compare them, and act when a third of them has arrived."""
    sent, arrived = hashlib.sha256(), hashlib.sha256()

    async def send() -> None:
        stream = await sender.open_uni()
        for _ in range(size >> 16):
            chunk = os.urandom(1 << 16)
            sent.update(chunk)
            await stream.write_all(chunk)
        await stream.finish()

    sending = asyncio.create_task(send())
    stream = await receiver.accept_uni()
    done = 0
    while chunk := await stream.read(1 << 16):
        arrived.update(chunk)
        done += len(chunk)
        if at is not None and done > size / 3:
            at()
            at = None
    await sending
    assert done == size
    assert sent.digest() == arrived.digest()


class Cut:
    """Loses what two endpoints send directly, while it holds."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.holds = False
        self.lost = 0
        for endpoint in endpoints:
            transport = endpoint._sock.ip
            transport.send = self._wrap(transport.send)

    def _wrap(self, send: Callable[[Datagrams], bool]) -> Callable[[Datagrams], bool]:
        def maybe(batch: Datagrams) -> bool:
            if self.holds:
                self.lost += len(batch)
                return True
            return send(batch)

        return maybe

    def cut(self) -> None:
        self.holds = True

    def heal(self) -> None:
        self.holds = False


async def test_a_connection_moves_to_a_direct_path_while_data_flows(relay, relayed) -> None:
    server, client, dialled, accepted = relayed
    assert "still trying" in dialled.why_not_direct()
    await transfer(dialled, accepted, 8 * MIB)
    for conn in (dialled, accepted):
        await until(conn, lambda: selected(conn).is_ip)  # noqa: B023
        assert conn.why_not_direct() is None
        assert {path.is_relay for path in conn.paths()} == {True, False}, "the relay is kept"
    carried = relay.metrics.bytes_recv
    await transfer(accepted, dialled, 2 * MIB)
    assert relay.metrics.bytes_recv - carried < 100_000
    assert client.stats()["socket:holepunch_attempts"].value >= 1
    assert server.stats()["socket:holepunch_attempts"].value == 0
    for endpoint in (client, server):
        stats = endpoint.stats()
        assert stats["socket:num_conns_direct"].value == 1
        assert stats["socket:transport_relay_paths_added"].value == 1
        assert stats["socket:transport_ip_paths_added"].value >= 1


@pytest.mark.parametrize("downwards", [True, False])
async def test_the_relay_takes_over_and_gives_back(relay, relayed, downwards) -> None:
    """The direct path is cut while data flows: no byte is lost, and none is wrong."""
    server, client, dialled, accepted = relayed
    for conn in (dialled, accepted):
        await until(conn, lambda: selected(conn).is_ip)  # noqa: B023
    cut = Cut(server, client)
    sender, receiver = (accepted, dialled) if downwards else (dialled, accepted)
    await transfer(sender, receiver, 4 * MIB, at=cut.cut)
    assert cut.lost
    assert selected(sender).is_relay
    # A direct path that does not answer is one until it is given up, after 2 s.
    is_left = any(path.is_ip for path in sender.paths())
    assert (sender.why_not_direct() is None) == is_left
    cut.heal()
    for conn in (dialled, accepted):
        await until(conn, lambda: selected(conn).is_ip)  # noqa: B023
    await transfer(sender, receiver, MIB)


async def test_a_cut_without_a_relay_is_survived(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()

    async def accept() -> Connection:
        return await (await server.accept_next())

    dialled, accepted = await asyncio.gather(client.connect(server.addr(), ALPN), accept())
    cut = Cut(server, client)
    asyncio.get_running_loop().call_later(0.5, cut.heal)
    await transfer(dialled, accepted, 2 * MIB, at=cut.cut)
    assert cut.lost
