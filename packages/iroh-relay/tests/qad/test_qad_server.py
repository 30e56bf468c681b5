"""The QAD server on loopback: addresses, limits, floods."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iroh_base.addr import SocketAddr
from iroh_relay.qad.server import QadLimits, QadServer
from iroh_relay.server import ListenError

from .kit import PATIENCE, SERVER, QadClient, SocketClient, certificate, listening


async def start(limits: QadLimits | None = None) -> QadServer:
    server = QadServer(SocketAddr("::", 0), certificate(), limits=limits)
    await server.start()
    return server


@pytest_asyncio.fixture
async def server() -> AsyncIterator[QadServer]:
    server = await start()
    yield server
    await server.close()


async def until(done: Callable[[], object]) -> None:
    """Wait for something that only the server knows."""
    async with asyncio.timeout(PATIENCE):
        while not done():  # noqa: ASYNC110 - counters wake nobody
            await asyncio.sleep(0.005)


def initial() -> bytes:
    """Give the first datagram of a client that nobody has seen yet."""
    client = QadClient()
    client.connect(SERVER, now=0.0)
    return client.datagrams_to_send(now=0.0)[0][0]


class Sink(asyncio.DatagramTransport):
    """Where a server's answers go when there is no socket."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[bytes, object]] = []

    def sendto(self, data: object, addr: object = None) -> None:
        assert isinstance(data, bytes)
        self.sent.append((data, addr))

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
async def test_a_client_learns_its_address(server: QadServer, ip: str) -> None:
    async with SocketClient(listening(server, ip)) as client:
        await client.until(lambda: client.quic.reports)
        assert client.quic.reports == [(0, *client.local)]
        await until(lambda: server.metrics.qad_connections == 1)
    await until(lambda: server.metrics.qad_connections_closed)
    assert server.metrics.qad_connections_errored == 0


async def test_a_client_on_a_new_port_is_told(server: QadServer) -> None:
    async with SocketClient(listening(server, "127.0.0.1")) as client:
        await client.until(lambda: client.quic.reports)
        await client.open()  # the socket is bound anew, as after a change of networks
        client.quic.send_ping(1)
        client.move()
        await client.until(lambda: len(client.quic.reports) > 1)
        assert client.quic.reports[-1] == (1, *client.local)


async def test_clients_are_told_when_the_server_ends() -> None:
    server = await start()
    async with SocketClient(listening(server, "127.0.0.1")) as client:
        await until(lambda: server.metrics.qad_connections)
        await server.close()
        await client.until(lambda: client.terminated)
        assert client.terminated is not None
        assert (client.terminated.error_code, client.terminated.reason_phrase) == (1, "finished")
    await server.close()


async def test_a_port_that_is_taken(server: QadServer) -> None:
    other = QadServer(server.addr, certificate())
    with pytest.raises(ListenError, match="already in use"):
        await other.start()
    await other.close()


# -- limits ------------------------------------------------------------------------------------


async def test_a_flood_of_initials_is_asked_to_retry_and_honest_clients_go_on() -> None:
    server = await start(QadLimits(soft_half_open=8, hard_half_open=64))
    sink = Sink()
    real, server._transport = server._transport, sink
    received = 0
    for number in range(100):
        data = initial()
        received += len(data)
        server.datagram_received(data, (f"192.0.2.{number}", 1000))
    server._transport = real
    assert len(server._all) == server._half_open == 8
    assert server.dropped["asked to retry"] == 92
    assert sum(len(data) for data, _ in sink.sent) <= 3 * received
    async with SocketClient(listening(server, "127.0.0.1")) as client:
        await client.until(lambda: client.quic.reports)
        assert client.quic._retry_count == 1
    await server.close()


async def test_attempts_beyond_the_hard_limit_are_dropped() -> None:
    server = await start(QadLimits(soft_half_open=8, hard_half_open=4))
    for number in range(10):
        server.datagram_received(initial(), (f"192.0.2.{number}", 1000))
    assert len(server._all) == 4
    assert server.dropped["too many connections"] == 6
    await server.close()


async def test_connections_of_one_host_are_bounded() -> None:
    server = await start(QadLimits(max_per_host=2))
    for port in range(5):
        server.datagram_received(initial(), ("2001:db8::1", 1000 + port, 0, 0))
        server.datagram_received(initial(), (f"2001:db8::{port + 2}", 1000, 0, 0))
    server.datagram_received(initial(), ("192.0.2.1", 1000))
    assert len(server._all) == 3
    assert server.dropped["too many connections of one host"] == 8
    await server.close()
    assert not server._clients
    assert not server._hosts


async def test_connections_are_bounded() -> None:
    server = await start(QadLimits(max_connections=1))
    async with SocketClient(listening(server, "127.0.0.1")) as client:
        await client.until(lambda: client.quic.reports)
        server.datagram_received(initial(), ("192.0.2.1", 1000))
        assert server.dropped["too many connections"] == 1
    await server.close()


async def test_a_handshake_that_never_ends_is_forgotten() -> None:
    server = await start(QadLimits(handshake_timeout=0.01))
    server.datagram_received(initial(), ("192.0.2.1", 1000))
    assert len(server._all) == 1
    await until(lambda: not server._all)
    assert server._half_open == 0
    assert not server._clients
    assert server.metrics.qad_incoming_error == 1
    await server.close()


# -- bad input ---------------------------------------------------------------------------------


async def test_what_is_no_attempt_is_counted(server: QadServer) -> None:
    first = initial()
    sink = Sink()
    real, server._transport = server._transport, sink
    addr = ("192.0.2.1", 1000)
    server.datagram_received(b"", addr)
    server.datagram_received(first[:1199], addr)  # too small for an Initial
    server.datagram_received(b"\x40" + bytes(30), addr)  # a short header of nobody
    server.datagram_received(b"\xc0" + b"\xba\xad\xf0\x0d" + first[5:], addr)  # another version
    server._transport = real
    assert server.dropped == {"malformed": 1, "unknown": 2}
    ((answer, _),) = sink.sent
    assert answer[1:5] == bytes(4)  # version negotiation
    assert not server._all


async def test_a_broken_initial_makes_no_noise(server: QadServer) -> None:
    first = bytearray(initial())
    first[600] ^= 1
    server.datagram_received(bytes(first), ("192.0.2.1", 1000))
    assert server.dropped["bug"] == 0
    assert len(server._all) == 1  # it times out


def test_any_bytes() -> None:
    first = initial()

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=1500),
            st.tuples(st.integers(0, 1199), st.binary(min_size=1, max_size=8)).map(
                lambda change: first[: change[0]] + change[1] + first[change[0] + len(change[1]) :]
            ),
        )
    )
    def check(data: bytes) -> None:
        server.datagram_received(data, ("192.0.2.1", 1000))
        assert server.dropped["bug"] == 0

    async def run() -> None:
        nonlocal server
        server = await start(QadLimits(max_per_host=100_000, soft_half_open=4))
        server._transport, real = Sink(), server._transport
        check()
        server._transport = real
        await server.close()

    server: QadServer = None  # type: ignore[assignment]  # made inside the loop
    asyncio.run(run())
