"""QUIC streams for code that is written for asyncio's readers and writers."""

import asyncio

import pytest

from iroh import ConnectionLostError, asyncio_streams
from iroh.asyncio_streams import HIGH_WATER
from iroh.errors import StreamLostError, StreamResetError


async def pair(connect):
    client, server = await connect()
    ours = await client.open_bi()
    reader, writer = asyncio_streams(ours)
    writer.write(b"hello\n")
    return client, server, reader, writer, await server.accept_bi()


async def closed(writer) -> None:
    writer.close()
    await writer.wait_closed()


async def test_lines_both_ways(connect) -> None:
    client, server, reader, writer, theirs = await pair(connect)
    their_reader, their_writer = asyncio_streams(theirs)
    assert await their_reader.readline() == b"hello\n"
    their_writer.writelines([b"one\n", b"two\nrest"])
    their_writer.write_eof()
    assert await reader.readline() == b"one\n"
    assert await reader.readuntil(b"o") == b"two"[:3]
    assert await reader.read() == b"\nrest"
    assert reader.at_eof()
    assert writer.can_write_eof()
    await closed(writer)
    assert await their_reader.read() == b""
    await closed(their_writer)
    assert (client.close_reason(), server.close_reason()) == (None, None)


async def test_backpressure_both_ways(connect) -> None:
    client, server, reader, writer, theirs = await pair(connect)
    data = bytes(range(256)) * 65_536  # 16 MiB: more than the windows of both ends
    writer.write(data)
    assert writer.transport.get_write_buffer_size() > HIGH_WATER
    draining = asyncio.create_task(writer.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    received = bytearray()
    while len(received) < len(data) + 6:
        received += await theirs.recv().read()
    assert received == b"hello\n" + data
    await draining
    sending = asyncio.create_task(theirs.send().write_all(data))
    assert await reader.readexactly(len(data)) == data
    await sending
    await closed(writer)
    assert client.remote_id() != server.remote_id()


async def test_a_reset_is_raised_in_the_reader(connect) -> None:
    _client, _server, reader, writer, theirs = await pair(connect)
    await theirs.send().write_all(b"x")
    await theirs.send().reset(9)
    with pytest.raises(StreamResetError):
        await reader.readexactly(2)
    await closed(writer)


async def test_a_lost_connection_is_raised_in_both(connect) -> None:
    _client, server, reader, writer, _theirs = await pair(connect)
    server.close(5)
    with pytest.raises(ConnectionError):
        await reader.read()
    writer.write(b"more")
    with pytest.raises(StreamLostError):
        await writer.wait_closed()
    assert writer.is_closing()
    assert issubclass(StreamLostError, ConnectionError)
    assert issubclass(ConnectionLostError, ConnectionError)


async def test_abort_resets(connect) -> None:
    _client, _server, _reader, writer, theirs = await pair(connect)
    assert await theirs.recv().read() == b"hello\n"
    writer.transport.abort()
    assert await theirs.recv().received_reset() == 0
    assert await theirs.send().stopped() == 0
    await writer.wait_closed()
    with pytest.raises(RuntimeError, match="cannot write"):
        writer.write(b"late")
    assert writer.get_extra_info("send_stream") is not None
