import asyncio
import copy
import gc
import pickle

import pytest

from iroh import (
    Connection,
    ConnectionLostError,
    DatagramError,
    IrohErrorKind,
    PathEvent,
    Side,
    StreamError,
    TransportConfig,
)
from iroh_base import InvalidInputError

from .conftest import ALPN


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


async def test_who_closes_at_once_was_connected_all_the_same(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()

    async def accept() -> Connection:
        return await (await server.accept_next())

    accepting = asyncio.create_task(accept())
    (await client.connect(server.addr(), ALPN)).close(7, b"never mind")
    accepted = await accepting  # the client's Finished left before its application had a turn
    assert accepted.remote_id() == client.id()
    assert (await accepted.closed()).code == 7


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


async def test_datagrams_by_the_dozen(connect) -> None:
    client, server = await connect()
    sent = [bytes([i]) * 10 for i in range(12)]
    assert client.send_many_datagrams(sent) == 12
    assert client.send_many_datagrams([]) == 0
    received = []
    while len(received) < 12:
        received += (few := await server.read_many_datagrams(5))
        assert 1 <= len(few) <= 5
    assert received == sent
    with pytest.raises(DatagramError) as caught:
        client.send_many_datagrams([b"small", bytes(70_000)])
    assert caught.value.message() == "TooLarge"
    with pytest.raises(InvalidInputError):
        await server.read_many_datagrams(0)
    client.close()
    with pytest.raises(DatagramError):
        client.send_many_datagrams([b"late"])
    with pytest.raises(ConnectionLostError):
        await server.read_many_datagrams(5)


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


async def test_a_reader_that_is_late_gets_the_newest_datagrams(connect) -> None:
    config = TransportConfig(datagram_receive_buffer_size=5000)
    client, server = await connect(transport_config=config)
    there, back = await client.open_bi()
    await there.write_all(b"-")
    server_back, server_there = await server.accept_bi()
    for number in range(21):
        if number < 20:
            client.send_datagram(bytes([number]) * 1000)
        await there.write_all(b"?")  # once it is answered, the datagram has long arrived
        await server_there.read()
        await server_back.write_all(b"!")
        await back.read()
    assert [(await server.read_datagram())[0] for _ in range(5)] == [15, 16, 17, 18, 19]
    assert server._driver.inbox.datagrams_dropped == 15


async def test_waiting_to_send_a_datagram_that_never_fits(connect) -> None:
    client, _ = await connect(transport_config=TransportConfig(datagram_send_buffer_size=100))
    for size in (500, 65_000):  # more than the buffer, more than a packet
        with pytest.raises(DatagramError) as caught:
            await client.send_datagram_wait(b"x" * size)
        assert caught.value.message() == "TooLarge"
    client.close()
    with pytest.raises(DatagramError) as gone:
        await client.send_datagram_wait(b"x")
    assert gone.value.message() == "ConnectionLost(LocallyClosed)"


async def test_wrong_types_are_refused_at_once(connect) -> None:
    client, server = await connect()
    with pytest.raises(TypeError):
        client.send_datagram("text")
    with pytest.raises(TypeError):
        client.close(1.5, b"")
    with pytest.raises(TypeError):
        client.close(0, "text")
    for setter in (client.set_max_concurrent_bi_streams, client.set_receive_window):
        with pytest.raises(ValueError, match="between 0 and"):
            setter(-1)
    with pytest.raises(ValueError, match=r".+"):
        client.export_keying_material(1 << 20, b"label")
    client.send_datagram(memoryview(bytearray(b"fine")))
    assert await server.read_datagram() == b"fine"


async def test_asking_after_the_end_is_harmless(connect) -> None:
    client, _ = await connect()
    client.close(3, b"bye")
    client.set_max_concurrent_bi_streams(5)
    client.set_max_concurrent_uni_streams(5)
    client.set_receive_window(5)
    assert client.paths() == []
    assert client.rtt() is None
    assert client.stats().udp_tx_datagrams > 0
    assert client.datagram_send_buffer_space() >= 0
    assert client.side() is Side.CLIENT
    assert "closed" in repr(client)


def test_an_enum_of_variants_has_no_instances_of_its_own() -> None:
    with pytest.raises(RuntimeError, match="cannot be instantiated"):
        PathEvent()
    lagged = PathEvent.LAGGED(missed=3)
    assert (lagged.is_lagged(), lagged.is_selected()) == (True, False)
    match lagged:
        case PathEvent.LAGGED(missed=missed):
            assert missed == 3
    assert copy.copy(lagged) == pickle.loads(pickle.dumps(lagged)) == lagged
