"""The client against the relay server of this package."""

import asyncio
import ssl
from typing import Any

from iroh_base.addr import SocketAddr
from iroh_base.keys import PublicKey, SecretKey
from iroh_relay.client import RelayClient, RelayState, probe_latency
from iroh_relay.protos import MAX_BATCH_CONTENTS, MAX_SINGLE_CONTENTS
from iroh_relay.relay_map import RelayConfig
from iroh_relay.server import Access, ClientRequest, Everyone, RelayServer, SelfSigned
from iroh_relay.server import RelayServerConfig as ServerConfig

LOOPBACK = SocketAddr("127.0.0.1", 0)


class Peer:
    """A client with a key, an inbox, and news of those who left."""

    def __init__(self, url: str, key: SecretKey | None = None, token: str | None = None) -> None:
        key = key or SecretKey.generate()
        self.key = key
        self.id = key.public().to_bytes()
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.gone: asyncio.Queue[bytes] = asyncio.Queue()
        self.client = RelayClient(
            RelayConfig(url=url, auth_token=token),
            key,
            on_datagrams=lambda *args: self.inbox.put_nowait(args),
            on_endpoint_gone=self.gone.put_nowait,
            home=True,
        )

    async def __aenter__(self) -> "Peer":
        self.client.start()
        await self.client.connected()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.client.close()


def relay(addr: SocketAddr = LOOPBACK, access: Any = None) -> RelayServer:
    return RelayServer(ServerConfig(http_bind_addr=addr), access=access)


async def test_exchange_and_leaving() -> None:
    async with relay() as server:
        url = str(server.http_url)
        async with Peer(url) as a:
            async with Peer(url) as b:
                for data, segment_size, ecn in (
                    (b"hello", 0, 2),
                    (bytes(MAX_SINGLE_CONTENTS), 0, 0),
                    (bytes(range(250)) * 100, 1452, 3),
                    (bytes(MAX_BATCH_CONTENTS), 1, 1),
                ):
                    assert a.client.send(b.id, data, segment_size, ecn)
                    assert await b.inbox.get() == (a.id, data, segment_size, ecn)
                    assert b.client.send(a.id, data, segment_size, ecn)
                    assert await a.inbox.get() == (b.id, data, segment_size, ecn)
            assert await a.gone.get() == b.id
        assert await probe_latency(url) > 0


async def test_a_batch_too_large_for_a_frame() -> None:
    async with relay() as server, Peer(str(server.http_url)) as a, Peer(str(server.http_url)) as b:
        data = bytes(range(256)) * 1000
        assert a.client.send(b.id, data, 1452)
        received = b""
        while len(received) < len(data):
            _, part, segment_size, _ = await b.inbox.get()
            assert segment_size in (0, 1452)
            received += part
        assert received == data


async def test_same_id_twice() -> None:
    async with relay() as server:
        url = str(server.http_url)
        async with Peer(url) as peer, Peer(url) as old:
            async with Peer(url, old.key) as new:
                peer.client.send(old.id, b"to the newest")
                assert (await new.inbox.get())[1] == b"to the newest"
                assert old.inbox.empty()
            # It may take the server a few turns to notice that the newest has left.
            for _ in range(1000):
                if not old.inbox.empty():
                    break
                peer.client.send(old.id, b"and back")
                await asyncio.sleep(0)
            assert (await old.inbox.get())[1] == b"and back"
            assert old.client.stats.conns_success == 1


class Token:
    """Wants one token."""

    async def on_connect(self, request: ClientRequest) -> Access:
        return Access(request.auth_token == "right", "wrong token")

    def on_disconnect(self, endpoint_id: PublicKey, connection_id: int) -> None:
        pass


async def test_tokens() -> None:
    async with relay(access=Token()) as server:
        url = str(server.http_url)
        async with Peer(url, token="right"):
            pass
        denied = Peer(url, token="wrong")
        denied.client.start()
        async for status in denied.client.status.watch():
            if status.last_error is not None:
                assert status.last_error == "The relay denied our authentication (wrong token)"
                break
        await denied.client.close()


async def test_a_denial_over_tls_is_not_for_ever() -> None:
    """The relay hangs up first: closing asyncio's TLS transport once more would break it."""
    certificates = SelfSigned()
    trust = ssl.create_default_context(cadata=certificates.chain_pem.decode())
    config = ServerConfig(http_bind_addr=LOOPBACK, https_bind_addr=LOOPBACK)
    async with RelayServer(config, access=Token(), certificates=certificates) as server:
        client = RelayClient(
            RelayConfig(url=str(server.url), auth_token="wrong"),
            SecretKey.generate(),
            on_datagrams=lambda *_: None,
            ssl_context=trust,
        )
        async with asyncio.timeout(10), client:
            async for _ in client.status.watch():
                if client.stats.conns_failed >= 2:
                    break
            assert "denied our authentication (wrong token)" in str(client.status.get().last_error)
            await server.set_access(Everyone())
            await client.connected()
            await server.close()
            async for status in client.status.watch():
                if status.state is RelayState.DISCONNECTED:
                    break
            assert "internal" not in str(status.last_error)


async def test_restart() -> None:
    server = relay()
    await server.start()
    addr, url = server.http_addr, str(server.http_url)
    async with Peer(url) as a, Peer(url) as b:
        await server.close()
        async for status in a.client.status.watch():
            if not status.is_connected:
                break
        async with relay(addr):
            await a.client.connected()
            await b.client.connected()
            assert a.client.send(b.id, b"again")
            assert (await b.inbox.get())[1] == b"again"
