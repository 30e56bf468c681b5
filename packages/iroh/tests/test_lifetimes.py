"""Loops, threads and the garbage collector: who outlives whom."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

from iroh import Connection, Endpoint, presets

from .conftest import ALPN, meet


async def bind_here(**settings) -> Endpoint:
    return await Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0", **settings)


# -- several loops --------------------------------------------------------------------------------


async def test_two_endpoints_in_two_loops_in_two_threads() -> None:
    ready: asyncio.Queue[Endpoint] = asyncio.Queue()
    here = asyncio.get_running_loop()

    async def serve() -> bytes:
        async with Endpoint.bind(
            presets.Minimal, bind_addr="127.0.0.1:0", alpns=[ALPN]
        ) as endpoint:
            here.call_soon_threadsafe(ready.put_nowait, endpoint.addr())
            conn = await (await endpoint.accept_next())
            send, recv = await conn.accept_bi()
            data = await recv.read_to_end(1_000_000)
            await send.write_all(data)
            await send.finish()
            await conn.closed()
            return data

    serving = asyncio.create_task(asyncio.to_thread(asyncio.run, serve()))
    addr = await ready.get()
    client = await bind_here()
    async with client, await client.connect(addr, ALPN) as conn:
        send, recv = await conn.open_bi()
        await send.write_all(b"x" * 500_000)
        await send.finish()
        assert len(await recv.read_to_end(1_000_000)) == 500_000
    assert len(await serving) == 500_000


async def test_use_on_another_loop_is_refused_and_harms_nothing(connect) -> None:
    client, server = await connect()
    stream = await client.open_uni()

    async def abuse() -> None:
        for waiting in (client.accept_bi, client.closed, client.read_datagram):
            with pytest.raises(RuntimeError, match="loop"):
                await waiting()
        for acting in (client.close, lambda: client.send_datagram(b"x")):
            with pytest.raises(RuntimeError, match="thread"):
                acting()

    await asyncio.to_thread(asyncio.run, abuse())
    await stream.write_all(b"fine")
    await stream.finish()
    assert await (await server.accept_uni()).read_to_end(10) == b"fine"


async def test_closing_on_another_loop_is_refused(bind) -> None:
    endpoint = await bind()

    async def close() -> None:
        with pytest.raises(RuntimeError, match="the event loop it was bound on"):
            await endpoint.close()

    await asyncio.to_thread(asyncio.run, close())
    assert not endpoint.is_closed()


# -- after the loop -------------------------------------------------------------------------------


def test_closing_after_the_loop_releases_the_sockets() -> None:
    endpoint = asyncio.run(bind_here(alpns=[ALPN]))
    assert "unclosed" not in repr(endpoint)
    asyncio.run(endpoint.close())
    assert endpoint.is_closed()
    asyncio.run(endpoint.close())
    assert asyncio.run(bind_again(endpoint.bound_sockets()[0]))


async def bind_again(addr: str) -> bool:
    async with Endpoint.bind(presets.Minimal, bind_addr=addr):
        return True


def test_an_endpoint_that_nobody_closed_says_so() -> None:
    endpoints = [asyncio.run(bind_here())]
    addr = endpoints[0].bound_sockets()[0]
    endpoints.clear()
    with pytest.warns(ResourceWarning, match=f"unclosed endpoint <Endpoint .* {addr}"):
        gc.collect()
    assert asyncio.run(bind_again(addr))


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same thread", "other thread"])
def test_handles_collected_after_their_loop_are_silent(elsewhere) -> None:
    """Connections, streams, attempts, handshakes and watches: no `__del__` may raise."""

    async def main() -> list:
        server, client = await bind_here(alpns=[ALPN]), await bind_here()
        dialled, accepted = await meet(client, server)
        send, recv = await dialled.open_bi()
        await send.write_all(b"x")
        watch = dialled.watch_paths()
        pending = await client.connect_pending(server.addr(), ALPN)
        incoming = await server.accept_next()
        await asyncio.gather(client.close(), server.close())
        return [dialled, accepted, send, recv, watch, pending, incoming]

    handles = asyncio.run(main())
    if elsewhere:
        thread = threading.Thread(target=handles.clear)
        thread.start()
        thread.join()
    handles.clear()
    gc.collect()


def test_a_program_that_forgets_everything_ends_cleanly() -> None:
    """Without close, with tasks, streams and a watch: one warning per endpoint, nothing else."""
    program = """
        import asyncio
        from iroh import AddrChangeCallback, Endpoint, presets
        from iroh.protocols import ECHO_ALPN, Echo

        class Callback(AddrChangeCallback):
            async def on_change(self, addr): pass

        async def main():
            server = await Endpoint.bind(presets.Minimal, protocols={ECHO_ALPN: Echo()})
            client = await Endpoint.bind(presets.Minimal)
            global handle, conn, stream
            handle = client.watch_addr(Callback())
            conn = await client.connect(server.addr(), ECHO_ALPN)
            stream = await conn.open_bi()
            await stream.send().write_all(b"bye")

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-W", "default::ResourceWarning", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
    assert len(lines) == 2, done.stderr
    assert all("ResourceWarning: unclosed endpoint <Endpoint" in line for line in lines)


# -- the garbage collector, while the loop runs ---------------------------------------------------


async def collected_in_a_thread(handles: list) -> None:
    await asyncio.to_thread(handles.clear)
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_connection_collected_in_another_thread_is_closed(connect) -> None:
    client, server = await connect()
    handles: list[Connection] = [client]
    del client
    await collected_in_a_thread(handles)
    assert (await server.closed()).code == 0


async def test_a_connection_is_freed_without_the_garbage_collector(connect) -> None:
    freed: asyncio.Queue[object] = asyncio.Queue()
    client, server = await connect()
    send, recv = await client.open_bi()
    await send.write_all(b"x")
    await (await server.accept_bi()).recv().read(1)
    watched = [
        weakref.ref(part, freed.put_nowait)
        for conn in (client, server)
        for part in (conn._quic, conn._quic._p, conn._quic._p.paths, conn._quic._p.streams)
    ]
    gc.collect()
    gc.disable()
    try:
        client.close()
        await server.closed()
        del send, recv, client, server
        for _ in watched:
            await freed.get()  # 3 probe timeouts later, when both ends have drained
    finally:
        gc.enable()


async def test_streams_collected_in_another_thread_finish_and_stop(connect) -> None:
    client, server = await connect()
    send = await client.open_uni()
    await send.write_all(b"bye")
    handles = [send]
    del send
    await collected_in_a_thread(handles)
    recv = await server.accept_uni()
    assert await recv.read_to_end(10) == b"bye"

    send = await client.open_uni()
    await send.write_all(b"?")
    handles = [await server.accept_uni()]
    await collected_in_a_thread(handles)
    assert await send.stopped() == 0


async def test_an_endpoint_lives_as_long_as_its_loop(bind) -> None:
    """Dropping the Endpoint object must not cut the connections that were made with it."""
    server = await bind(alpns=[ALPN])

    async def dial() -> Connection:
        client = await bind_here()
        conn, accepted = await meet(client, server)
        kept.append(accepted)
        closers.append(client.close)
        return conn

    kept: list[Connection] = []
    closers: list = []
    conn = await dial()
    gc.collect()
    send = await conn.open_uni()
    await send.write_all(b"alive")
    assert await (await kept[0].accept_uni()).read(5) == b"alive"
    await closers[0]()
