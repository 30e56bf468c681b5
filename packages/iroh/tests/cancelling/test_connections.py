"""Connections: streams and datagrams that come are not lost, those to be opened are not used up."""

import asyncio
import contextlib

import pytest

from cancelling import at_step, cancels
from iroh import Accepting, ConnectError, Connection, EndpointAddr, ProtocolHandler, TransportConfig
from iroh.errors import ConsumedError
from iroh_base import SocketAddr

from ..conftest import ALPN, meet


async def works(client: Connection, server: Connection) -> None:
    """Talk over the connection, by the next stream."""
    send = await client.open_uni()
    await send.write_all(b"still fine")
    await send.finish()
    assert await (await server.accept_uni()).read_to_end(100) == b"still fine"


@cancels("iroh.Connection.accept_bi", "iroh.Connection.accept_uni")
async def test_accepting_streams(connect) -> None:
    client, server = await connect()
    await at_step(1, server.accept_bi)
    await at_step(1, server.accept_uni)
    assert len(server._driver.inbox.waiters) == 0
    send, _recv = await client.open_bi()
    await send.write_all(b"first")
    assert await (await server.accept_bi()).recv().read() == b"first"
    await works(client, server)


@cancels("iroh.Connection.open_bi", "iroh.Connection.open_uni")
async def test_opening_streams_beyond_the_limit(connect) -> None:
    config = TransportConfig(max_concurrent_bidi_streams=1, max_concurrent_uni_streams=1)
    client, server = await connect(transport_config=config)
    bi, uni = await client.open_bi(), await client.open_uni()
    for _ in range(2):
        await at_step(1, client.open_bi)
        await at_step(1, client.open_uni)
    server.set_max_concurrent_bi_streams(2)
    server.set_max_concurrent_uni_streams(2)
    assert (await client.open_bi()).send().stream_id == bi.send().stream_id + 4
    assert (await client.open_uni()).stream_id == uni.stream_id + 4


@cancels("iroh.Connection.read_datagram", "iroh.Connection.read_many_datagrams")
async def test_reading_datagrams(connect) -> None:
    client, server = await connect()
    await at_step(1, server.read_datagram)
    await at_step(1, lambda: server.read_many_datagrams(5))
    client.send_many_datagrams([b"1", b"2"])
    assert [await server.read_datagram() for _ in range(2)] == [b"1", b"2"]


@cancels("iroh.Connection.send_datagram_wait")
async def test_a_datagram_that_waits_to_be_sent(connect) -> None:
    client, server = await connect(transport_config=TransportConfig(datagram_send_buffer_size=1000))
    client._driver.connection.send_datagram(b"x" * 900)  # queued, and not on its way yet
    await at_step(1, lambda: client.send_datagram_wait(b"n" * 900))
    await client.send_datagram_wait(b"y" * 900)
    assert [(await server.read_datagram())[:1] for _ in range(2)] == [b"x", b"y"]


@cancels("iroh.Connection.closed")
async def test_waiting_for_the_end(connect) -> None:
    client, server = await connect()
    await at_step(1, server.closed)
    await at_step(1, lambda: anext(server.watch_path_events()))
    await at_step(1, lambda: anext(server.path_events()))
    assert len(server._driver.inbox.waiters) == 0
    await works(client, server)
    client.close(3)
    assert (await server.closed()).code == 3


LONG = [bytes([n]) * 200 for n in range(12)]
"""ALPNs that make a hello of several packets: who accepts after the first one has to wait."""


class Gate(asyncio.DatagramProtocol):
    """A way to an endpoint, which lets one datagram pass and keeps the others until it opens."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target, self.kept, self.passed, self.is_open = target, [], 0, False

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr == self.target:
            self.transport.sendto(data, self.dialler)
            return
        self.dialler = addr
        if self.passed and not self.is_open:
            self.kept.append(data)
        else:
            self.passed += 1
            self.transport.sendto(data, self.target)

    def open(self) -> None:
        self.is_open = True
        for data in self.kept:
            self.transport.sendto(data, self.target)


@cancels("iroh.Accepting.alpn", "iroh.Accepting.into_0rtt")
async def test_waiting_for_the_hello(bind) -> None:
    """It is harmless."""
    server, client = await bind(alpns=[ALPN]), await bind()
    target = SocketAddr.parse(server.bound_sockets()[0])
    transport, gate = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Gate((target.ip, target.port)), local_addr=("127.0.0.1", 0)
    )
    way = EndpointAddr(server.id(), None, [str(SocketAddr(*transport.get_extra_info("sockname")))])
    dial = asyncio.create_task(client.connect(way, ALPN, additional_alpns=LONG))
    incoming = await server.accept_next()
    assert incoming is not None
    accepting = await incoming.accept()
    await at_step(1, accepting.alpn)
    await at_step(1, accepting.into_0rtt)
    gate.open()
    early = await accepting.into_0rtt()
    assert early.alpn() == await accepting.alpn() == ALPN
    await works(await early.handshake_completed(), await dial)
    transport.abort()


@cancels("iroh.Accepting.connect", "iroh.ProtocolHandler.on_accepting")
async def test_waiting_for_the_handshake_of_a_dialler(bind) -> None:
    """Cancelling it closes the attempt: the dialler is told."""
    server, client = await bind(alpns=[ALPN]), await bind()
    for wait in (Accepting.connect, ProtocolHandler().on_accepting):
        dial = asyncio.create_task(client.connect(server.addr(), ALPN))
        incoming = await server.accept_next()
        assert incoming is not None
        accepting = await incoming.accept()
        await at_step(1, lambda wait=wait, accepting=accepting: wait(accepting))
        with contextlib.suppress(ConnectError):  # it may have its half of the handshake
            assert (await (await dial).closed()).kind in ("ApplicationClosed", "ConnectionClosed")
        with pytest.raises(ConsumedError):
            await accepting.connect()
    await works(*await meet(client, server))


@cancels(
    "iroh.OutgoingZeroRttConnection.handshake_completed",
    "iroh.IncomingZeroRttConnection.handshake_completed",
)
async def test_waiting_for_the_proof(bind) -> None:
    """It can be done again."""
    server, client = await bind(alpns=[ALPN]), await bind()
    first, accepted = await meet(client, server)
    await works(accepted, first)  # the ticket is there before this is
    first.close()
    early = (await client.connect_pending(server.addr(), ALPN)).into_0rtt()
    assert early is not None
    await at_step(1, early.handshake_completed)
    incoming = await server.accept_next()
    assert incoming is not None
    theirs = await (await incoming.accept()).into_0rtt()
    await at_step(1, theirs.handshake_completed)
    assert (await early.handshake_completed()).is_accepted()
    await works(early, await theirs.handshake_completed())
