"""0-RTT through the public API: taken, rejected, not possible, both roles."""

import asyncio

import pytest

from iroh import (
    ConnectError,
    Endpoint,
    ProtocolHandler,
    Router,
    SecretKey,
    TransportConfig,
    ZeroRttStatus,
)
from iroh.errors import ConsumedError, HandshakePendingError

from .conftest import ALPN

KEY = SecretKey(bytes([9]) * 32)


class EarlyEcho(ProtocolHandler):
    """Echoes one stream, also one that came with the first packets."""

    def __init__(self) -> None:
        self.early: list[bool] = []

    async def on_accepting(self, accepting):
        conn = await accepting.into_0rtt()
        bi = await conn.accept_bi()
        try:
            conn.remote_id()
        except HandshakePendingError:
            self.early.append(True)
        else:
            self.early.append(False)
        data = await bi.recv().read_to_end(100)
        await bi.send().write_all(data)
        await bi.send().finish()
        return await conn.handshake_completed()

    async def accept(self, conn) -> None:
        await conn.closed()


async def leave_ticket(client: Endpoint, server: Endpoint) -> None:
    """Connect once, and talk: the ticket is there before the answer is."""
    async with await client.connect(server.addr(), ALPN) as conn:
        assert await ask(conn, b"first") == b"first"


async def ask(conn, data: bytes) -> bytes:
    send, recv = await conn.open_bi()
    await send.write_all(data)
    await send.finish()
    return await recv.read_to_end(100)


async def test_data_in_the_first_flight(bind) -> None:
    server, client, echo = await bind(secret_key=KEY), await bind(), EarlyEcho()
    async with Router(server, {ALPN: echo}):
        assert (await client.connect_pending(server.addr(), ALPN)).into_0rtt() is None
        await leave_ticket(client, server)
        connecting = await client.connect_pending(server.addr(), ALPN)
        early = connecting.into_0rtt()
        assert early is not None
        assert early.remote_id() == server.id()
        assert early.alpn() == ALPN
        answer = asyncio.create_task(ask(early, b"early"))
        status = await early.handshake_completed()
        assert isinstance(status, ZeroRttStatus.ACCEPTED)
        assert status.is_accepted()
        assert status.connection is early
        assert await answer == b"early"
        assert await early.handshake_completed() == status
        assert await ask_more(status.connection) is None
        early.close(3)
        with pytest.raises(ConsumedError):
            connecting.into_0rtt()
    assert (
        client.stats()["socket:num_conns_opened"].value == 2
    )  # registered once, not for each call


async def ask_more(conn) -> None:
    assert len(conn.paths()) >= 1
    assert conn.stats().udp_tx_datagrams > 0


async def test_rejected_data_is_sent_again(bind) -> None:
    """A server that was started anew knows no tickets."""
    first, client = await bind(secret_key=KEY), await bind()
    async with Router(first, {ALPN: EarlyEcho()}):
        await leave_ticket(client, first)
    second, echo = await bind(secret_key=KEY), EarlyEcho()
    async with Router(second, {ALPN: echo}):
        early = (await client.connect_pending(second.addr(), ALPN)).into_0rtt()
        assert early is not None
        answer = asyncio.create_task(ask(early, b"again"))
        status = await early.handshake_completed()
        assert status.is_rejected()
        assert await answer == b"again"
        early.close()


async def test_tickets_of_others_do_not_disturb(bind) -> None:
    """Upstream test_0rtt_non_consecutive: a server met in between has tickets of its own."""
    client = await bind()
    server, another = [await bind(protocols={ALPN: EarlyEcho()}) for _ in range(2)]
    await leave_ticket(client, server)
    await leave_ticket(client, another)
    early = (await client.connect_pending(server.addr(), ALPN)).into_0rtt()
    assert early is not None
    assert await ask(early, b"early") == b"early"
    assert (await early.handshake_completed()).is_accepted()
    early.close()


async def test_a_dial_without_its_chance_goes_on(bind) -> None:
    server, client = await bind(), await bind()
    async with Router(server, {ALPN: EarlyEcho()}):
        connecting = await client.connect_pending(server.addr(), ALPN)
        assert connecting.into_0rtt() is None
        conn = await connecting
        assert await ask(conn, b"plain") == b"plain"
        conn.close()


async def test_an_early_connection_that_fails(bind) -> None:
    server, client = await bind(secret_key=KEY), await bind()
    async with Router(server, {ALPN: EarlyEcho()}):
        await leave_ticket(client, server)
        server.set_alpns([])
        early = (await client.connect_pending(server.addr(), ALPN)).into_0rtt()
        assert early is not None
        with pytest.raises(ConnectError):
            await early.handshake_completed()


async def test_an_early_connection_that_nobody_keeps_is_closed(bind) -> None:
    server, client = await bind(secret_key=KEY), await bind()
    async with Router(server, {ALPN: EarlyEcho()}):
        await leave_ticket(client, server)
        early = (await client.connect_pending(server.addr(), ALPN)).into_0rtt()
        del early
        await asyncio.sleep(0)
        assert all(driver.inbox.close_reason for driver in client._engine.drivers())


async def test_the_listener_may_speak_first(bind) -> None:
    """0.5-RTT: the server writes before the client's handshake is complete."""
    server, client = await bind(alpns=[ALPN]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    early = await (await (await server.accept_next()).accept()).into_0rtt()
    with pytest.raises(HandshakePendingError):
        early.remote_id()
    assert "somebody" in repr(early)
    send = await early.open_uni()
    await send.write_all(b"welcome")
    await send.finish()
    conn = await early.handshake_completed()
    assert conn.remote_id() == client.id()
    assert await (await (await dial).accept_uni()).read_to_end(10) == b"welcome"


async def test_cancelling_the_wait_for_the_handshake_is_harmless(bind) -> None:
    server, client = await bind(secret_key=KEY), await bind()
    async with Router(server, {ALPN: EarlyEcho()}):
        await leave_ticket(client, server)
        early = (await client.connect_pending(server.addr(), ALPN)).into_0rtt()
        assert early is not None
        for turns in range(6):
            waiting = asyncio.create_task(early.handshake_completed())
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait((waiting,))
        assert (await early.handshake_completed()).is_accepted()
        assert await ask(early, b"fine") == b"fine"
        early.close()


async def test_settings_for_one_connection(bind) -> None:
    server, client = await bind(alpns=[b"c", b"b"]), await bind()
    few = TransportConfig(max_concurrent_bidi_streams=2)
    dial = asyncio.create_task(
        client.connect(server.addr(), b"a", additional_alpns=[b"b", b"c"], transport_config=few)
    )
    incoming = await server.accept_next()
    assert incoming is not None
    accepting = await incoming.accept_with(alpns=[b"b"], transport_config=few)
    accepted, dialled = await accepting, await dial
    assert accepted.alpn() == dialled.alpn() == b"b"
    for one in (accepted, dialled):
        opened = [await one.open_bi() for _ in range(2)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.open_bi(), 0.01)
        assert len(opened) == 2


async def test_the_listener_chooses_among_the_diallers_alpns(bind) -> None:
    server, client = await bind(alpns=[b"c", b"b"]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), b"a", additional_alpns=[b"b", b"c"]))
    await (await server.accept_next())
    assert (await dial).alpn() == b"c"
