"""Handlers and their clients: what is cancelled ends its streams, and the connection stays."""

import asyncio

import pytest

from cancelling import at_step, cancels, each_step, nothing
from iroh import BiStream, Connection, StreamError, TransportConfig
from iroh.protocols import (
    PING_ALPN,
    Echo,
    Ping,
    Pipe,
    forward,
    open_pipe,
    ping,
    ping_once,
)
from iroh.protocols.files import FILES_ALPN, Download, FileShare, collect


async def talks(conn: Connection, peer: Connection) -> None:
    """Use the connection, by the next stream."""
    async with await conn.open_uni() as send:
        await send.write_all(b"still fine")
    assert await (await peer.accept_uni()).read_to_end(100) == b"still fine"


async def to_nobody(stream: BiStream, _conn: Connection) -> None:
    """Take a pipe and leave it."""


@cancels("iroh.protocols.ping", "iroh.protocols.ping_once")
async def test_pings(bind) -> None:
    """One closes its connection, the other leaves it."""
    server, client = await bind(protocols={PING_ALPN: Ping()}), await bind()

    async def still(_result: float | None) -> None:
        assert all(d.inbox.close_reason is not None for d in client._engine.drivers())

    assert await each_step(lambda: ping(client, server.addr()), still) >= 1
    conn = await client.connect(server.addr(), PING_ALPN)
    assert await each_step(lambda: ping_once(conn), nothing) >= 1
    assert await ping_once(conn) > 0
    conn.close()


@cancels("iroh.protocols.open_pipe")
async def test_opening_pipes(connect) -> None:
    config = TransportConfig(max_concurrent_bidi_streams=1)
    client, server = await connect(transport_config=config)
    first = await open_pipe(client)
    await at_step(1, lambda: open_pipe(client))
    await first[0].finish()
    theirs = await server.accept_bi()
    assert await theirs[1].read_to_end(100) == b"hello"
    await theirs[0].finish()
    assert await first[1].read_to_end(100) == b""
    again = await open_pipe(client)
    assert again[0].stream_id == first[0].stream_id + 4


@cancels(
    "iroh.protocols.Echo.accept",
    "iroh.protocols.Ping.accept",
    "iroh.protocols.Pipe.accept",
    "iroh.protocols.files.FileShare.accept",
)
async def test_serving(connect, tmp_path) -> None:
    """It ends all its streams; the connection is the router's to close."""
    (tmp_path / "file").write_bytes(b"x")
    client, server = await connect()
    for handler in (Echo(), Ping(), Pipe(to_nobody), FileShare(collect([tmp_path / "file"]))):
        await at_step(1, lambda handler=handler: handler.accept(server))
        send, recv = await client.open_bi()
        await send.write_all(b"P")
        await talks(client, server)  # the stream came before this one
        serving = asyncio.create_task(handler.accept(server))
        for _ in range(5):  # turns, in which it takes the stream and begins to read
            await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait((serving,))
        del serving
        assert len(await recv.read_to_end(100)) <= 1
        assert await send.stopped() == 0
        await talks(client, server)


class Terminal:
    """Where no data comes from; takes what comes."""

    async def read(self, _n: int) -> bytes:
        return await asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def write_eof(self) -> None: ...


@cancels("iroh.protocols.forward")
async def test_forwarding(connect) -> None:
    """Cancelling it abandons the stream, both ways."""
    client, server = await connect()
    for _ in range(2):
        stream = await client.open_bi()
        await stream[0].write_all(b"x")
        theirs = await server.accept_bi()
        await at_step(1, lambda stream=stream: forward(stream, Terminal(), Terminal()))
        with pytest.raises(StreamError, match="0"):
            await theirs[1].read_to_end(100)
        assert await theirs[0].stopped() == 0
    await talks(client, server)


@cancels("iroh.protocols.files.Download.prepare", "iroh.protocols.files.Download.run")
async def test_files(bind, tmp_path) -> None:
    """Whatever the step, it can be done again, on the same connection, and all arrives."""
    source, content = tmp_path / "from", bytes(range(256)) * 4000
    source.mkdir()
    (source / "file").write_bytes(content)
    collection = collect([source])
    server = await bind(protocols={FILES_ALPN: FileShare(collection)})
    conn = await (await bind()).connect(server.addr(), FILES_ALPN)
    here = 0

    def count(size: int) -> None:
        nonlocal here
        here += size

    with Download(collection.hash, tmp_path / "to", progress=count) as download:
        assert await each_step(lambda: download.prepare(conn), nothing) >= 2
        assert await each_step(lambda: download.run(conn), nothing) >= 2
        (found,) = download.finish()
    assert (found / "file").read_bytes() == content
    assert here == len(content)
