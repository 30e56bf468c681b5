import array
import asyncio
import gc

import pytest

from iroh import (
    FinishedEarlyError,
    IrohError,
    IrohErrorKind,
    ReadTooLongError,
    StreamError,
    StreamResetError,
    StreamStoppedError,
)


@pytest.fixture
async def streams(connect):
    client, server = await connect()
    send, recv = await client.open_bi()
    await send.write_all(b"x")
    peer_send, peer_recv = await server.accept_bi()
    assert await peer_recv.read(1) == b"x"
    return send, recv, peer_send, peer_recv


async def test_bytes_arrive_in_order_and_end(streams) -> None:
    send, _, _, peer_recv = streams
    data = bytes(range(256)) * 4096

    async def write() -> None:
        await send.write_all(data)
        await send.finish()

    task = asyncio.create_task(write())
    assert await peer_recv.read_to_end(len(data)) == data
    await task
    assert await peer_recv.read() == b""
    assert await peer_recv.bytes_read() == len(data) + 1
    assert await send.stopped() is None


async def test_both_halves_carry_data_at_once(streams) -> None:
    send, recv, peer_send, peer_recv = streams
    data = b"z" * 300_000

    async def one_way(out, into) -> bytes:
        async with out:
            await asyncio.gather(out.write_all(data), asyncio.sleep(0))
        return await into.read_to_end(len(data))

    assert await asyncio.gather(one_way(send, peer_recv), one_way(peer_send, recv)) == [data] * 2


async def test_a_reader_that_does_not_read_holds_the_writer_back(streams) -> None:
    send, _, _, peer_recv = streams
    written = 0

    async def write_for_ever() -> None:
        nonlocal written
        while True:
            await send.write_all(b"w" * 65_536)
            written += 65_536

    writer = asyncio.create_task(write_for_ever())
    progress = -1
    while progress != written:  # until it makes no progress for a good number of loop turns
        progress = written
        for _ in range(2000):
            await asyncio.sleep(0)
    stalled_at = written
    assert stalled_at < 16_000_000
    taken = 0
    while written == stalled_at:
        taken += len(await peer_recv.read())
    assert taken <= stalled_at + 65_536
    writer.cancel()
    await asyncio.wait((writer,))


async def test_read_exact_and_its_early_end(streams) -> None:
    send, _, _, peer_recv = streams
    await send.write_all(b"abcdef")
    assert await peer_recv.read_exact(4) == b"abcd"
    await send.finish()
    with pytest.raises(FinishedEarlyError) as caught:
        await peer_recv.read_exact(5)
    assert caught.value.partial == b"ef"
    assert isinstance(caught.value, EOFError)
    assert caught.value.message() == "FinishedEarly(2)"


async def test_read_to_end_has_a_limit_and_stops_the_sender(streams) -> None:
    send, _, _, peer_recv = streams
    await send.write_all(b"1234567890")
    await send.finish()
    with pytest.raises(ReadTooLongError) as caught:
        await peer_recv.read_to_end(9)
    assert caught.value.message() == "TooLong"
    assert caught.value.is_kind(IrohErrorKind.STREAM)


async def test_reset_reaches_the_reader(streams) -> None:
    send, _, _, peer_recv = streams
    await send.reset(42)
    with pytest.raises(StreamResetError) as caught:
        await peer_recv.read_to_end(100)
    assert caught.value.code == 42
    assert await peer_recv.received_reset() == 42
    with pytest.raises(IrohError) as again:
        await send.reset(42)
    assert again.value.is_kind(IrohErrorKind.CLOSED)


async def test_stop_reaches_the_writer(streams) -> None:
    send, _, _, peer_recv = streams
    await peer_recv.stop(9)
    assert await send.stopped() == 9
    with pytest.raises(StreamStoppedError) as caught:
        await send.write_all(b"more")
    assert caught.value.code == 9
    assert caught.value.message() == "Stopped(9)"
    await send.finish()  # as in the bindings: no error, there is nothing left to finish


async def test_a_blocked_writer_wakes_when_it_is_stopped(streams) -> None:
    send, _, _, peer_recv = streams

    async def write_for_ever() -> None:
        while True:
            await send.write_all(b"w" * 65_536)

    writer = asyncio.create_task(write_for_ever())
    for _ in range(2000):
        await asyncio.sleep(0)
    await peer_recv.stop(3)
    with pytest.raises(StreamStoppedError):
        await writer


async def test_writing_after_the_end_is_an_error(streams) -> None:
    send, *_ = streams
    await send.finish()
    with pytest.raises(StreamError) as caught:
        await send.write(b"late")
    assert caught.value.message() == "ClosedStream"
    with pytest.raises(IrohError) as again:
        await send.finish()
    assert again.value.message() == "ClosedStream { _private: () }"


async def test_context_manager_finishes_or_resets(connect) -> None:
    client, server = await connect()
    async with await client.open_uni() as send:
        await send.write_all(b"good")
    assert await (await server.accept_uni()).read_to_end(10) == b"good"

    async def fail() -> None:
        async with await client.open_uni() as send:
            await send.write_all(b"bad")
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    with pytest.raises(StreamResetError):
        await (await server.accept_uni()).read_to_end(10)


async def test_a_dropped_sender_finishes_and_a_dropped_receiver_stops(connect) -> None:
    client, server = await connect()
    send = await client.open_uni()
    await send.write_all(b"bye")
    del send
    gc.collect()
    assert await (await server.accept_uni()).read_to_end(10) == b"bye"

    send = await client.open_uni()
    await send.write_all(b"?")
    recv = await server.accept_uni()
    del recv
    gc.collect()
    assert await send.stopped() == 0


async def test_iterating_gives_every_chunk(streams) -> None:
    send, _, _, peer_recv = streams
    await send.write_all(b"a" * 100_000)
    await send.finish()
    assert b"".join([chunk async for chunk in peer_recv]) == b"a" * 100_000


async def test_names_and_priorities(connect) -> None:
    client, server = await connect()
    bi, uni = await client.open_bi(), await client.open_uni()
    assert await bi.send().id() == "client bidirectional stream 0"
    assert await bi.recv().id() == "client bidirectional stream 0"
    assert await uni.id() == "client unidirectional stream 0"
    assert await (await server.open_uni()).id() == "server unidirectional stream 0"
    assert await uni.priority() == 0
    await uni.set_priority(7)
    assert await uni.priority() == 7


async def test_cancelling_a_read_loses_nothing(streams) -> None:
    send, _, _, peer_recv = streams
    read = asyncio.create_task(peer_recv.read())
    await asyncio.sleep(0)
    read.cancel()
    await asyncio.wait((read,))
    await send.write_all(b"still here")
    assert await peer_recv.read() == b"still here"


async def test_a_thousand_streams_one_hundred_at_a_time(connect) -> None:
    client, server = await connect()

    async def serve() -> None:
        while True:
            send, recv = await server.accept_bi()
            await send.write_all(await recv.read_to_end(100))
            await send.finish()

    async def ask(number: int) -> bytes:
        send, recv = await client.open_bi()
        await send.write_all(str(number).encode())
        await send.finish()
        return await recv.read_to_end(100)

    server_task = asyncio.create_task(serve())
    answers = await asyncio.gather(*map(ask, range(1000)))
    assert answers == [str(number).encode() for number in range(1000)]
    server_task.cancel()
    await asyncio.wait((server_task,))


async def test_bytes_like_objects_are_copied(streams) -> None:
    send, _, _, peer_recv = streams
    data = bytearray(b"abc" * 400_000)
    expected = bytes(data)

    async def write() -> None:
        assert await send.write(memoryview(b"xy")[1:]) == 1
        task = asyncio.create_task(send.write_all(data))
        await asyncio.sleep(0)
        await task
        data[:] = bytes(len(data))
        await send.write_all(array.array("I", [1, 2]))
        await send.finish()

    task = asyncio.create_task(write())
    assert await peer_recv.read_to_end(2_000_000) == b"y" + expected + bytes(
        array.array("I", [1, 2])
    )
    await task
    with pytest.raises(TypeError):
        await send.write("text")


async def test_writing_nothing_is_no_wait(streams) -> None:
    send, _, _, peer_recv = streams
    assert await send.write(b"") == 0
    await send.write_all(b"")
    await send.finish()
    assert await peer_recv.read_to_end(0) == b""


async def test_sizes_and_codes_are_checked(streams) -> None:
    send, recv, *_ = streams
    for call in (recv.read, recv.read_exact, recv.read_to_end):
        with pytest.raises(ValueError, match=">= 0"):
            await call(-1)
    with pytest.raises(ValueError, match="error_code"):
        await send.reset(2**62)
    for call in (send.reset, recv.stop):
        with pytest.raises(TypeError):
            await call(1.5)
    assert await recv.read(0) == b""
    assert await recv.read_exact(0) == b""


async def test_reset_after_finish_while_data_is_on_its_way(streams) -> None:
    send, _, _, peer_recv = streams
    await send.write_all(b"abandoned" * 50_000)
    await send.finish()
    await send.reset(7)
    assert await send.stopped() is None
    with pytest.raises(IrohError) as again:
        await send.reset(7)
    assert again.value.is_kind(IrohErrorKind.CLOSED)
    with pytest.raises(StreamResetError):
        await peer_recv.read_to_end(1_000_000)


async def test_reset_after_everything_arrived_is_refused(streams) -> None:
    send, _, _, peer_recv = streams
    await send.finish()
    await peer_recv.read_to_end(10)
    assert await send.stopped() is None
    with pytest.raises(IrohError) as caught:
        await send.reset(7)
    assert caught.value.is_kind(IrohErrorKind.CLOSED)


async def test_finish_and_reset_after_the_peer_stopped(streams) -> None:
    send, _, _, peer_recv = streams
    await peer_recv.stop(9)
    assert await send.stopped() == 9
    await send.finish()
    await send.reset(1)
    assert await send.stopped() == 9


async def test_a_reset_is_told_again_and_again(streams) -> None:
    send, _, _, peer_recv = streams
    await send.reset(42)
    for call in (peer_recv.read, lambda: peer_recv.read_exact(1), lambda: peer_recv.read_to_end(9)):
        with pytest.raises(StreamResetError) as caught:
            await call()
        assert caught.value.code == 42
    with pytest.raises(StreamResetError):
        async for _ in peer_recv:
            pass
    with pytest.raises(IrohError) as stopped:
        await peer_recv.stop(1)
    assert stopped.value.is_kind(IrohErrorKind.CLOSED)


async def test_reading_after_stop(streams) -> None:
    _, _, _, peer_recv = streams
    waiting = asyncio.create_task(peer_recv.read())
    await asyncio.sleep(0)
    await peer_recv.stop(3)
    assert await waiting == b""
    assert await peer_recv.read() == b""
    assert await peer_recv.received_reset() is None
    with pytest.raises(StreamError) as caught:
        await peer_recv.read_to_end(10)
    assert caught.value.message() == "Read(ClosedStream)"


async def test_received_reset_takes_nothing_from_the_reader(streams) -> None:
    send, _, _, peer_recv = streams
    waiting = asyncio.create_task(peer_recv.received_reset())
    await send.write_all(b"all of it")
    await send.finish()
    assert await peer_recv.read_exact(9) == b"all of it"
    assert await peer_recv.read() == b""
    assert await waiting is None


async def test_received_reset_ends_when_the_last_byte_is_read(streams) -> None:
    send, _, _, peer_recv = streams
    await send.write_all(b"all")
    await send.finish()
    assert await send.stopped() is None  # the end is there, too
    waiting = asyncio.create_task(peer_recv.received_reset())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await peer_recv.read_exact(3) == b"all"
    assert await waiting is None


async def test_two_readers_share_a_stream(streams) -> None:
    send, _, _, peer_recv = streams
    readers = [asyncio.create_task(peer_recv.read(1)) for _ in range(3)]
    await asyncio.sleep(0)
    await send.write_all(b"ab")
    await send.finish()
    assert sorted(await asyncio.gather(*readers)) == [b"", b"a", b"b"]


async def test_stream_handles_name_themselves(streams) -> None:
    send, recv, *_ = streams
    assert repr(send) == "<SendStream: client bidirectional stream 0>"
    assert repr(recv) == "<RecvStream: client bidirectional stream 0>"


async def test_a_peer_that_resets_what_nobody_accepts_is_held_back(connect) -> None:
    """Streams that wait for accept count against the limit: no flood of them can grow."""
    client, server = await connect()

    async def flood() -> None:
        while True:
            send = await client.open_uni()
            await send.write(b"x")
            await send.reset(1)

    task = asyncio.create_task(flood())
    for _ in range(3000):
        await asyncio.sleep(0)
    assert len(server._driver.inbox._opened[1]) == 100
    task.cancel()
    await asyncio.wait((task,))
