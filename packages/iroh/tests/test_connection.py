import asyncio
import gc

import pytest

from iroh import (
    ConnectionLostError,
    DatagramError,
    IrohErrorKind,
    Side,
    StreamError,
)


async def test_both_ends_know_each_other(connect) -> None:
    client, server = await connect()
    assert client.side() is Side.CLIENT
    assert server.side() is Side.SERVER
    assert client.alpn() == server.alpn() == b"test/0"
    assert client.remote_id() != server.remote_id()
    assert client.stable_id() != server.stable_id()
    (path,) = client.paths()
    assert path.is_selected
    assert path.is_ip
    assert not path.is_relay
    assert path.remote_addr.startswith("127.0.0.1:")
    assert client.rtt() >= 1
    assert client.stats().udp_tx_datagrams > 0


async def test_close_code_and_reason_reach_the_other_side(connect) -> None:
    client, server = await connect()
    waiting = asyncio.create_task(server.accept_bi())
    await asyncio.sleep(0)
    assert client.close_reason() is None
    client.close(5, b"bye")
    assert await client.closed() == "closed"
    assert client.close_reason().kind == "LocallyClosed"
    closed = await server.closed()
    assert closed == "closed by peer: bye (code 5)"
    assert (closed.kind, closed.code, closed.reason.reason) == ("ApplicationClosed", 5, b"bye")
    with pytest.raises(ConnectionLostError) as caught:
        await waiting
    assert caught.value.code == 5
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.message() == (
        'ApplicationClosed(ApplicationClose { error_code: 5, reason: b"bye" })'
    )


async def test_after_our_own_close_every_operation_says_so(connect) -> None:
    client, _ = await connect()
    send, recv = await client.open_bi()
    client.close(0, b"")
    for operation in (client.open_bi, client.open_uni, client.accept_bi, client.read_datagram):
        with pytest.raises(ConnectionLostError) as caught:
            await operation()
        assert caught.value.message() == "LocallyClosed"
    with pytest.raises(StreamError, match="closed"):
        await send.write_all(b"x")
    with pytest.raises(StreamError, match="closed"):
        await recv.read()
    with pytest.raises(DatagramError) as gone:
        client.send_datagram(b"x")
    assert gone.value.message() == "ConnectionLost(LocallyClosed)"
    client.close(1, b"again")  # does nothing
    assert await client.closed() == "closed"


async def test_bad_close_codes_are_refused(connect) -> None:
    client, _ = await connect()
    for code in (-1, 2**62):
        with pytest.raises(ValueError, match="error_code must be"):
            client.close(code, b"")


async def test_what_arrived_before_the_close_can_be_read(connect) -> None:
    client, server = await connect()
    send = await client.open_uni()
    await send.write_all(b"last words")
    recv = await server.accept_uni()
    assert await recv.read(4) == b"last"
    client.close(0, b"")
    await server.closed()
    assert await recv.read() == b" words"
    with pytest.raises(StreamError):
        await recv.read()


async def test_datagrams(connect) -> None:
    client, server = await connect()
    size = client.max_datagram_size()
    assert size >= 1000
    client.send_datagram(b"d" * size)
    await client.send_datagram_wait(b"second")
    assert await server.read_datagram() == b"d" * size
    assert await server.read_datagram() == b"second"
    with pytest.raises(DatagramError) as caught:
        client.send_datagram(b"d" * (client.max_datagram_size() + 1))
    assert caught.value.message() == "TooLarge"
    assert caught.value.is_kind(IrohErrorKind.DATAGRAM)
    assert client.datagram_send_buffer_space() > 0


async def test_dropping_the_last_handle_closes_the_connection(connect) -> None:
    client, server = await connect()
    send = await client.open_uni()
    await send.write_all(b"x")
    del client
    gc.collect()
    assert server.close_reason() is None  # the stream still holds it
    recv = await server.accept_uni()
    assert await recv.read() == b"x"
    del send
    gc.collect()
    assert await server.closed() == "closed by peer: 0"


async def test_async_with_closes(connect) -> None:
    client, server = await connect()
    async with client:
        pass
    assert await server.closed() == "closed by peer: 0"


async def test_stream_limits_can_be_changed(connect) -> None:
    client, server = await connect()
    for _ in range(100):
        await client.open_uni()
    blocked = asyncio.create_task(client.open_uni())
    await asyncio.sleep(0)
    assert not blocked.done()
    server.set_max_concurrent_uni_streams(101)
    await blocked


async def test_exported_keys_agree(connect) -> None:
    client, server = await connect()
    key = client.export_keying_material(32, b"test label", b"context")
    assert key == server.export_keying_material(32, b"test label", b"context")
    assert key != server.export_keying_material(32, b"test label", b"other")
