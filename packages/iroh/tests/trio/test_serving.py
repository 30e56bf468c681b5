"""Handlers, hooks and filters written for trio."""

import logging
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio_asyncio

import iroh
from iroh import EndpointOptions, IncomingFilterOutcome, LocallyRejectedError, Reject, presets
from iroh.errors import ConsumedError
from iroh.protocols import ECHO_ALPN, Echo
from iroh.trio import (
    Connection,
    EndpointBuilder,
    EndpointHooks,
    Incoming,
    ProtocolCreator,
    ProtocolHandler,
    Router,
    open_endpoint,
)

ALPN, OTHER = b"test/0", b"test/1"
HERE = {"bind_addr": "127.0.0.1:0"}


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with trio.fail_after(30):
            await main()

    trio.run(limited)


async def serve_echo(conn: Connection) -> None:
    async with trio.open_nursery() as nursery:  # trio's, and in it tasks of trio
        while True:
            nursery.start_soon(echo, await conn.accept_bi())


async def echo(stream) -> None:
    async with stream:
        async for chunk in stream:
            await stream.send_all(chunk)


async def ask(conn: Connection, data: bytes = b"hello") -> bytes:
    async with await conn.open_bi() as stream:
        await stream.send_all(data)
        await stream.send_eof()
        return await stream.recv().read_to_end(len(data) + 1)


def test_functions_objects_and_handlers_of_asyncio() -> None:
    class Greeter(ProtocolHandler):
        told = False

        async def accept(self, conn: Connection) -> None:
            async with await conn.open_uni() as send:
                await send.send_all(b"good day")
            await conn.closed()

        async def shutdown(self) -> None:
            await trio.lowlevel.checkpoint()
            self.told = True

    class Maker(ProtocolCreator):
        def create(self, endpoint):
            made.append(endpoint.id())
            return Greeter()

    made: list[iroh.PublicKey] = []
    greeter = Greeter()
    protocols = {ALPN: serve_echo, OTHER: greeter, b"made": Maker(), ECHO_ALPN: Echo()}

    async def main() -> None:
        async with (
            open_endpoint(presets.Minimal, **HERE) as client,
            open_endpoint(presets.Minimal, protocols=protocols, **HERE) as server,
        ):
            assert made == [server.id()]
            for alpn in (ALPN, ECHO_ALPN):
                async with await client.connect(server.addr(), alpn) as conn:
                    assert await ask(conn, bytes(100_000)) == bytes(100_000)
            for alpn in (OTHER, b"made"):
                async with await client.connect(server.addr(), alpn) as conn:
                    assert await (await conn.accept_uni()).read_to_end(10) == b"good day"

    run(main)
    assert greeter.told


def test_a_router_cancels_its_handlers(caplog) -> None:
    cancelled: list[str] = []

    async def serve(conn: Connection) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(conn.remote_id().fmt_short())
            raise

    async def broken(_conn: Connection) -> None:
        raise ZeroDivisionError

    async def torn(conn: Connection) -> None:
        await (await conn.accept_uni()).receive_some()

    class Slow(ProtocolHandler):
        async def on_accepting(self, accepting):
            await trio.lowlevel.checkpoint()
            return await super().on_accepting(accepting)

        async def accept(self, conn: Connection) -> None:
            conn.close(7)

    handlers = {ALPN: serve, b"broken": broken, b"torn": torn, b"slow": Slow()}

    async def main() -> None:
        async with (
            trio_asyncio.open_loop(),
            open_endpoint(presets.Minimal, **HERE) as client,
            open_endpoint(presets.Minimal, **HERE) as endpoint,
        ):
            async with Router(endpoint, handlers) as router:
                assert router.endpoint is endpoint
                waiting = await client.connect(endpoint.addr(), ALPN)
                conn = await client.connect(endpoint.addr(), b"broken")
                assert (await conn.closed()).code == 0
                conn = await client.connect(endpoint.addr(), b"slow")
                assert (await conn.closed()).code == 7
                conn = await client.connect(endpoint.addr(), b"torn")
                await (await conn.open_uni()).write_all(b"")
                conn.close(5)
                assert not router.is_shutdown()
                assert router.refused == 0
            assert router.is_shutdown()
            assert endpoint.is_closed()
            assert (await waiting.closed()).code == 0
            assert cancelled == [client.id().fmt_short()]
        async with open_endpoint(presets.Minimal, **HERE) as endpoint:
            with pytest.raises(TypeError, match="is an object with an async"):
                await Router(endpoint, {ALPN: 5}).__aenter__()

    with caplog.at_level(logging.INFO):
        run(main)
    assert "ZeroDivisionError" in caplog.text
    assert "BrokenResourceError" not in caplog.text


def test_hooks_and_filters() -> None:
    class Guard(EndpointHooks):
        async def before_connect(self, remote, alpn: bytes) -> Reject | None:
            await trio.lowlevel.checkpoint()
            return Reject(reason=b"not this one") if alpn == OTHER else None

        async def after_handshake(self, conn: Connection) -> Reject | None:
            await trio.lowlevel.checkpoint()
            return Reject(9) if conn.alpn() == OTHER else None

    async def let_in(incoming: Incoming) -> IncomingFilterOutcome:
        await trio.lowlevel.checkpoint()
        asked.append(await incoming.remote_addr())
        return IncomingFilterOutcome.ACCEPT

    def decide(incoming: Incoming) -> IncomingFilterOutcome:
        return IncomingFilterOutcome.REJECT

    asked: list[object] = []
    options = EndpointOptions(
        preset=presets.Minimal,
        protocols={ALPN: serve_echo, OTHER: serve_echo},
        hooks=[Guard()],
        incoming_filter=let_in,
        **HERE,
    )

    async def main() -> None:
        async with (
            open_endpoint(presets.Minimal, **HERE) as client,
            open_endpoint(options) as server,
            open_endpoint(
                presets.Minimal, protocols={ALPN: serve_echo}, incoming_filter=decide, **HERE
            ) as closed,
        ):
            assert await ask(await client.connect(server.addr(), ALPN)) == b"hello"
            assert (await (await client.connect(server.addr(), OTHER)).closed()).code == 9
            with pytest.raises(LocallyRejectedError, match="not this one"):
                await server.connect(client.addr(), OTHER)
            with pytest.raises(iroh.ConnectError):
                await client.connect(closed.addr(), ALPN)
        with pytest.raises(TypeError, match="not both"):
            open_endpoint(options, alpns=[ALPN])

    run(main)
    assert len(asked) == 2


def test_a_dial_that_is_cancelled_in_a_hook() -> None:
    class Slow(EndpointHooks):
        async def before_connect(self, remote, alpn: bytes) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(alpn)

    ended: list[bytes] = []

    async def main() -> None:
        async with open_endpoint(presets.Minimal, hooks=[Slow()], **HERE) as endpoint:
            other = iroh.SecretKey.generate().public()
            with trio.move_on_after(0.01) as scope:
                await endpoint.connect(other, ALPN)
            assert scope.cancelled_caught

    run(main)
    assert ended == [ALPN]


def test_a_builder() -> None:
    async def main() -> None:
        builder = EndpointBuilder()
        builder.apply_minimal()
        builder.bind_addr("127.0.0.1:0")
        builder.hooks(EndpointHooks())
        builder.hooks(iroh.EndpointHooks())
        with pytest.raises(TypeError, match="hooks derive from"):
            builder.hooks(object())
        async with (
            builder.bind(protocols={ALPN: serve_echo}) as server,
            open_endpoint(presets.Minimal, **HERE) as client,
        ):
            assert await ask(await client.connect(server.addr(), ALPN)) == b"hello"
        with pytest.raises(ConsumedError):
            async with builder.bind():
                pass

    run(main)


def test_a_program_that_is_cancelled_around_its_server() -> None:
    """As Ctrl-C does: the scope around everything is cancelled while handlers work."""
    ended: list[str] = []

    async def serve(conn: Connection) -> None:
        try:
            async with await conn.accept_bi() as stream:
                await stream.send_all(b"!")
                await trio.sleep_forever()
        finally:
            ended.append("handler")

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with (
                open_endpoint(presets.Minimal, protocols={ALPN: serve}, **HERE) as server,
                open_endpoint(presets.Minimal, **HERE) as client,
            ):
                conn = await client.connect(server.addr(), ALPN)
                async with await conn.open_bi() as stream:
                    await stream.send_all(b"?")
                    assert await stream.recv().read_exact(1) == b"!"
                    scope.cancel()
                    await trio.sleep_forever()
        assert scope.cancelled_caught
        assert server.is_closed()

    run(main)
    assert ended == ["handler"]


def test_errors_are_no_groups() -> None:
    """The nursery of trio-asyncio's loop, which `open_endpoint` opens, is nobody's business."""

    async def main() -> None:
        with pytest.raises(iroh.BindError):
            async with open_endpoint(presets.Minimal, bind_addr="192.0.2.1:1"):
                pass
        with pytest.raises(KeyboardInterrupt):
            async with open_endpoint(presets.Minimal, **HERE):
                raise KeyboardInterrupt
        with pytest.raises(ExceptionGroup):
            async with open_endpoint(presets.Minimal, **HERE), trio.open_nursery():
                raise ValueError("in a nursery of one's own")

    run(main)
