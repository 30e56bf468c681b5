import asyncio
import contextlib
import os
import signal

import pytest

from iroh import EndpointTicket, presets
from iroh.cli.stdio import Input, Output
from iroh.protocols import PIPE_ALPN, Pipe, open_pipe, ping
from iroh.protocols.pipe import to_tcp

posix = pytest.mark.skipif(os.name != "posix", reason="signals and sockets of POSIX systems")
HEX_ALPN = "utf8:own/1"


@pytest.mark.parametrize("extra", [(), ("--alpn", HEX_ALPN)])
async def test_standard_input_and_output_both_ways(start, extra) -> None:
    listen = await start("-q", "listen", *extra)
    ticket = await listen.line("stderr")
    connect = await start("connect", *extra, ticket)
    data = os.urandom(300_000).hex().encode()
    (status, out, told), (status2, out2, _) = await asyncio.gather(
        connect.end(data), listen.end(b"hello")
    )
    assert (status, status2) == (0, 0)
    assert out == "hello"
    assert out2.encode() == data
    assert told.startswith("connected: ")


async def test_an_input_that_stays_open_holds_up_no_end(start, bind) -> None:
    """As dumbpipe's peer, the program ends with the connection, whoever still sits at its input."""

    async def serve(stream, conn) -> None:
        await stream[0].write_all(b"bye")
        await stream[0].finish()
        await stream[0].stopped()
        conn.close()

    server = await bind(protocols={PIPE_ALPN: Pipe(serve)})
    connect = await start("connect", str(EndpointTicket(server.addr())))
    assert await connect.process.wait() == 0
    assert await connect.line() == "bye"


@posix
async def test_an_output_that_nobody_reads_any_more(start, bind) -> None:
    async def serve(stream, _conn) -> None:
        while True:
            await stream[0].write_all(bytes(100_000))

    server = await bind(protocols={PIPE_ALPN: Pipe(serve)})
    connect = await start("connect", "--recv-only", str(EndpointTicket(server.addr())))
    assert connect.process.stdout is not None
    await connect.process.stdout.read(1)
    connect.process.stdout._transport.close()
    assert await connect.process.wait() == 141


@posix
async def test_tcp_forwarding_and_an_end_by_signal(start, bind) -> None:
    async def upper(reader, writer) -> None:
        writer.write((await reader.read()).upper())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(upper, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        listen = await start("--json", "listen", "--tcp", f"127.0.0.1:{port}")
        ticket = (await listen.event("listening"))["ticket"]
        connect = await start("--json", "connect", "--tcp", "127.0.0.1:0", ticket)
        where = (await connect.event("listening"))["at"]
        host, _, port = where.rpartition(":")
        for text in (b"hello", b"again"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(text)
            writer.write_eof()
            assert await reader.read() == text.upper()
            writer.close()
            await writer.wait_closed()
        client = await bind()
        assert await ping(client, EndpointTicket.from_string(ticket).endpoint_addr()) > 0
        listen.signal(signal.SIGTERM)
        connect.signal(signal.SIGINT)
        assert [(await each.end())[0] for each in (listen, connect)] == [0, 0]


async def forwarded(start, serve, *options: str):
    """A server behind `iroh listen --tcp`, and where `iroh connect --tcp` leads to it from."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    listen = await start("--json", "listen", "--tcp", f"127.0.0.1:{port}")
    ticket = (await listen.event("listening"))["ticket"]
    connect = await start("--json", "connect", *options, "--tcp", "[::1]:0", ticket)
    where = (await connect.event("listening"))["at"]
    assert where.startswith("[::1]:")
    return server, listen, connect, ("::1", int(where.rpartition(":")[2]))


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@posix
async def test_many_connections_and_ends_in_either_order(start) -> None:
    """More at once than are dialled at once; the server ends its half first, the client goes on."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def greet(reader, writer) -> None:
        writer.write(b"I have said it all")
        writer.write_eof()
        heard.put_nowait(await reader.read())
        await close(writer)

    server, _, _, where = await forwarded(start, greet)

    async def visit(number: int) -> None:
        reader, writer = await asyncio.open_connection(*where)
        assert await reader.read() == b"I have said it all"
        writer.write(b"%d" % number)
        await close(writer)

    async with server:
        await asyncio.gather(*map(visit, range(40)))
        assert {int(await heard.get()) for _ in range(40)} == set(range(40))


@posix
async def test_what_breaks_off_looks_broken(start) -> None:
    """A TCP client of a killed `iroh listen` sees a reset: a mere end would look like the whole."""

    async def endless(_reader, writer) -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(bytes(1000))
                await writer.drain()
                await asyncio.sleep(0.01)
        await close(writer)

    server, listen, connect, where = await forwarded(start, endless, "--idle-timeout", "1")
    async with server:
        reader, writer = await asyncio.open_connection(*where)
        await reader.readexactly(1000)
        listen.process.kill()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await close(writer)
        failed = await connect.event("failed")
        assert "nothing comes from the peer any more" in failed["message"]


@posix
async def test_a_server_that_is_down_and_a_pipe_that_is_taken(start) -> None:
    """Both sides say so, and a TCP client sees a reset."""
    listen = await start("--json", "listen", "--tcp", "127.0.0.1:1")
    ticket = (await listen.event("listening"))["ticket"]
    connect = await start("connect", ticket)
    status, _, said = await connect.end(b"x")
    assert (status, "is the server running that it leads to?" in said) == (4, True)
    assert "Connect call failed" in (await listen.event("failed"))["message"]
    connect = await start("--json", "connect", "--tcp", "127.0.0.1:0", ticket)
    host, _, port = (await connect.event("listening"))["at"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with pytest.raises(ConnectionResetError):
        await reader.read()
    await close(writer)
    assert (await connect.event("failed"))["status"] == 4
    listen = await start("-q", "listen", "--recv-only")
    ticket = await listen.line("stderr")
    first = await start("--json", "connect", ticket)
    await first.event("connected", "stderr")
    assert first.process.stdin is not None
    first.process.stdin.write(b"mine")
    assert listen.process.stdout is not None
    assert await listen.process.stdout.readexactly(4) == b"mine"
    late = await start("connect", ticket)
    status, _, said = await late.end(b"x")
    assert (status, "end of the pipe is taken" in said) == (4, True)


@posix
async def test_unix_sockets(start, bind, tmp_path) -> None:
    near, far = str(tmp_path / "near"), str(tmp_path / "far")

    async def upper(reader, writer) -> None:
        writer.write((await reader.read()).upper())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(upper, far):
        listen = await start("--json", "listen", "--unix", far)
        ticket = (await listen.event("listening"))["ticket"]
        connect = await start("--json", "connect", "--unix", near, ticket)
        await connect.event("listening")
        assert os.stat(near).st_mode & 0o077 == 0
        again = await start("connect", "--unix", near, ticket)
        status, _, told = await again.end()
        assert (status, "another program listens on" in told) == (5, True)
        reader, writer = await asyncio.open_unix_connection(near)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"HELLO"
        writer.close()
        await writer.wait_closed()
        connect.signal(signal.SIGTERM)
        assert (await connect.end())[0] == 0
        assert os.listdir(tmp_path) == ["far"]


async def test_who_is_not_on_the_list_is_refused(start, bind) -> None:
    friend, stranger = await bind(), await bind()
    listen = await start("--json", "listen", "--recv-only", "--allow", str(friend.id()))
    told = await listen.event("listening", "stderr")
    addr = EndpointTicket.from_string(told["ticket"]).endpoint_addr()
    conn = await stranger.connect(addr, PIPE_ALPN)
    assert (await conn.closed()).code == 403
    refused = await listen.event("refused", "stderr")
    assert refused["peer"] == str(stranger.id())
    connect = await start("connect", told["ticket"])
    status, _, said = await connect.end(b"x")
    assert (status, "the peer does not allow us" in said) == (4, True)
    ping = await start("ping", "-c", "0", told["ticket"])
    status, _, said = await ping.end()
    assert (status, "the peer does not allow us" in said) == (4, True)
    async with await friend.connect(addr, PIPE_ALPN) as conn:
        send, recv = await open_pipe(conn)
        await send.write_all(b"for you")
        await send.finish()
        assert await recv.read_to_end(1) == b""
        assert (await listen.end())[:2] == (0, "for you")


async def test_a_peer_that_is_not_there_or_speaks_something_else(start, bind) -> None:
    server = await bind(protocols={b"other/0": Pipe(to_tcp("127.0.0.1", 1))})
    connect = await start("connect", str(EndpointTicket(server.addr())))
    status, _, said = await connect.end(b"")
    assert (status, "does not speak this protocol" in said) == (4, True)
    await server.close()
    connect = await start("connect", "--timeout", "0.2", str(EndpointTicket(server.addr())))
    status, _, said = await connect.end(b"")
    assert (status, "does not answer within 0.2 s" in said) == (3, True)
    assert said.count("\n") == 1


async def test_reconnect_dials_until_there_is_somebody(start, bind) -> None:
    async def serve(stream, _conn) -> None:
        await stream[0].write_all(b"here I am")
        await stream[0].finish()
        await stream[1].read_to_end(1)  # else it would say that it wants nothing, maybe first

    server = await bind()
    key, addr, ticket = server.secret_key(), server.bound_sockets()[0], server.addr()
    await server.close()
    options = ("--reconnect", "--timeout", "0.2", "--json")
    connect = await start("connect", *options, str(EndpointTicket(ticket)))
    await connect.event("retry", "stderr")
    await bind(
        secret_key=key,
        bind_addr=addr,
        protocols={PIPE_ALPN: Pipe(serve)},
        preset=presets.Minimal,
    )
    assert (await connect.end(b""))[:2] == (0, "here I am")


async def test_ping_and_who_answers(start) -> None:
    answer = await start("-q", "ping", "--listen")
    ticket = await answer.line()
    program = await start("ping", "-c", "2", "-i", "0.01", ticket)
    status, out, _ = await program.end()
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()[:2]] == [
        ["pong", "seq=1"],
        ["pong", "seq=2"],
    ]
    assert "direct 127.0.0.1:" in out
    assert "2 sent, 2 answered" in out


async def test_ping_of_a_peer_that_answers_once_a_connection(start, bind) -> None:
    """As n0's iroh-ping does."""

    async def once(conn) -> None:
        send, recv = await conn.accept_bi()
        assert await recv.read_to_end(4) == b"PING"
        await send.write_all(b"PONG")
        await send.finish()
        await conn.closed()

    server = await bind(protocols={b"iroh/ping/0": once})
    program = await start(
        "--json", "ping", "-c", "3", "-i", "0.01", str(EndpointTicket(server.addr()))
    )
    assert (await program.event("summary"))["answered"] == 3
    assert (await program.end())[0] == 0


async def test_the_threads_at_standard_input_and_output() -> None:
    read, write = os.pipe()
    source, sink = Input(read), Output(write)
    sink.write(b"a")
    sink.write(b"b")
    await sink.drain()
    assert await source.read(10) == b"ab"
    waiting = asyncio.create_task(source.read(10))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    sink.write(b"not lost")
    await sink.drain()
    assert await source.read(10) == b"not lost"
    sink.close()
    assert await source.read(10) == b""
    source.close()
    os.close(read)


@posix
async def test_writing_where_nobody_reads_says_so() -> None:
    read, write = os.pipe()
    os.close(read)
    sink = Output(write)
    sink.write(b"x")
    with pytest.raises(BrokenPipeError):
        await sink.drain()
    sink.close()
