"""What the tests of upstream's protocol.rs show of its Router, shown of ours; see
docs/endpoint-compared.md for those that test_router.py and test_hooks.py show already.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from iroh import (
    ConnectError,
    EndpointAddr,
    EndpointHooks,
    IncomingAddr,
    IncomingFilterOutcome,
    LocallyRejectedError,
    ProtocolHandler,
    Reject,
    RelayMode,
    Router,
)
from iroh.protocols import ECHO_ALPN, Echo
from iroh_relay.server import RelayServer

from .conftest import ALPN
from .relay_kit import LOCAL, RelayedOnly


@pytest.fixture
async def relay() -> AsyncIterator[RelayServer]:
    async with RelayServer(LOCAL) as server:
        yield server


async def test_limiter_hook(bind) -> None:
    class Limit(EndpointHooks):
        async def before_connect(self, remote, alpn):
            assert alpn == ECHO_ALPN
            return Reject()

    server, client = await bind(protocols={ECHO_ALPN: Echo()}), await bind(hooks=[Limit()])
    with pytest.raises(LocallyRejectedError):
        await client.connect(server.addr(), ECHO_ALPN)


async def test_accepting_remote_addr(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    incoming = await server.accept_next()
    asked = await incoming.remote_addr()
    assert asked == IncomingAddr.IP(client.bound_sockets()[0])
    accepting = await incoming.accept()
    assert await accepting.remote_addr() == asked
    await accepting
    await dial


async def test_graceful_shutdown(bind) -> None:
    """Connections that a handler has kept after its `accept` are closed with its words."""

    class Keeping(ProtocolHandler):
        def __init__(self) -> None:
            self.kept: list = []
            self.has_one = asyncio.Event()

        async def accept(self, conn) -> None:
            self.kept.append(conn)
            self.has_one.set()

        async def shutdown(self) -> None:
            await asyncio.sleep(0)
            for conn in self.kept:
                conn.close(42, b"shutdown")

    handler, server, client = Keeping(), await bind(), await bind()
    router = Router(server, {ALPN: handler})
    conn = await client.connect(server.addr(), ALPN)
    await handler.has_one.wait()
    await router.shutdown()
    closed = await conn.closed()
    assert (closed.kind, closed.code, closed.reason.reason) == (
        *("ApplicationClosed", 42),
        b"shutdown",
    )


@pytest.mark.parametrize("wanted", [b"myproto/1", b"myproto/2"])
async def test_protocol_negotiation(bind, wanted) -> None:
    """The order of the handlers decides, whatever the dialler prefers (iroh 1.4; 1.0 sorted)."""
    served = []

    def handler(alpn: bytes):
        async def accept(conn) -> None:
            served.append((alpn, conn.alpn()))

        return accept

    server, client = await bind(), await bind()
    alpns = [b"myproto/2", b"myproto/1"]
    async with Router(server, {alpn: handler(alpn) for alpn in alpns}):
        conn = await client.connect(server.addr(), wanted, additional_alpns=alpns)
        assert conn.alpn() == b"myproto/2"
        await conn.closed()
    assert served == [(b"myproto/2", b"myproto/2")]


async def relayed(bind, relay, incoming_filter):
    """A server behind a filter and a client, which have nothing but a relay; the address."""
    mode = RelayMode.custom_from_urls([str(relay.http_url)])
    settings = {"preset": RelayedOnly(), "bind_addr": None, "relay_mode": mode}
    server = await bind(**settings, protocols={ECHO_ALPN: Echo()}, incoming_filter=incoming_filter)
    await server.online()
    return await bind(**settings), EndpointAddr(server.id(), str(relay.http_url))


async def test_relay_reject(bind, relay) -> None:
    seen = []

    async def reject(incoming) -> IncomingFilterOutcome:
        seen.append(await incoming.remote_addr())
        return IncomingFilterOutcome.REJECT

    client, addr = await relayed(bind, relay, reject)
    with pytest.raises(ConnectError) as caught:
        await client.connect(addr, ECHO_ALPN)
    assert caught.value.code == 2
    assert seen == [IncomingAddr.RELAY(str(relay.http_url), client.id())]


async def test_relay_ignore(bind, relay) -> None:
    ignored = asyncio.Event()

    def ignore(_incoming) -> IncomingFilterOutcome:
        ignored.set()
        return IncomingFilterOutcome.IGNORE

    client, addr = await relayed(bind, relay, ignore)
    dial = asyncio.create_task(client.connect(addr, ECHO_ALPN))
    await ignored.wait()
    assert not dial.done()
    dial.cancel()
    await asyncio.wait((dial,))


async def test_relay_retry_then_validated(bind, relay) -> None:
    validated = []

    async def retry(incoming) -> IncomingFilterOutcome:
        validated.append(await incoming.remote_addr_validated())
        accept = IncomingFilterOutcome.ACCEPT
        return accept if validated[-1] else IncomingFilterOutcome.RETRY

    client, addr = await relayed(bind, relay, retry)
    (await client.connect(addr, ECHO_ALPN)).close()
    assert validated == [False, True]


async def test_a_filter_may_ask_what_is_offered(bind) -> None:
    """Before a packet is answered, as upstream's `Incoming::decrypt` allows."""

    def only_echo(incoming) -> IncomingFilterOutcome:
        offered = incoming.offered_alpns()
        wanted = offered is not None and ECHO_ALPN in offered
        return IncomingFilterOutcome.ACCEPT if wanted else IncomingFilterOutcome.REJECT

    handlers = {ECHO_ALPN: Echo(), ALPN: Echo()}
    server, client = await bind(protocols=handlers, incoming_filter=only_echo), await bind()
    (await client.connect(server.addr(), ECHO_ALPN)).close()
    with pytest.raises(ConnectError) as caught:
        await client.connect(server.addr(), ALPN)
    assert caught.value.code == 2
