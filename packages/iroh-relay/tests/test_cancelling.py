"""Each public await of the package, cancelled at each of its steps; see `tools/cancelling.py`."""

import asyncio

from cancelling import at_step, cancels, each_step, nothing, within
from iroh_base.addr import SocketAddr
from iroh_relay.client import RelayClient, probe_latency
from iroh_relay.protos.versions import ProtocolVersion
from iroh_relay.relay_map import RelayConfig
from iroh_relay.server import (
    ALLOW,
    Access,
    ClientRequest,
    Denylist,
    Everyone,
    HttpCallout,
    RelayServer,
    RelayServerConfig,
    SelfSigned,
)
from iroh_relay.server.service import RelayService, UpgradeInfo

from .client.fake_relay import fake_relay
from .client.fakes import KEY, FakeDialer
from .server.fakes import FakeStream
from .server.peer import connect, secret

LOOPBACK = SocketAddr("127.0.0.1", 0)


@cancels("iroh_relay.client.RelayClient.connected", "iroh_relay.client.RelayClient.close")
async def test_a_client() -> None:
    """Only the waiting stops: it connects, and it ends, all the same."""
    dialer = FakeDialer()
    stream = dialer.plan()
    config = RelayConfig(url="http://relay.example/")
    client = RelayClient(config, KEY, on_datagrams=lambda *_: None, home=True, dialer=dialer)
    client.start()
    await at_step(1, client.connected)
    await client.connected()
    await at_step(1, client.close)
    await client.close()
    assert stream.closed is not None
    assert client.status.closed


@cancels(
    "iroh_relay.server.RelayServer.__aenter__",
    "iroh_relay.server.RelayServer.__aexit__",
    "iroh_relay.client.RelayClient.__aexit__",
)
async def test_blocks() -> None:
    """They leave nothing open, which conftest.py looks for, on the way in or out."""
    config = RelayServerConfig(
        http_bind_addr=LOOPBACK, https_bind_addr=LOOPBACK, quic_bind_addr=LOOPBACK
    )
    certificates = SelfSigned()

    async def serve() -> None:
        await within(RelayServer(config, certificates=certificates))

    assert await each_step(serve, nothing) >= 2
    clients: list[RelayClient] = []

    async def use() -> None:
        away = RelayConfig(url="http://relay.example/")
        clients.append(RelayClient(away, KEY, on_datagrams=lambda *_: None, dialer=FakeDialer()))
        await within(clients[-1])

    async def over(_result: None) -> None:
        assert all(client._task.done() for client in clients)

    assert await each_step(use, over) >= 1


@cancels("iroh_relay.client.probe_latency")
async def test_a_probe() -> None:
    """Nothing stays open, which conftest.py looks for."""
    async with fake_relay() as relay:
        assert await each_step(lambda: probe_latency(relay.url), nothing) >= 2


class Gated(Everyone):
    """Access control that does not answer before it may; and the question of a web service."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.asked = 0
        self.closed = False

    async def on_connect(self, request: ClientRequest) -> Access:
        self.asked += 1
        await self.may_answer.wait()
        return ALLOW

    async def __call__(self, _endpoint_id: object) -> bool:
        self.asked += 1
        await self.may_answer.wait()
        return True

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed = True


def request() -> ClientRequest:
    return ClientRequest(0, secret(1).public(), ProtocolVersion.V2, None, None, {})


@cancels("iroh_relay.server.HttpCallout.on_connect", "iroh_relay.server.HttpCallout.close")
async def test_asking_a_web_service() -> None:
    """Who gives up harms no other; closing can be done again."""
    gated = Gated()
    callout = HttpCallout("http://service.example/", ask=gated)
    await at_step(1, lambda: callout.on_connect(request()), goes_on=True)
    other = asyncio.create_task(callout.on_connect(request()))
    await asyncio.sleep(0)
    gated.may_answer.set()
    assert await other is ALLOW
    assert gated.asked == 1
    callout.forget()
    gated.may_answer.clear()
    await at_step(1, lambda: callout.on_connect(request()), goes_on=True)
    await at_step(1, callout.close)
    assert not callout._asking
    await at_step(1, callout.close)
    await callout.close()
    assert gated.closed


@cancels(
    "iroh_relay.server.RelayServer.start",
    "iroh_relay.server.RelayServer.close",
    "iroh_relay.server.RelayServer.wait_closed",
)
async def test_a_server() -> None:
    """What does not start leaves nothing open; closing goes on without who waits for it."""
    config = RelayServerConfig(
        http_bind_addr=LOOPBACK,
        https_bind_addr=LOOPBACK,
        quic_bind_addr=LOOPBACK,
        metrics_bind_addr=LOOPBACK,
    )
    servers: list[RelayServer] = []

    async def start() -> None:
        servers.append(RelayServer(config, certificates=SelfSigned()))
        await servers[-1].start()

    async def ended(_result: None) -> None:
        assert all(server._closed.is_set() for server in servers[:-1])

    assert await each_step(start, ended) >= 1
    server = servers[-1]
    await at_step(1, server.wait_closed)
    await at_step(1, server.close)
    assert server._closed.is_set()
    await server.close()
    await server.wait_closed()


@cancels(
    "iroh_relay.server.RelayServer.set_access", "iroh_relay.server.RelayService.recheck_access"
)
async def test_asking_again_who_may_stay() -> None:
    """The new access control counts; those who were not asked yet stay in."""
    async with (
        RelayServer(RelayServerConfig(http_bind_addr=LOOPBACK)) as server,
        connect(server, 1) as one,
        connect(server, 2) as two,
    ):
        gated = Gated()
        await at_step(1, lambda: server.set_access(gated))
        assert gated.asked == 1
        await one.settle()
        await two.settle()
        assert await server.set_access(Denylist([one.id, two.id])) == 2
        assert await one.ended()
        assert await two.ended()


@cancels("iroh_relay.server.RelayService.serve")
async def test_serving() -> None:
    """It ends the connection, whether in the handshake or after it."""
    service = RelayService()
    upgrade = UpgradeInfo(ProtocolVersion.V2, None, "192.0.2.1:443")
    stream = FakeStream()
    await at_step(1, lambda: service.serve(stream, upgrade))
    assert stream.closed.is_set()
    assert not service.clients
