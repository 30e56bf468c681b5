"""Blocking handlers, hooks and filters: what a program without async serves with."""

import io
import json
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import iroh
from iroh import (
    ConnectionLostError,
    EndpointOptions,
    IncomingFilterOutcome,
    LocallyRejectedError,
    Reject,
    presets,
)
from iroh.errors import ConsumedError
from iroh.protocols import ECHO_ALPN, Echo
from iroh.sync import (
    Connection,
    Endpoint,
    EndpointBuilder,
    EndpointHooks,
    Incoming,
    Portal,
    PortalClosedError,
    ProtocolCreator,
    ProtocolHandler,
    Router,
)
from iroh.sync import threads as threads_module

ALPN, OTHER = b"test/0", b"test/1"
SETTINGS = {"bind_addr": "127.0.0.1:0"}


def serve_echo(conn: Connection) -> None:
    while True:
        send, recv = conn.accept_bi()
        with recv.makefile() as source, send.makefile() as target:
            shutil.copyfileobj(source, target)


def ask(conn: Connection, data: bytes = b"hello") -> bytes:
    send, recv = conn.open_bi()
    with send:
        send.write_all(data)
    return recv.read_to_end(len(data) + 1, timeout=20)


@pytest.fixture
def client():
    with Endpoint.bind(presets.Minimal, **SETTINGS) as client:
        yield client


def test_functions_objects_and_async_handlers(client) -> None:
    class Greeter(ProtocolHandler):
        told = False

        def accept(self, conn: Connection) -> None:
            here.append(threading.current_thread().name)
            with conn.open_uni() as send:
                send.write_all(b"good day")
            conn.closed()

        def shutdown(self) -> None:
            self.told = True

    async def in_the_loop(conn: iroh.Connection) -> None:
        here.append(threading.current_thread().name)
        await conn.closed()

    here: list[str] = []
    greeter = Greeter()
    protocols = {ALPN: serve_echo, OTHER: greeter, b"loop": in_the_loop, ECHO_ALPN: Echo()}
    with Endpoint.bind(presets.Minimal, protocols=protocols, **SETTINGS) as server:
        for alpn in (ALPN, ECHO_ALPN):
            with client.connect(server.addr(), alpn, timeout=10) as conn:
                assert ask(conn, bytes(300_000)) == bytes(300_000)
        with client.connect(server.addr(), OTHER, timeout=10) as conn:
            assert conn.accept_uni(timeout=10).read_to_end(10) == b"good day"
        with client.connect(server.addr(), b"loop", timeout=10):
            pass
    assert here == ["iroh-handler", server.portal._worker.thread.name]
    assert greeter.told


def test_more_peers_than_threads() -> None:
    """Who finds no thread waits for one; nobody is turned away."""
    running, most = 0, 0
    lock, enough = threading.Lock(), threading.Semaphore(0)

    def serve(conn: Connection) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        enough.release()
        conn.accept_uni().read_to_end(10)
        with lock:
            running -= 1

    with (
        Portal() as portal,
        Endpoint.bind(
            presets.Minimal, protocols={ALPN: serve}, max_threads=2, portal=portal, **SETTINGS
        ) as server,
        Endpoint.bind(presets.Minimal, portal=portal, **SETTINGS) as client,
    ):
        conns = [client.connect(server.addr(), ALPN, timeout=10) for _ in range(5)]
        for conn in conns:
            assert enough.acquire(timeout=20)
            with conn.open_uni() as send:
                send.write_all(b"x")
        for conn in conns:
            assert conn.closed(timeout=20).code == 0
    assert most == 2


def test_closing_ends_handlers_and_a_handler_may_close(client) -> None:
    ended: list[Exception] = []

    def serve(conn: Connection) -> None:
        try:
            conn.accept_bi()
        except ConnectionLostError as error:
            ended.append(error)

    def serve_one(conn: Connection) -> None:
        conn.accept_uni().read_to_end(10)
        server.close()

    protocols = {ALPN: serve, OTHER: serve_one}
    server = Endpoint.bind(presets.Minimal, protocols=protocols, **SETTINGS)
    waiting = client.connect(server.addr(), ALPN, timeout=10)
    with client.connect(server.addr(), OTHER, timeout=10).open_uni() as send:
        send.write_all(b"enough")
    assert waiting.closed(timeout=10).code == 0
    server.portal._worker.thread.join()
    assert server.is_closed()
    assert len(ended) == 1


def test_a_handler_that_hangs_is_left_behind(client, monkeypatch, caplog) -> None:
    monkeypatch.setattr(threads_module, "ENDING", 0.01)
    reached, over = threading.Event(), threading.Event()

    def serve(_conn: Connection) -> None:
        reached.set()
        over.wait()

    server = Endpoint.bind(presets.Minimal, protocols={ALPN: serve}, **SETTINGS)
    conn = client.connect(server.addr(), ALPN, timeout=10)
    assert reached.wait(10)
    server.close()
    over.set()
    assert conn.closed(timeout=10).code == 0
    assert "goes on although its connection ended" in caplog.text


def test_a_router(client, caplog) -> None:
    def broken(_conn: Connection) -> None:
        raise ZeroDivisionError

    class Slow(ProtocolHandler):
        def on_accepting(self, accepting):
            alpns.append(accepting.alpn())
            return super().on_accepting(accepting)

        def accept(self, conn: Connection) -> None:
            conn.close(7, b"enough")

    alpns: list[bytes] = []
    endpoint = Endpoint.bind(presets.Minimal, **SETTINGS)
    with Router(endpoint, {ALPN: broken, OTHER: Slow()}) as router:
        assert router.endpoint is endpoint
        assert "test/0" in repr(router)
        assert client.connect(endpoint.addr(), ALPN, timeout=10).closed(timeout=10).code == 0
        assert client.connect(endpoint.addr(), OTHER, timeout=10).closed(timeout=10).code == 7
        assert not router.is_shutdown()
    assert router.is_shutdown()
    assert endpoint.is_closed()
    assert router.refused == 0
    assert alpns == [OTHER]
    assert "ZeroDivisionError" in caplog.text
    with (
        Endpoint.bind(presets.Minimal, **SETTINGS) as endpoint,
        pytest.raises(TypeError, match="a function of a connection"),
    ):
        Router(endpoint, {ALPN: ProtocolHandler})


def test_hooks_and_filters_may_block(client) -> None:
    class Guard(EndpointHooks):
        def before_connect(self, remote, alpn: bytes) -> Reject | None:
            asked.append((threading.current_thread().name, alpn))
            return Reject(reason=b"not this one") if alpn == OTHER else None

        def after_handshake(self, conn: Connection) -> Reject | None:
            return Reject(9, b"not you") if conn.remote_id() == stranger.id() else None

    def let_in(incoming: Incoming) -> IncomingFilterOutcome:
        asked.append((threading.current_thread().name, incoming.remote_addr()))
        return IncomingFilterOutcome.ACCEPT

    asked: list[object] = []
    options = EndpointOptions(
        preset=presets.Minimal,
        protocols={ALPN: serve_echo},
        hooks=[Guard()],
        incoming_filter=let_in,
        **SETTINGS,
    )
    with (
        Endpoint.bind(presets.Minimal, **SETTINGS) as stranger,
        Endpoint.bind(options) as endpoint,
    ):
        assert ask(client.connect(endpoint.addr(), ALPN, timeout=10)) == b"hello"
        assert stranger.connect(endpoint.addr(), ALPN, timeout=10).closed(timeout=10).code == 9
        with pytest.raises(LocallyRejectedError, match="not this one"):
            endpoint.connect(client.addr(), OTHER, timeout=10)
        with pytest.raises(TypeError, match="not both"):
            Endpoint.bind(options, alpns=[ALPN])
    assert {name for name, _ in asked} == {"iroh-hook"}


def test_a_creator_and_a_builder(client) -> None:
    class Maker(ProtocolCreator):
        def create(self, endpoint: Endpoint):
            ids.append(endpoint.id())
            return serve_echo

    class AsyncMaker(iroh.ProtocolCreator):
        def create(self, endpoint: iroh.Endpoint):
            return Echo()

    class Pass(EndpointHooks):
        pass

    ids: list[iroh.PublicKey] = []
    builder = EndpointBuilder()
    builder.apply_minimal()
    builder.bind_addr("127.0.0.1:0")
    builder.hooks(Pass())
    builder.hooks(iroh.EndpointHooks())
    with pytest.raises(TypeError, match="hooks derive from"):
        builder.hooks(object())
    with builder.bind(protocols={ALPN: Maker(), ECHO_ALPN: AsyncMaker()}, timeout=10) as endpoint:
        assert ids == [endpoint.id()]
        for alpn in (ALPN, ECHO_ALPN):
            assert ask(client.connect(endpoint.addr(), alpn, timeout=10)) == b"hello"
    with pytest.raises(ConsumedError):
        builder.bind()


def test_a_forgotten_server_is_closed_with_a_warning() -> None:
    endpoint = Endpoint.bind(presets.Minimal, protocols={ALPN: serve_echo}, **SETTINGS)
    aio, worker = endpoint.aio, endpoint.portal._worker
    endpoints = [endpoint]
    del endpoint
    with pytest.warns(ResourceWarning, match="unclosed portal"):
        endpoints.clear()
    worker.thread.join()
    assert aio.is_closed()


def test_a_call_that_times_out_while_binding_leaves_no_thread() -> None:
    class Never(ProtocolCreator):
        def create(self, endpoint: Endpoint):
            raise PortalClosedError("no")

    before = threading.active_count()
    with pytest.raises(PortalClosedError):
        Endpoint.bind(presets.Minimal, protocols={ALPN: Never()}, **SETTINGS)
    assert threading.active_count() == before


# -- what people do with files ----------------------------------------------------------------


def test_pickle_json_lines_and_text(client) -> None:
    def serve(conn: Connection) -> None:
        """Answer pickles, then lines of JSON."""
        stream = conn.accept_bi()
        with stream.recv().makefile() as source, stream.send().makefile() as target:
            pickle.dump(sum(pickle.load(source)), target)
        stream = conn.accept_bi()
        lines = io.TextIOWrapper(stream.recv().makefile(), encoding="utf-8")
        with stream.send().makefile() as target:
            for line in lines:
                target.write(json.dumps({"got": json.loads(line)}).encode() + b"\n")
        conn.closed()

    with (
        Endpoint.bind(presets.Minimal, protocols={ALPN: serve}, **SETTINGS) as server,
        client.connect(server.addr(), ALPN, timeout=10) as conn,
    ):
        stream = conn.open_bi()
        with stream.send().makefile() as target:
            pickle.dump(list(range(100_000)), target)
        with stream.recv().makefile(timeout=10) as source:
            assert pickle.load(source) == sum(range(100_000))
        stream = conn.open_bi()
        with io.TextIOWrapper(stream.send().makefile(), encoding="utf-8") as text:
            text.writelines(json.dumps({"n": n, "ü": "ß" * n}) + "\n" for n in range(3))
        answers = [json.loads(line) for line in stream.recv().makefile(timeout=10)]
        assert answers[2] == {"got": {"n": 2, "ü": "ßß"}}


# -- programs ---------------------------------------------------------------------------------


def run(program: str) -> str:
    command = (sys.executable, "-W", "error", "-c", textwrap.dedent(program))
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_program_whose_handlers_wait_comes_to_its_end() -> None:
    """Nobody closed anything: the connections end with the main thread, and handlers with them."""
    program = """
        from iroh import presets
        from iroh.sync import Endpoint
        def serve(conn):
            with conn.open_uni() as send:
                send.write_all(b"x")
            conn.accept_bi()
        server = Endpoint.bind(presets.Minimal, protocols={b"x": serve}, bind_addr="127.0.0.1:0")
        client = Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0")
        conn = client.connect(server.addr(), b"x", timeout=10)
        print(conn.accept_uni().read_to_end(9))
    """
    assert run(program) == "b'x'\n"


def test_portals_in_several_threads() -> None:
    """Each thread its own portal, and one dials the other's endpoint."""
    with Endpoint.bind(presets.Minimal, protocols={ALPN: serve_echo}, **SETTINGS) as server:
        addr = server.addr()

        def talk(number: int) -> bytes:
            with (
                Portal(f"portal-{number}") as portal,
                Endpoint.bind(presets.Minimal, portal=portal, **SETTINGS) as endpoint,
            ):
                return ask(endpoint.connect(addr, ALPN, timeout=20), bytes([number]))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(talk, range(4))) == [bytes([n]) for n in range(4)]
