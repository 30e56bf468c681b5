import asyncio
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
