"""Hooks: asked in order, before a dial and after a handshake; the first Reject is the last word."""

import asyncio
import weakref

import pytest

from iroh import ConnectError, EndpointHooks, Reject, Router, Side
from iroh.errors import LocallyRejectedError

from .conftest import ALPN, meet


class Recorder(EndpointHooks):
    """Writes down what it is asked; answers what it is told to."""

    def __init__(self, before=None, after=None, log=None) -> None:
        self.before, self.after = before, after
        self.log = [] if log is None else log

    async def before_connect(self, remote, alpn):
        self.log.append(("before", remote.id(), alpn))
        return self.before

    async def after_handshake(self, conn):
        self.log.append(("after", conn.remote_id(), conn.side()))
        return self.after


async def test_both_ends_are_asked(bind) -> None:
    dialling, accepting = Recorder(), Recorder()
    server = await bind(alpns=[ALPN], hooks=[accepting])
    client = await bind(hooks=[dialling])
    await meet(client, server)
    assert dialling.log == [
        ("before", server.id(), ALPN),
        ("after", server.id(), Side.CLIENT),
    ]
    assert accepting.log == [("after", client.id(), Side.SERVER)]


async def test_the_first_reject_ends_the_asking(bind) -> None:
    log: list = []
    hooks = [Recorder(log=log), Recorder(before=Reject(7, b"no"), log=log), Recorder(log=log)]
    server, client = await bind(alpns=[ALPN]), await bind(hooks=hooks)
    with pytest.raises(LocallyRejectedError, match=r"code 7.*no") as caught:
        await client.connect(server.addr(), ALPN)
    assert (caught.value.code, caught.value.reason_bytes) == (7, b"no")
    assert isinstance(caught.value, ConnectError | PermissionError)
    assert len(log) == 2
    assert client.stats()["socket:num_conns_opened"].value == 0
    assert not client._engine.drivers()


async def test_the_dialler_rejects_after_the_handshake(bind) -> None:
    server = await bind(alpns=[ALPN])
    client = await bind(hooks=[Recorder(after=Reject(8, b"not you"))])
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    accepted = await (await server.accept_next())
    with pytest.raises(LocallyRejectedError):
        await dial
    closed = await accepted.closed()
    assert (closed.code, closed.reason.reason) == (8, b"not you")


async def test_the_listener_rejects_after_the_handshake(bind) -> None:
    server = await bind(alpns=[ALPN], hooks=[Recorder(after=Reject(9, b"full"))])
    client = await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    with pytest.raises(LocallyRejectedError):
        await (await server.accept_next())
    closed = await (await dial).closed()
    assert closed.code == 9


async def test_a_router_goes_on_after_a_reject_and_a_bug(bind) -> None:
    answers = [Reject(9, b""), "nonsense", None]

    class Turns(EndpointHooks):
        async def after_handshake(self, conn):
            return answers.pop(0)

    served = asyncio.Event()

    async def serve(conn) -> None:
        served.set()

    server, client = await bind(hooks=[Turns()]), await bind()
    Router(server, {ALPN: serve})
    codes = []
    for _ in range(3):
        conn = await client.connect(server.addr(), ALPN)
        codes.append((await conn.closed()).code)
    assert codes == [9, 0, 0]
    assert served.is_set()
    await server.close()


async def test_an_exception_of_a_hook_reaches_the_caller(bind) -> None:
    class Broken(EndpointHooks):
        async def after_handshake(self, conn):
            raise LookupError("broken")

    server, client = await bind(alpns=[ALPN]), await bind(hooks=[Broken()])
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    accepted = await (await server.accept_next())
    with pytest.raises(LookupError, match="broken"):
        await dial
    assert (await accepted.closed()).code == 0


async def test_a_hook_that_is_cancelled_lets_nothing_pass(bind) -> None:
    asked = asyncio.Event()

    class Slow(EndpointHooks):
        async def after_handshake(self, conn):
            asked.set()
            await asyncio.get_running_loop().create_future()

    server, client = await bind(alpns=[ALPN]), await bind(hooks=[Slow()])
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    accepted = await (await server.accept_next())
    await asked.wait()
    dial.cancel()
    await asyncio.wait((dial,))
    assert dial.cancelled()
    assert (await accepted.closed()).code == 0


async def test_a_hook_may_keep_a_weak_reference(bind) -> None:
    kept = []

    class Weak(EndpointHooks):
        async def after_handshake(self, conn):
            kept.append(weakref.ref(conn))

    server, client = await bind(alpns=[ALPN]), await bind(hooks=[Weak()])
    ours, theirs = await meet(client, server)
    assert kept[0]() is ours
    del ours
    assert (await theirs.closed()).code == 0
    assert kept[0]() is None


async def test_what_is_no_hook_is_refused(bind) -> None:
    with pytest.raises(TypeError, match="EndpointHooks"):
        await bind(hooks=[object()])
