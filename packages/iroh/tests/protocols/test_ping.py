import contextlib

import pytest

from iroh import EndpointClosedError, StreamError
from iroh.protocols import PING_ALPN, Ping, PingError, ping, ping_once


async def test_a_ping_is_answered_and_the_connection_closed_as_upstream_does(bind) -> None:
    handler = Ping()
    closed = []

    class Watched(Ping):
        async def accept(self, conn) -> None:
            await handler.accept(conn)
            closed.append(conn.close_reason())

    server, client = await bind(protocols={PING_ALPN: Watched()}), await bind()
    assert 0 < await ping(client, server.addr()) < 60
    await server.close()
    assert handler.answered == 1
    assert closed == ["closed by peer: bye! (code 0)"]


async def test_many_pings_on_one_connection(bind) -> None:
    handler = Ping()
    server, client = await bind(protocols={PING_ALPN: handler}), await bind()
    async with await client.connect(server.addr(), PING_ALPN) as conn:
        for _ in range(5):
            assert await ping_once(conn) > 0
    assert handler.answered == 5


@pytest.mark.parametrize("said", [b"PONG", b"PING?", b"", b"x" * 100_000])
async def test_what_is_no_ping_is_not_answered(bind, said) -> None:
    server, client = await bind(protocols={PING_ALPN: Ping()}), await bind()
    async with await client.connect(server.addr(), PING_ALPN) as conn:
        send, recv = await conn.open_bi()
        with contextlib.suppress(StreamError):  # stopped while we write
            await send.write_all(said)
            await send.finish()
        with pytest.raises(StreamError):
            await recv.read_to_end(100)
        assert await ping_once(conn) > 0  # the connection goes on


async def test_an_answer_that_is_no_pong(bind) -> None:
    async def wrong(conn) -> None:
        send, _ = await conn.accept_bi()
        await send.write_all(b"PANG")
        await send.finish()
        await conn.closed()

    server, client = await bind(protocols={PING_ALPN: wrong}), await bind()
    with pytest.raises(PingError, match="answered b'PANG' instead of a pong"):
        await ping(client, server.addr())
    await client.close()
    with pytest.raises(EndpointClosedError):
        await ping(client, server.addr())
