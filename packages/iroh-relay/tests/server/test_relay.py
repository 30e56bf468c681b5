"""A whole relay on loopback: the Rust tests of `http_server.rs`, `server.rs`, `runtime_auth.rs`."""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace

import pytest

from iroh_base.keys import PublicKey
from iroh_relay.protos.errors import AuthDeniedError
from iroh_relay.protos.frames import (
    ClientToRelayDatagrams,
    Datagrams,
    EndpointGone,
    Health,
    Ping,
    Pong,
    RelayToClientDatagrams,
    Restarting,
    Status,
)
from iroh_relay.protos.versions import ProtocolVersion
from iroh_relay.server import (
    ALLOW,
    DENY,
    Access,
    ClientRequest,
    Everyone,
    ListenError,
    RelayServer,
    RelayServerConfig,
    RelayServerError,
    SelfSigned,
)

from .conftest import LOOPBACK
from .peer import PATIENCE, Peer, connect, secret

V1 = "iroh-relay-v1"


async def test_two_clients_ping_and_exchange(relay: RelayServer) -> None:
    async with connect(relay, 1) as a, connect(relay, 2) as b:
        a.send(Ping(b"12345678").encode())
        assert await a.receive() == Pong(b"12345678")
        a.send_datagram(b, b"hi there, client b!", ecn=2)
        assert await b.receive() == RelayToClientDatagrams(
            a.id, Datagrams(b"hi there, client b!", 2)
        )
        b.send_datagram(a, b"right back at ya!")
        assert await a.receive() == RelayToClientDatagrams(b.id, Datagrams(b"right back at ya!"))
    metrics = relay.metrics
    assert (metrics.accepts, metrics.unique_client_keys) == (2, 2)
    assert (metrics.send_packets_recv, metrics.send_packets_sent) == (2, 2)
    assert metrics.bytes_recv == metrics.bytes_sent == 36


@pytest.mark.parametrize("size", [1, 93, 94, 1200, 14520, 65467, 65500])
async def test_frames_of_every_size_of_websocket_header(relay: RelayServer, size: int) -> None:
    batch = Datagrams(bytes(i % 251 for i in range(size)), 1, 1452)
    async with connect(relay, 1) as a, connect(relay, 2) as b:
        a.send(ClientToRelayDatagrams(b.id, batch).encode())
        assert await b.receive() == RelayToClientDatagrams(a.id, batch)


async def test_the_order_of_datagrams_is_kept(relay: RelayServer) -> None:
    async with connect(relay, 1) as a, connect(relay, 2) as b:
        for number in range(400):
            a.send_datagram(b, number.to_bytes(2) * 500)
        for number in range(400):
            frame = await b.receive()
            assert isinstance(frame, RelayToClientDatagrams)
            assert frame.datagrams.contents[:2] == number.to_bytes(2)


async def test_a_peer_hears_that_its_correspondent_left(relay: RelayServer) -> None:
    async with connect(relay, 2) as b, connect(relay, 3) as c:
        async with connect(relay, 1) as a:
            a.send_datagram(b, b"x")
            await b.receive()
        assert await b.receive() == EndpointGone(a.id)
        await c.settle()  # heard nothing


@pytest.mark.parametrize("version", ["iroh-relay-v2", V1])
async def test_a_newer_connection_takes_over(relay: RelayServer, version: str) -> None:
    async with connect(relay, 1, subprotocols=version) as old, connect(relay, 2) as other:
        async with connect(relay, 1) as new:
            news = await old.receive()
            if version == V1:
                assert isinstance(news, Health)
            else:
                assert news == Status(Status.SAME_ENDPOINT_ID_CONNECTED)
            other.send_datagram(new, b"to the new one")
            assert isinstance(await new.receive(), RelayToClientDatagrams)
            old.send_datagram(other, b"still sending")
            assert isinstance(await other.receive(), RelayToClientDatagrams)
        news = await old.receive()
        assert isinstance(news, Health) or news == Status(Status.HEALTHY)
        other.send_datagram(old, b"to the old one again")
        assert isinstance(await old.receive(), RelayToClientDatagrams)
        await other.settle()  # no EndpointGone
    assert relay.metrics.unique_client_keys == 2


async def test_closing_the_relay_drops_everybody() -> None:
    server = RelayServer(RelayServerConfig(http_bind_addr=LOOPBACK))
    await server.start()
    async with connect(server, 1) as a, connect(server, 2) as b:
        a.send_datagram(b, b"x")
        await b.receive()
        half = await Peer.upgrade(server)
        idle = await Peer.tcp(server)
        await server.close()
        for peer in (a, b):  # told that it restarts, and not who else has gone
            assert isinstance(await peer.receive(), Restarting)
            assert await peer.ended()
        assert await idle.ended()
        assert await half.receive_raw() is not None  # its challenge
        assert await half.ended()
        for peer in (half, idle):
            await peer.close()
    assert server.metrics.accepts == server.metrics.disconnects == 2
    with pytest.raises(OSError, match="onnect"):
        await Peer.tcp(server)
    await server.close()
    await server.wait_closed()


async def test_a_server_starts_once_and_knows_its_address() -> None:
    server = RelayServer(RelayServerConfig(http_bind_addr=LOOPBACK))
    with pytest.raises(RelayServerError, match="not been started"):
        _ = server.http_addr
    async with server:
        assert server.http_addr.port != 0
        assert str(server.http_url) == f"http://127.0.0.1:{server.http_addr.port}/"
        with pytest.raises(RelayServerError, match="only once"):
            await server.start()
        with pytest.raises(ListenError, match="in use"):
            await RelayServer(RelayServerConfig(http_bind_addr=server.http_addr)).start()


async def test_a_server_of_nothing_does_not_start() -> None:
    server = RelayServer(RelayServerConfig(enable_relay=False, metrics_bind_addr=LOOPBACK))
    with pytest.raises(RelayServerError, match="nothing to serve"):
        await server.start()
    await server.close()


async def test_the_frame_restarting_is_never_sent(relay: RelayServer) -> None:
    async with connect(relay, 1) as a:
        await relay.close()
        raw = await a.receive_raw()
        assert raw is None or raw != Restarting(0, 0).encode()


# -- access control ------------------------------------------------------------------------


@dataclass
class Tokens:
    """Admits by token; can be changed at run time, and revokes what it has admitted."""

    allowed: set[str | None]
    connected: dict[int, ClientRequest] = field(default_factory=dict)
    gone: asyncio.Queue[tuple[PublicKey, int]] = field(default_factory=asyncio.Queue)

    async def on_connect(self, request: ClientRequest) -> bool:
        if request.auth_token in self.allowed:
            self.connected[request.connection_id] = request
        return request.auth_token in self.allowed

    def on_disconnect(self, endpoint_id: PublicKey, connection_id: int) -> None:
        assert self.connected.pop(connection_id).endpoint_id == endpoint_id
        self.gone.put_nowait((endpoint_id, connection_id))


@contextlib.asynccontextmanager
async def _guarded(access: object):  # type: ignore[no-untyped-def]
    config = RelayServerConfig(http_bind_addr=LOOPBACK)
    async with RelayServer(config, access=access) as server:  # type: ignore[arg-type]
        yield server


@pytest.mark.parametrize(
    ("target", "headers", "admitted"),
    [
        ("/relay", "", False),
        ("/relay", "Authorization: Bearer wrong\r\n", False),
        ("/relay?token=wrong", "", False),
        ("/relay", "Authorization: Bearer right\r\n", True),
        ("/relay?token=right", "", True),
    ],
)
async def test_tokens(target: str, headers: str, admitted: bool) -> None:
    access = Tokens({"right"})
    async with _guarded(access) as server:
        if admitted:
            async with connect(server, 1, target=target, headers=headers) as a:
                await a.settle()
            async with asyncio.timeout(PATIENCE):
                endpoint_id, _ = await access.gone.get()
            assert endpoint_id == a.id
        else:
            with pytest.raises(AuthDeniedError, match="not authorized"):
                async with connect(server, 1, target=target, headers=headers):
                    pass
            assert server.metrics.handshakes_denied == 1
            assert server.metrics.accepts == 0


async def test_one_is_denied_and_the_others_work() -> None:
    class NotA(Everyone):
        async def on_connect(self, request: ClientRequest) -> Access:
            if request.endpoint_id == secret(1).public():
                return Access(False, "no reason to be here")
            assert request.remote == "127.0.0.1"
            assert request.protocol_version is ProtocolVersion.V2
            assert request.headers["host"] == "relay"
            return ALLOW

    async with _guarded(NotA()) as server:
        denied = await Peer.upgrade(server)
        with pytest.raises(AuthDeniedError, match="no reason to be here"):
            await denied.handshake(secret(1))
        assert await denied.ended()
        await denied.close()
        async with connect(server, 2) as b, connect(server, 3) as c:
            b.send_datagram(c, b"works")
            assert isinstance(await c.receive(), RelayToClientDatagrams)


async def test_a_failing_hook_denies(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Everyone):
        async def on_connect(self, request: ClientRequest) -> Access:
            raise KeyError("database")

    async with _guarded(Broken()) as server:
        with pytest.raises(AuthDeniedError, match="not authorized"):
            async with connect(server, 1):
                pass
    assert "access control failed" in caplog.text


async def test_revoking_a_token_ends_its_connection_only() -> None:
    access = Tokens({"one", "two"})
    async with _guarded(access) as server:
        one = "Authorization: Bearer one\r\n"
        two = "Authorization: Bearer two\r\n"
        async with connect(server, 1, headers=one) as a, connect(server, 1, headers=two) as b:
            access.allowed.remove("one")
            [revoked] = [
                n for n, request in access.connected.items() if request.auth_token == "one"
            ]
            assert server.disconnect(a.id, revoked)
            assert await a.receive() == Status(Status.SAME_ENDPOINT_ID_CONNECTED)
            assert await a.ended()
            await b.settle()
            with pytest.raises(AuthDeniedError):
                async with connect(server, 1, headers=one):
                    pass
            access.allowed.add("three")
            async with connect(server, 3, headers="Authorization: Bearer three\r\n") as c:
                await c.settle()
            assert server.disconnect(b.id)
            while await b.receive_raw() is not None:
                pass
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                await access.gone.get()
        assert access.connected == {}
        assert not server.disconnect(a.id)


async def test_a_hook_that_never_answers_is_cut_off() -> None:
    class Sleepy(Everyone):
        async def on_connect(self, request: ClientRequest) -> Access:
            await asyncio.Event().wait()
            return DENY

    config = RelayServerConfig(http_bind_addr=LOOPBACK, handshake_timeout=0.1)
    async with RelayServer(config, access=Sleepy()) as server:
        peer = await Peer.upgrade(server)
        with pytest.raises(AssertionError, match="hung up"):
            await peer.handshake(secret(1))
        await peer.close()
        assert server.metrics.handshakes_timed_out == 1


# -- address discovery -------------------------------------------------------------------------


async def test_address_discovery_needs_a_certificate_and_its_port() -> None:
    config = RelayServerConfig(http_bind_addr=LOOPBACK, quic_bind_addr=LOOPBACK)
    with pytest.raises(RelayServerError, match="certificates"):
        await RelayServer(config).start()
    made = SelfSigned()
    async with RelayServer(config, quic_certificates=made) as relay:
        assert relay.quic_addr is not None
        assert relay.https_addr is None
        taken = replace(config, quic_bind_addr=relay.quic_addr)
        with pytest.raises(ListenError, match="already in use"):
            await RelayServer(taken, quic_certificates=made).start()
        taken = replace(config, http_bind_addr=relay.http_addr)
        with pytest.raises(ListenError, match="already in use"):
            await RelayServer(taken, quic_certificates=made).start()
    async with RelayServer(RelayServerConfig(http_bind_addr=LOOPBACK)) as relay:
        assert relay.quic_addr is None


async def test_address_discovery_without_a_relay() -> None:
    """Rust's relay has the same setting and cannot start with it."""
    config = RelayServerConfig(enable_relay=False, http_bind_addr=LOOPBACK, quic_bind_addr=LOOPBACK)
    async with RelayServer(config, certificates=SelfSigned()) as relay:
        assert relay.quic_addr is not None
        assert relay.https_addr is None
        peer = await Peer.tcp(relay)
        peer.writer.write(b"GET /relay HTTP/1.1\r\nHost: relay\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert (await peer.reader.readline()).startswith(b"HTTP/1.1 404")
        await peer.close()
