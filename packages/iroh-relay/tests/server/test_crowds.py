"""Many hostile clients at once. Those who behave notice nothing, and the log stays readable."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import pytest

from iroh_relay.protos.auth import ClientAuth, ServerChallenge
from iroh_relay.protos.frames import Ping, Pong
from iroh_relay.server import RelayServer, RelayServerConfig, SelfSigned

from .conftest import LOOPBACK
from .peer import PATIENCE, Peer, connect, secret

CROWD = 100


@pytest.fixture(autouse=True)
def _readable_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a stranger does is worth a warning."""
    yield
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def dribble(peer: Peer, request: bytes) -> None:
    """Send byte after byte, each soon after the last, until the relay has enough."""
    for byte in request:
        peer.writer.write(bytes((byte,)))
        await asyncio.sleep(0.02)
        if peer.reader.at_eof():
            return
    raise AssertionError("the relay waited for the whole of it")


async def gone(peer: Peer) -> None:
    """Wait until the relay has dropped the connection, and drop our end."""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            await peer.reader.read()
    await peer.close()


async def test_a_request_byte_by_byte_ends_in_time() -> None:
    config = RelayServerConfig(http_bind_addr=LOOPBACK, establish_timeout=0.3)
    async with RelayServer(config) as relay, connect(relay, 1) as honest:
        peer = await Peer.tcp(relay)
        await dribble(peer, b"GET /relay HTTP/1.1\r\nHost: relay\r\nX: " + b"x" * 10_000)
        await gone(peer)
        await honest.settle()


async def test_tls_that_is_never_done_ends_in_time() -> None:
    config = RelayServerConfig(
        http_bind_addr=LOOPBACK, https_bind_addr=LOOPBACK, establish_timeout=0.3
    )
    async with RelayServer(config, certificates=SelfSigned()) as relay:
        assert relay.https_addr is not None
        address = relay.https_addr.ip, relay.https_addr.port
        hello = bytes.fromhex("1603010200010001fc0303") + bytes(500)
        for begin in (b"", b"\x16", hello[:100]):
            peer = Peer(*await asyncio.open_connection(*address))
            peer.writer.write(begin)
            await gone(peer)


async def test_half_open_connections_end_in_time() -> None:
    config = RelayServerConfig(http_bind_addr=LOOPBACK, establish_timeout=0.5)
    async with RelayServer(config) as relay, connect(relay, 1) as honest:
        crowd = [await Peer.tcp(relay) for _ in range(CROWD)]
        for number, peer in enumerate(crowd):
            peer.writer.write(b"GET /relay HT"[: number % 13])
        await honest.settle()
        async with connect(relay, 2) as late:
            await late.settle()
        await asyncio.gather(*(gone(peer) for peer in crowd))
        await honest.settle()
        metrics = relay.metrics
        assert metrics.http_connections - metrics.http_connections_closed == 1


async def test_bad_signatures_at_full_rate(relay: RelayServer) -> None:
    async with connect(relay, 1) as honest:

        async def forge(_: int) -> None:
            peer = await Peer.upgrade(relay)
            raw = await peer.receive_raw()
            assert raw is not None
            signature = ClientAuth.answer(secret(3), ServerChallenge(raw[1:])).signature
            peer.send(ClientAuth(secret(1).public(), signature).encode())
            assert await peer.receive_raw() == b"\x03\x11signature invalid"
            await gone(peer)

        async with asyncio.TaskGroup() as tasks:
            for number in range(CROWD):
                tasks.create_task(forge(number))
            for _ in range(20):
                await honest.settle()
        await honest.settle()
    assert relay.metrics.handshakes_errored == CROWD
    assert relay.metrics.accepts == 1


async def test_a_flood_to_one_and_a_ping_beside(relay: RelayServer) -> None:
    async with connect(relay, 1) as a, connect(relay, 2) as b, connect(relay, 3) as honest:

        async def read() -> None:
            for _ in range(2000):
                await b.receive_raw()

        reading = asyncio.create_task(read())
        for number in range(2000):
            a.send_datagram(b, bytes(1200))
            if number % 100 == 0:
                await a.writer.drain()
                await honest.settle()
        await reading
        assert relay.metrics.send_packets_sent == 2000


async def test_a_flood_of_pings_is_answered_one_by_one(relay: RelayServer) -> None:
    async with connect(relay, 1) as peer:
        for number in range(2000):
            peer.send(Ping(number.to_bytes(8)).encode())
        for number in range(2000):
            assert await peer.receive() == Pong(number.to_bytes(8))
