"""The trio front: trio's own tests of streams, cancel scopes, nurseries."""

import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
import trio_asyncio

import iroh
import iroh.trio
from iroh import ConnectionLostError, StreamResetError, presets
from iroh.trio import Connection, StreamListener, open_endpoint, serve_connections

ALPN = b"test/0"
HERE = {"bind_addr": "127.0.0.1:0"}
ROOT = Path(__file__).resolve().parents[4]
ECHO = ROOT / "examples" / "echo_trio.py"
PAGE = ROOT / "docs" / "howto" / "use-trio.md"
STRICT = ("-W", "error") if sys.version_info < (3, 12) else ()
"""trio-asyncio names a class that Python 3.12 has deprecated."""


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with trio.fail_after(30):
            await main()

    trio.run(limited)


@asynccontextmanager
async def connected():
    """Two endpoints, connected; the dialling end first."""
    async with (
        open_endpoint(presets.Minimal, alpns=[ALPN], **HERE) as server,
        open_endpoint(presets.Minimal, **HERE) as client,
    ):
        ends: list[Connection] = []

        async def accept() -> None:
            incoming = await server.accept_next()
            ends.append(await incoming.establish())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            dialled = await client.connect(server.addr(), ALPN)
        async with dialled, ends[0] as accepted:
            yield dialled, accepted


async def open_pair(here: Connection, there: Connection):
    ours = await here.open_bi()
    await ours.send_all(b"!")
    theirs = await there.accept_bi()
    assert await theirs.recv().read_exact(1) == b"!"
    return ours, theirs


@asynccontextmanager
async def stream():
    async with connected() as ends:
        yield await open_pair(*ends)


def test_streams_are_what_trio_says_that_they_are() -> None:
    async def main() -> None:
        async with connected() as ends:

            async def make():
                return await open_pair(*ends)

            await trio.testing.check_half_closeable_stream(make, None)

    run(main)


def test_cancelling_a_read_leaves_a_usable_connection() -> None:
    async def main() -> None:
        async with stream() as (ours, theirs):
            for _ in range(3):
                with trio.move_on_after(0.01) as scope:
                    await theirs.receive_some()
                assert scope.cancelled_caught
            await ours.send_all(b"late")
            assert await theirs.receive_some() == b"late"
            with pytest.raises(trio.TooSlowError), trio.fail_after(0.01):
                await theirs.recv().read(10)
            await ours.send().write_all(b"later")
            assert await theirs.recv().read(10) == b"later"

    run(main)


def test_an_interrupted_send_is_no_whole_one() -> None:
    async def main() -> None:
        async with stream() as (ours, theirs):
            with trio.move_on_after(0.05) as scope:
                await ours.send_all(bytes(100_000_000))
            assert scope.cancelled_caught
            await ours.aclose()
            with pytest.raises(StreamResetError):
                await theirs.recv().read_to_end(1 << 30)

    run(main)


def test_closing_wakes_a_blocked_sender() -> None:
    async def main() -> None:
        async with stream() as (ours, _theirs), trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await ours.send_all(bytes(100_000_000))

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await ours.aclose()

    run(main)


def test_an_exception_resets() -> None:
    async def main() -> None:
        async with stream() as (ours, theirs):
            with pytest.raises(ZeroDivisionError):
                async with ours:
                    raise ZeroDivisionError
            with pytest.raises(trio.BrokenResourceError) as info:
                await theirs.receive_some()
            assert isinstance(info.value.__cause__, StreamResetError)
            with pytest.raises(ValueError, match="at least 1"):
                await theirs.receive_some(0)

    run(main)


def test_a_listener_serves_streams() -> None:
    async def echo(one: trio.abc.HalfCloseableStream) -> None:
        async for chunk in one:
            await one.send_all(chunk)
        await one.send_eof()

    async def serve(conn: Connection) -> None:
        async with trio.open_nursery() as nursery:
            with pytest.raises(trio.ClosedResourceError):
                await take_all(StreamListener(conn), nursery)

    async def take_all(listener: StreamListener, nursery: trio.Nursery) -> None:
        while True:
            nursery.start_soon(echo, await listener.accept())

    async def main() -> None:
        async with (
            open_endpoint(presets.Minimal, alpns=[ALPN], **HERE) as server,
            open_endpoint(presets.Minimal, **HERE) as client,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(serve_connections, server, serve)
            async with await client.connect(server.addr(), ALPN) as conn:
                for text in (b"one", b"two"):
                    async with await conn.open_bi() as one:
                        await one.send_all(text)
                        await one.send_eof()
                        send, recv = one
                        assert await recv.read_to_end(10) == text
                        assert send.stream_id == recv.stream_id
            await server.close()

    run(main)


def test_a_closed_listener() -> None:
    async def main() -> None:
        async with connected() as (here, there), trio.open_nursery() as nursery:
            listener = StreamListener(there)

            async def accept() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await listener.accept()

            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await listener.aclose()
            await accept()
            here.close(9)
            with pytest.raises(trio.BrokenResourceError):
                await StreamListener(there).accept()
            with pytest.raises(ConnectionLostError):
                await there.accept_uni()

    run(main)


def test_iterators_and_watchers() -> None:
    async def main() -> None:
        async with connected() as (here, there):
            async for paths in here.paths_stream():
                assert paths[0].is_selected
                break
            with trio.move_on_after(1) as scope:
                async for _event in there.path_events():
                    pass
            assert scope.cancelled_caught or there.close_reason() is not None

        async with open_endpoint(presets.Minimal, **HERE) as endpoint:
            addresses = endpoint.watch_addr()
            assert addresses.get() == endpoint.addr()
            with trio.move_on_after(0.01):
                await addresses.updated()
            async for addr in addresses:
                assert addr == endpoint.addr()
                break
            attempts = endpoint.incoming()
            with trio.move_on_after(0.01):
                await anext(attempts)
            await endpoint.close()
            assert [one async for one in attempts] == []

    run(main)


def test_a_loop_that_is_there_is_used() -> None:
    async def main() -> None:
        async with trio_asyncio.open_loop() as loop:
            async with open_endpoint(presets.Minimal, **HERE) as endpoint:
                assert endpoint.aio._core.loop is loop
            assert endpoint.is_closed()

    run(main)


def test_a_cancelled_endpoint_is_closed() -> None:
    async def main() -> None:
        with trio.move_on_after(5) as scope:
            async with open_endpoint(presets.Minimal, **HERE) as endpoint:
                scope.cancel()
                await trio.sleep_forever()
        assert endpoint.is_closed()

    run(main)


@pytest.mark.parametrize("name", ["Endpoint", "Connection", "SendStream", "RecvStream", "Incoming"])
def test_the_front_has_the_methods_of_iroh(name) -> None:
    names = {n for n in dir(getattr(iroh, name)) if not n.startswith("_")} - {"bind"}
    assert names <= set(dir(getattr(iroh.trio, name))) | {"stream_id"}


def test_importing_iroh_imports_no_trio() -> None:
    program = "import iroh, iroh.sync, sys; print('trio' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program]) == b"False\n"


def output(*command: str) -> str:
    done = subprocess.run([sys.executable, *STRICT, *command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_example() -> None:
    assert output(str(ECHO)) == "hello from trio\n"


def test_the_page() -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    program = "\n".join(text for kind, text in blocks if kind == "python")
    assert output("-c", program) == "".join(text for kind, text in blocks if kind == "text")
