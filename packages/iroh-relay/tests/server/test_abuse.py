"""Clients that break every rule. The relay must stay up, bounded, and fair to the others."""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iroh_relay.protos.auth import ClientAuth, ServerChallenge
from iroh_relay.protos.frames import EndpointGone, Ping, Pong, encode_datagrams
from iroh_relay.server import ClientRequest, Everyone, RelayServer, RelayServerConfig
from iroh_relay.server.access import Access

from .conftest import LOOPBACK
from .peer import PATIENCE, Peer, connect, secret, websocket_frame


@contextlib.asynccontextmanager
async def server_with(**settings: float) -> AsyncIterator[RelayServer]:
    """A relay with other limits."""
    config = RelayServerConfig(http_bind_addr=LOOPBACK, **settings)  # type: ignore[arg-type]
    async with RelayServer(config) as server:
        yield server


# -- before the handshake is done ----------------------------------------------------------


async def test_silence_after_the_upgrade_ends() -> None:
    async with server_with(handshake_timeout=0.1) as server:
        peer = await Peer.upgrade(server)
        assert await peer.receive_raw() is not None
        assert await peer.ended()
        await peer.close()
        assert server.metrics.handshakes_timed_out == 1


@pytest.mark.parametrize("begin", [b"", b"GET /relay HTTP/1.1\r\nHost: a\r\n", b"G"])
async def test_half_a_request_ends_and_a_client_stays(begin: bytes) -> None:
    async with server_with(establish_timeout=0.3) as server, connect(server, 1) as established:
        peer = await Peer.tcp(server)
        peer.writer.write(begin)
        assert await peer.ended()
        await peer.close()
        await established.settle()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x01",
        b"\x01" + bytes(97),
        b"\x09" + bytes(8),
        b"\x0e",
        b"\x02",
        bytes(70_000),
        encode_datagrams(bytes(secret(1).public()), b"too early"),
    ],
    ids=lambda answer: f"{answer[:2].hex()}x{len(answer)}",
)
async def test_a_wrong_answer_to_the_challenge_ends(relay: RelayServer, answer: bytes) -> None:
    peer = await Peer.upgrade(relay)
    assert await peer.receive_raw() is not None
    peer.send(answer)
    assert await peer.ended()
    await peer.close()
    assert relay.metrics.handshakes_errored == 1
    assert relay.metrics.accepts == 0


async def test_a_forged_signature_is_told_so(relay: RelayServer) -> None:
    peer = await Peer.upgrade(relay)
    raw = await peer.receive_raw()
    assert raw is not None
    signature = ClientAuth.answer(secret(1), ServerChallenge(raw[1:])).signature
    peer.send(ClientAuth(secret(2).public(), signature).encode())
    assert await peer.receive_raw() == b"\x03\x11signature invalid"
    assert await peer.ended()
    await peer.close()


async def test_a_replayed_answer_is_refused(relay: RelayServer) -> None:
    async with connect(relay, 1):
        pass
    first = await Peer.upgrade(relay)
    raw = await first.receive_raw()
    assert raw is not None
    replay = ClientAuth.answer(secret(1), ServerChallenge(raw[1:])).encode()
    await first.close()
    second = await Peer.upgrade(relay)
    await second.receive_raw()
    second.send(replay)
    assert await second.receive_raw() == b"\x03\x11signature invalid"
    await second.close()


async def test_the_exporter_header_is_ignored_without_tls(relay: RelayServer) -> None:
    header = "x-iroh-relay-client-auth-v1: !!not base64!!\r\n"
    async with connect(relay, 1, headers=header) as peer:
        await peer.settle()


# -- after it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        websocket_frame(b"\x0e"),
        websocket_frame(b""),
        websocket_frame(b"\x06" + bytes(40)),
        websocket_frame(b"\x07" + bytes(40)),
        websocket_frame(b"\x08" + bytes(32)),
        websocket_frame(b"\x0b" + b"ill"),
        websocket_frame(b"\x0c" + bytes(8)),
        websocket_frame(b"\x0d\x00"),
        websocket_frame(b"\x00" + bytes(16)),
        websocket_frame(b"\x01" + bytes(97)),
        websocket_frame(b"\x02"),
        websocket_frame(b"\x04" + bytes(65_537)),
        websocket_frame(bytes(1 << 20)),
        websocket_frame(bytes((1 << 20) + 1)),
        websocket_frame(b"\x09" + bytes(8), first=0xF2),  # reserved bits
        websocket_frame(b"\x09" + bytes(8), first=0x83),  # reserved opcode
        websocket_frame(b"x", first=0x80),  # continues nothing
        b"\x82\xff" + b"\xff" * 8 + bytes(4),  # a message of 2^64 bytes
        b"\x82\x09\x09" + bytes(8) + b"\xff" * 9,  # garbage behind
        websocket_frame(bytes(200), first=0x89),  # a ping that is too long
        websocket_frame(b"\xff\xff", first=0x88),  # closes with an illegal code
    ],
    ids=lambda raw: f"{raw[:6].hex()}x{len(raw)}",
)
async def test_garbage_ends_the_one_and_spares_the_other(relay: RelayServer, raw: bytes) -> None:
    async with connect(relay, 2) as good:
        async with connect(relay, 1) as bad:
            bad.send_datagram(good, b"hello")
            await good.receive()
            bad.writer.write(raw)
            while await bad.receive_raw() is not None:
                pass
        assert await good.receive() == EndpointGone(bad.id)
        await good.settle()


async def test_text_and_websocket_pings_are_tolerated(relay: RelayServer) -> None:
    async with connect(relay, 1) as peer:
        peer.writer.write(websocket_frame(b"hello", first=0x81))
        peer.writer.write(websocket_frame(b"ping", first=0x89))
        await peer.settle()


async def test_a_message_in_fragments_is_one_message(relay: RelayServer) -> None:
    async with connect(relay, 1) as peer:
        ping = Ping(b"fragment").encode()
        for first, part in ((0x02, ping[:1]), (0x00, ping[1:5]), (0x80, ping[5:])):
            peer.writer.write(websocket_frame(part, first))
        assert await peer.receive() == Pong(b"fragment")


async def test_a_reset_is_noticed(relay: RelayServer) -> None:
    async with connect(relay, 2) as other, connect(relay, 1) as peer:
        peer.send_datagram(other, b"x")
        await other.receive()
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()
        assert await other.receive() == EndpointGone(peer.id)


async def test_a_graceful_close_is_answered(relay: RelayServer) -> None:
    async with connect(relay, 1) as peer:
        peer.writer.write(websocket_frame((1000).to_bytes(2), first=0x88))
        async with asyncio.timeout(PATIENCE):
            assert await peer.reader.read() == b"\x88\x02" + (1000).to_bytes(2)


async def test_a_thousand_packets_to_a_peer_that_does_not_read_never_fail() -> None:
    async with (
        server_with(write_timeout=30.0) as server,
        connect(server, 1) as sender,
        connect(server, 2) as stuck,
    ):
        for number in range(1000):
            sender.send_datagram(stuck, bytes(60_000))
            if number % 50 == 0:
                async with asyncio.timeout(PATIENCE):
                    await sender.writer.drain()
        await sender.settle()
        metrics = server.metrics
        assert metrics.send_packets_recv == 1000
        assert metrics.send_packets_dropped_full > 0


async def test_a_stuck_reader_does_not_hurt_others_and_is_dropped() -> None:
    gone = asyncio.Event()

    class Watch(Everyone):
        async def on_connect(self, request: ClientRequest) -> Access:
            return Access(True)

        def on_disconnect(self, endpoint_id: object, connection_id: int) -> None:
            if endpoint_id == secret(2).public():
                gone.set()

    config = RelayServerConfig(http_bind_addr=LOOPBACK, write_timeout=0.2)
    async with (
        RelayServer(config, access=Watch()) as server,
        connect(server, 1) as a,
        connect(server, 2) as stuck,
        connect(server, 3) as c,
    ):
        while not gone.is_set():
            for _ in range(20):
                a.send_datagram(stuck, bytes(60_000))
            a.send_datagram(c, b"and you?")
            await c.receive()  # the others go on meanwhile
            await a.settle()
        assert server.metrics.write_timeouts == 1


async def test_many_connections_of_one_id(relay: RelayServer) -> None:
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connect(relay, 1)) for _ in range(30)]
        bound = relay.service.config.max_inactive + 1
        for evicted in peers[:-bound]:
            while await evicted.receive_raw() is not None:
                pass
        await peers[-1].settle()
        assert len(list(relay.service.clients.connections())) == bound
        other = await stack.enter_async_context(connect(relay, 2))
        other.send_datagram(peers[-1], b"only the newest")
        await peers[-1].receive()
    metrics = relay.metrics
    assert metrics.inactive_evicted == 30 - bound


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(messages=st.lists(st.binary(max_size=80), max_size=5), key=st.integers(4, 5))
async def test_any_messages_leave_the_relay_standing(
    relay: RelayServer,
    caplog: pytest.LogCaptureFixture,
    messages: list[bytes],
    key: int,
) -> None:
    async with connect(relay, 1) as bystander, connect(relay, 2) as fuzzer:
        for message in messages:
            fuzzer.send(message)
            fuzzer.send(bytes((key,)) + bytes(bystander.id) + message)
        with contextlib.suppress(AssertionError):
            await fuzzer.settle()
        bystander.send(Ping(bytes(8)).encode())
        while await bystander.receive() != Pong(bytes(8)):
            pass
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
