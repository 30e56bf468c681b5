import asyncio
import logging

import pytest

from iroh import (
    ConnectError,
    ConnectionLostError,
    Endpoint,
    IncomingFilterOutcome,
    ProtocolCreator,
    ProtocolHandler,
    Router,
)
from iroh.protocols import ECHO_ALPN, Echo
from iroh_base import InvalidInputError


class Goodbye(ProtocolHandler):
    """Holds connections until it is told to stop, then closes them with words."""

    def __init__(self) -> None:
        self.connections: list = []
        self.serving = asyncio.Event()
        self.told = False

    async def accept(self, conn) -> None:
        self.connections.append(conn)
        self.serving.set()
        await conn.closed()

    async def shutdown(self) -> None:
        self.told = True
        for conn in self.connections:
            conn.close(42, b"shutdown")


async def echo(client: Endpoint, server: Endpoint, data: bytes) -> bytes:
    async with await client.connect(server.addr(), ECHO_ALPN) as conn:
        send, recv = await conn.open_bi()
        await send.write_all(data)
        await send.finish()
        return await recv.read_to_end(len(data) + 1)


async def test_each_alpn_has_its_handler(bind) -> None:
    server, client = await bind(), await bind()
    seen = []

    async def function(conn) -> None:
        seen.append(conn.remote_id())

    async with Router(server, {ECHO_ALPN: Echo(), b"function/0": function}):
        assert await echo(client, server, b"hello") == b"hello"
        conn = await client.connect(server.addr(), b"function/0")
        assert await conn.closed() == "closed by peer: 0"  # the handler returned
        assert seen == [client.id()]


async def test_echo_of_datagrams_and_of_many_streams(bind) -> None:
    server, client = await bind(protocols={ECHO_ALPN: Echo()}), await bind()
    conn = await client.connect(server.addr(), ECHO_ALPN)
    conn.send_datagram(b"ping")
    assert await conn.read_datagram() == b"ping"
    datas = [bytes([i]) * 5000 for i in range(50)]
    assert await asyncio.gather(*(echo(client, server, data) for data in datas)) == datas


async def test_shutdown_tells_handlers_while_their_connections_live(bind) -> None:
    server, client = await bind(), await bind()
    handler = Goodbye()
    router = Router(server, {b"bye/0": handler})
    conn = await client.connect(server.addr(), b"bye/0")
    await handler.serving.wait()
    assert not router.is_shutdown()
    await router.shutdown()
    await router.shutdown()
    assert router.is_shutdown()
    assert handler.told
    assert await conn.closed() == "closed by peer: shutdown (code 42)"
    assert server.is_closed()


async def test_closing_the_endpoint_shuts_its_router_down(bind) -> None:
    handler = Goodbye()

    class Creator(ProtocolCreator):
        def create(self, endpoint: Endpoint) -> ProtocolHandler:
            assert endpoint.id()
            return handler

    server = await bind(protocols={b"bye/0": Creator()})
    client = await bind()
    conn = await client.connect(server.addr(), b"bye/0")
    await handler.serving.wait()
    await server.close()
    assert (await conn.closed()).code == 42


async def test_a_failing_handler_ends_its_connection_only(bind, caplog) -> None:
    server, client = await bind(), await bind()

    async def broken(conn) -> None:
        raise RuntimeError("a bug in the application")

    async with Router(server, {ECHO_ALPN: Echo(), b"broken/0": broken}):
        conn = await client.connect(server.addr(), b"broken/0")
        assert await conn.closed() == "closed by peer: 0"
        assert await echo(client, server, b"still here") == b"still here"
    assert "a bug in the application" in caplog.text


async def test_a_peer_silent_in_its_handshake_blocks_nobody(bind) -> None:
    server, client = await bind(protocols={ECHO_ALPN: Echo()}), await bind()
    silent = await bind()
    send, sent = silent._engine.send, asyncio.Event()

    def only_the_first_packets(batches) -> None:
        if not sent.is_set():
            send(batches)
        sent.set()

    silent._engine.send = only_the_first_packets
    stuck = asyncio.create_task(silent.connect(server.addr(), ECHO_ALPN))
    await sent.wait()
    assert await echo(client, server, b"hello") == b"hello"
    stuck.cancel()
    await asyncio.wait((stuck,))


async def test_connections_end_in_task_groups_as_anywhere(bind, caplog) -> None:
    """A handler with a TaskGroup, in which a lost connection comes in an ExceptionGroup."""

    async def streams(conn) -> None:
        started.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(conn.accept_uni())
                tasks.create_task(conn.accept_bi())
        finally:
            ended.set()

    started, ended = asyncio.Event(), asyncio.Event()
    caplog.set_level(logging.INFO, "iroh.router")
    server, client = await bind(protocols={b"many/0": streams}), await bind()
    conn = await client.connect(server.addr(), b"many/0")
    await started.wait()
    conn.close(3, b"bye")
    await ended.wait()
    await server.close()
    assert [record.levelname for record in caplog.records if record.name == "iroh.router"] == [
        "INFO"
    ]
    assert "protocol b'many/0': closed by peer: bye" in caplog.text


async def test_an_alpn_that_nobody_serves_is_closed_and_told(bind, caplog) -> None:
    server, client = await bind(), await bind()
    async with Router(server, {ECHO_ALPN: Echo()}):
        server.set_alpns([ECHO_ALPN, b"more/0"])
        conn = await client.connect(server.addr(), b"more/0")
        assert await conn.closed() == "closed by peer: 0"
        assert await echo(client, server, b"still here") == b"still here"
    assert "no protocol for ALPN b'more/0'" in caplog.text


@pytest.mark.parametrize("handler", [Echo, 5, None, object()])
async def test_what_is_no_handler_is_refused_at_once(bind, handler) -> None:
    server = await bind()
    with pytest.raises(TypeError, match="the handler of b'x/0' is an object with an async accept"):
        Router(server, {b"x/0": handler})
    with pytest.raises(TypeError):
        await bind(protocols={b"x/0": handler})


async def test_a_creator_that_fails_leaves_nothing_bound(bind) -> None:
    class Creator(ProtocolCreator):
        def create(self, endpoint: Endpoint) -> ProtocolHandler:
            sockets.extend(endpoint.bound_sockets())
            raise RuntimeError("no handler today")

    sockets: list[str] = []
    with pytest.raises(RuntimeError, match="no handler today"):
        await bind(protocols={b"x/0": Creator()})
    await bind(bind_addr=sockets[0])


@pytest.mark.parametrize("how", ["endpoint.close", "router.shutdown"])
@pytest.mark.parametrize("first", ["endpoint.close", "router.shutdown"])
async def test_a_handler_may_close_everything_in_its_own_shutdown(bind, how, first) -> None:
    class Eager(ProtocolHandler):
        async def accept(self, conn) -> None: ...

        async def shutdown(self) -> None:
            await verbs[how]()
            done.append(how)

    done: list[str] = []
    server = await bind()
    router = Router(server, {b"x/0": Eager()})
    server._core.router = router
    verbs = {"endpoint.close": server.close, "router.shutdown": router.shutdown}
    await verbs[first]()
    assert done == [how]
    assert server.is_closed()


async def test_a_handler_may_close_the_endpoint_while_it_serves(bind) -> None:
    class Suicidal(ProtocolHandler):
        async def accept(self, conn) -> None:
            await server.close()

    server = await bind(protocols={b"x/0": Suicidal()})
    client = await bind()
    conn = await client.connect(server.addr(), b"x/0")
    assert (await conn.closed()).code == 0
    await server.close()


async def test_shutting_down_twice_at_once_tells_once(bind) -> None:
    class Counting(Goodbye):
        count = 0

        async def shutdown(self) -> None:
            self.count += 1

    handler, server = Counting(), await bind()
    router = Router(server, {b"x/0": handler})
    await asyncio.gather(router.shutdown(), router.shutdown(), server.close())
    assert handler.count == 1
    assert server.is_closed()
    assert "x/0" in repr(router)


async def test_a_shutdown_that_fails_is_logged_and_the_others_are_told(bind, caplog) -> None:
    class Broken(Goodbye):
        async def shutdown(self) -> None:
            raise RuntimeError("a bug in a shutdown")

    good, server = Goodbye(), await bind()
    await Router(server, {b"a/0": Broken(), b"b/0": good, b"c/0": Echo()}).shutdown()
    assert good.told
    assert "a bug in a shutdown" in caplog.text


async def test_a_handler_whose_inside_is_cancelled_ends_its_connection(bind) -> None:
    async def cancelled(conn) -> None:
        keep.append(conn)
        raise asyncio.CancelledError

    keep: list = []
    server, client = await bind(), await bind()
    async with Router(server, {b"x/0": cancelled, ECHO_ALPN: Echo()}):
        conn = await client.connect(server.addr(), b"x/0")
        assert await conn.closed() == "closed by peer: 0"
        assert await echo(client, server, b"still here") == b"still here"


async def test_connections_do_not_survive_the_endpoint(bind) -> None:
    server, client = await bind(protocols={ECHO_ALPN: Echo()}), await bind()
    conn = await client.connect(server.addr(), ECHO_ALPN)
    await client.close()
    with pytest.raises(ConnectionLostError):
        await conn.open_bi()


async def test_a_router_on_a_loop_that_is_not_the_endpoints_says_so(bind, caplog) -> None:
    server = await bind()

    async def elsewhere() -> None:
        router = Router(server, {ECHO_ALPN: Echo()})
        await asyncio.wait((router._loop_task,))

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert "a router serves nobody any more" in caplog.text
    assert "belong to the loop" in caplog.text


# -- who is let in --------------------------------------------------------------------------------


async def test_the_filter_decides_before_anything_is_answered(bind) -> None:
    server, client = await bind(), await bind()
    outcomes = [
        IncomingFilterOutcome.REJECT,
        IncomingFilterOutcome.RETRY,
        IncomingFilterOutcome.ACCEPT,
        IncomingFilterOutcome.RETRY,
        IncomingFilterOutcome.RETRY,
        "nonsense",
        IncomingFilterOutcome.ACCEPT,
    ]
    validated = []

    async def look(incoming) -> IncomingFilterOutcome:
        validated.append(await incoming.remote_addr_validated())
        return outcomes.pop(0)

    async with Router(server, {ECHO_ALPN: Echo()}, incoming_filter=look):
        with pytest.raises(ConnectError, match="aborted by peer"):
            await echo(client, server, b"rejected")
        assert await echo(client, server, b"after a retry") == b"after a retry"
        with pytest.raises(ConnectError, match="aborted by peer"):
            await echo(client, server, b"retried twice")
        with pytest.raises(ConnectError, match="aborted by peer"):
            await echo(client, server, b"a bug in the filter")
        assert await echo(client, server, b"still there") == b"still there"
    assert validated == [False, False, True, False, True, False, False]


async def test_an_ignored_dialler_hears_nothing(bind) -> None:
    ignored = asyncio.Event()

    def ignore(_incoming) -> IncomingFilterOutcome:
        ignored.set()
        return IncomingFilterOutcome.IGNORE

    server, client = await bind(), await bind()
    async with Router(server, {ECHO_ALPN: Echo()}, incoming_filter=ignore):
        dial = asyncio.create_task(client.connect(server.addr(), ECHO_ALPN))
        await ignored.wait()
        dial.cancel()
        await asyncio.wait((dial,))
        assert dial.cancelled()


async def test_more_than_so_many_at_once_are_refused(bind) -> None:
    handler = Goodbye()
    server, client = await bind(), await bind()
    async with Router(server, {b"a/0": handler}, max_connections=1) as router:
        first = await client.connect(server.addr(), b"a/0")
        await handler.serving.wait()
        with pytest.raises(ConnectError, match="aborted by peer"):
            await client.connect(server.addr(), b"a/0")
        assert router.refused == 1
        first.close()
        while router._tasks:
            await asyncio.wait(router._tasks)
        (await client.connect(server.addr(), b"a/0")).close()
    with pytest.raises(InvalidInputError):
        Router(server, {}, max_connections=0)


async def test_options_reach_the_router(bind) -> None:
    server = await bind(
        protocols={ECHO_ALPN: Echo()},
        incoming_filter=lambda _incoming: IncomingFilterOutcome.REJECT,
        max_connections=5,
    )
    with pytest.raises(ConnectError):
        await echo(await bind(), server, b"")
    assert server._core.router._max_tasks == 5


async def test_a_handler_may_turn_diallers_down_before_the_handshake_is_complete(bind) -> None:
    class Screening(Echo):
        async def on_accepting(self, accepting):
            raise PermissionError("closed today")

    server, client = await bind(protocols={ECHO_ALPN: Screening()}), await bind()
    with pytest.raises(ConnectionError):
        await echo(client, server, b"")
