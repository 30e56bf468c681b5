"""Streams: what is cancelled reads nothing away, writes nothing or a first part, and goes on."""

from cancelling import at_step, cancels, each_step
from iroh import TransportConfig

SMALL = TransportConfig(send_window=1000, stream_receive_window=1000)


async def incoming(client, server):
    """A stream of which one byte has been read."""
    send = await client.open_uni()
    await send.write_all(b"-")
    recv = await server.accept_uni()
    assert await recv.read() == b"-"
    return send, recv


@cancels("iroh.RecvStream.read")
async def test_reading_loses_nothing(connect) -> None:
    send, recv = await incoming(*await connect())
    read, written = b"", b""

    async def write_and_read() -> bytes:
        nonlocal written
        written += b"abc"
        await send.write_all(b"abc")
        return await recv.read(2)

    async def note(data: bytes | None) -> None:
        nonlocal read
        read += data or b""

    assert await each_step(write_and_read, note) >= 1
    await at_step(1, lambda: drained(recv, note))
    await send.finish()
    assert read + await recv.read_to_end(100) == written


async def drained(recv, note) -> None:
    while True:
        await note(await recv.read())


@cancels("iroh.RecvStream.read_exact", "iroh.RecvStream.read_to_end")
async def test_what_was_read_so_far_is_lost_and_no_more(connect) -> None:
    client, server = await connect()
    send, recv = await incoming(client, server)
    await at_step(1, lambda: recv.read_exact(3))
    for read in (lambda: recv.read_exact(3), lambda: recv.read_to_end(100)):
        await send.write_all(b"ab")
        await incoming(client, server)  # another stream, which comes after this
        before = await recv.bytes_read()
        await at_step(1, read)
        assert await recv.bytes_read() == before + 2
        await send.write_all(b"cde")
        assert await recv.read_exact(3) == b"cde"
    await send.write_all(b"end")
    await send.finish()
    assert await recv.read_to_end(100) == b"end"


@cancels("iroh.RecvStream.received_reset", "iroh.SendStream.stopped")
async def test_waiting_for_the_ends(connect) -> None:
    send, recv = await incoming(*await connect())
    await at_step(1, send.stopped)
    await at_step(1, recv.received_reset)
    await send.write_all(b"data")
    assert await recv.read_exact(4) == b"data"
    await send.reset(5)
    assert await recv.received_reset() == 5
    assert await send.stopped() is None
    assert recv._end_watchers == 0


@cancels("iroh.SendStream.write", "iroh.SendStream.write_all")
async def test_writing_into_a_full_stream(connect) -> None:
    client, server = await connect(transport_config=SMALL)
    send, recv = await incoming(client, server)
    written = 0

    async def fill() -> None:
        nonlocal written
        while True:
            written += await send.write(b"w" * 400)

    await at_step(1, fill)
    before = written
    await at_step(1, lambda: send.write(b"never"))  # writes nothing
    read = len(await recv.read_exact(before))
    assert read == before == written
    await at_step(1, lambda: send.write_all(b"f" * 50_000))  # a first part
    await send.finish()
    rest = await recv.read_to_end(50_000)
    assert rest == b"f" * len(rest)
    assert 0 < len(rest) < 50_000
    assert len(client._driver.inbox.waiters) == 0
