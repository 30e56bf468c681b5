import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from iroh import StreamError, StreamResetError, StreamStoppedError
from iroh.protocols import PIPE_ALPN, Pipe, PipeError, forward, open_pipe, to_tcp, to_unix
from iroh.protocols.pipe import HANDSHAKE

DATA = bytes(range(256)) * 5000


class Sink:
    """A writer that keeps everything."""

    def __init__(self, error: Exception | None = None) -> None:
        self.data, self.ended, self.error = b"", asyncio.Event(), error
        self.got = asyncio.Event()

    def write(self, data: bytes) -> None:
        if self.error:
            raise self.error
        self.data += data
        self.got.set()

    async def drain(self) -> None: ...

    def write_eof(self) -> None:
        self.ended.set()


def source(*data: bytes, eof: bool = True) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for each in data:
        reader.feed_data(each)
    if eof:
        reader.feed_eof()
    return reader


@asynccontextmanager
async def tcp_echo(answer: bytes = b"") -> AsyncIterator[int]:
    """A TCP server that reads to the end, then sends it all back, or an answer of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer or await reader.read())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def through(client, server, data: bytes) -> bytes:
    """Send data through a pipe; what comes back."""
    async with await client.connect(server.addr(), PIPE_ALPN) as conn:
        sink = Sink()
        await forward(await open_pipe(conn), source(data), sink)
        assert sink.ended.is_set()
        return sink.data


async def test_both_ways_through_a_tcp_connection(bind) -> None:
    async with tcp_echo() as port:
        server = await bind(protocols={PIPE_ALPN: Pipe(to_tcp("127.0.0.1", port))})
        client = await bind()
        assert await through(client, server, DATA) == DATA
        assert await through(client, server, b"") == b""


async def test_many_pipes_of_one_connection(bind) -> None:
    async with tcp_echo() as port:
        server = await bind(protocols={PIPE_ALPN: Pipe(to_tcp("127.0.0.1", port))})
        client = await bind()
        async with await client.connect(server.addr(), PIPE_ALPN) as conn:

            async def one(data: bytes) -> bytes:
                sink = Sink()
                await forward(await open_pipe(conn), source(data), sink)
                return sink.data

            datas = [bytes([i]) * 30_000 for i in range(150)]  # more than there is room for
            assert await asyncio.gather(*map(one, datas)) == datas


@pytest.mark.skipif(
    not hasattr(asyncio, "open_unix_connection"), reason="this system has no Unix sockets"
)
async def test_a_unix_socket(bind, tmp_path) -> None:
    path = str(tmp_path / "s")

    async def serve(reader, writer) -> None:
        writer.write((await reader.read()).upper())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, path):
        server, client = await bind(protocols={PIPE_ALPN: Pipe(to_unix(path))}), await bind()
        assert await through(client, server, b"hello") == b"HELLO"


async def test_a_socket_that_nobody_serves_resets_the_pipe(bind, tmp_path) -> None:
    async with tcp_echo() as port:
        pass
    for target in (to_tcp("127.0.0.1", port), to_unix(str(tmp_path / "none"))):
        server, client = await bind(protocols={PIPE_ALPN: Pipe(target)}), await bind()
        with pytest.raises(StreamError) as raised:
            await through(client, server, DATA)
        assert isinstance(raised.value, StreamResetError | StreamStoppedError)
        assert raised.value.code == 1


async def test_one_side_may_end_long_before_the_other(bind) -> None:
    async with tcp_echo(answer=b"all there is") as port:
        server = await bind(protocols={PIPE_ALPN: Pipe(to_tcp("127.0.0.1", port))})
        client = await bind()
        async with await client.connect(server.addr(), PIPE_ALPN) as conn:
            sink, ours = Sink(), source(b"more", eof=False)
            pipe = asyncio.create_task(forward(await open_pipe(conn), ours, sink))
            await sink.ended.wait()
            assert sink.data == b"all there is"
            assert not pipe.done()
            ours.feed_eof()
            await pipe


async def test_a_peer_that_says_good_bye_after_its_data_wants_no_more(bind) -> None:
    """What dumbpipe does at the end: it closes its endpoint, while our input is still open."""

    async def serve(stream, conn) -> None:
        await stream[0].write_all(b"bye")
        await stream[0].finish()
        await stream[0].stopped()
        conn.close()

    server, client = await bind(protocols={PIPE_ALPN: Pipe(serve)}), await bind()
    async with await client.connect(server.addr(), PIPE_ALPN) as conn:
        sink = Sink()
        await forward(await open_pipe(conn), source(b"x", eof=False), sink)
        assert sink.data == b"bye"


@pytest.mark.parametrize("code", [0, 7])
async def test_a_connection_that_ends_before_the_data_is_an_error(bind, code) -> None:
    async def serve(stream, conn) -> None:
        await stream[0].write_all(b"first part")
        conn.close(code)

    server, client = await bind(protocols={PIPE_ALPN: Pipe(serve)}), await bind()
    async with await client.connect(server.addr(), PIPE_ALPN) as conn:
        with pytest.raises(StreamError):
            await forward(await open_pipe(conn), source(b"x", eof=False), Sink())


async def test_an_output_that_breaks_stops_the_peer(bind) -> None:
    stopped = asyncio.Event()

    async def serve(stream, _conn) -> None:
        await stream[0].write_all(b"data")
        assert await stream[0].stopped() == 0
        with pytest.raises(StreamResetError):
            await stream[1].read()
        stopped.set()

    server, client = await bind(protocols={PIPE_ALPN: Pipe(serve)}), await bind()
    async with await client.connect(server.addr(), PIPE_ALPN) as conn:
        pipe = forward(await open_pipe(conn), source(eof=False), Sink(BrokenPipeError()))
        with pytest.raises(BrokenPipeError):
            await pipe
        await stopped.wait()


async def test_cancelling_abandons_the_stream(bind) -> None:
    codes: asyncio.Queue[int | None] = asyncio.Queue()

    async def serve(stream, _conn) -> None:
        await stream[0].write_all(b"data")
        codes.put_nowait(await stream[0].stopped())

    server, client = await bind(protocols={PIPE_ALPN: Pipe(serve)}), await bind()
    async with await client.connect(server.addr(), PIPE_ALPN) as conn:
        sink = Sink()
        pipe = asyncio.create_task(forward(await open_pipe(conn), source(eof=False), sink))
        await sink.got.wait()
        pipe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pipe
        assert await codes.get() == 0


@pytest.mark.parametrize("begin", [b"hullo world", b"hel", b""])
async def test_a_wrong_handshake_is_refused_and_the_connection_goes_on(bind, begin) -> None:
    async def serve(stream, _conn) -> None:
        await stream[0].write_all(b"fine")
        await stream[0].finish()

    server, client = await bind(protocols={PIPE_ALPN: Pipe(serve)}), await bind()
    async with await client.connect(server.addr(), PIPE_ALPN) as conn:
        send, recv = await conn.open_bi()
        await send.write_all(begin)
        await send.finish()
        with pytest.raises(StreamResetError):
            await recv.read_to_end(100)
        stream = await open_pipe(conn)
        assert await stream[1].read_to_end(100) == b"fine"


async def test_without_a_handshake(bind) -> None:
    async with tcp_echo() as port:
        handler = Pipe(to_tcp("127.0.0.1", port), handshake=False)
        server, client = await bind(protocols={b"own/0": handler}), await bind()
        async with await client.connect(server.addr(), b"own/0") as conn:
            sink = Sink()
            await forward(await open_pipe(conn, handshake=False), source(HANDSHAKE), sink)
            assert sink.data == HANDSHAKE


def test_the_error_is_one_of_ours() -> None:
    assert str(PipeError("x")) == "x"
