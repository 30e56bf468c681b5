"""The blocking front: what it does as `iroh` does, and what only threads, signals and forks do."""

import asyncio
import http.client
import inspect
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import iroh
import iroh.sync
from iroh import ConnectionLostError, StreamResetError, presets
from iroh.protocols import ECHO_ALPN, Echo
from iroh.sync import BiStream, Connection, Endpoint, Portal, PortalClosedError

ALPN = b"test/0"
SETTINGS = {"bind_addr": "127.0.0.1:0"}


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Portal() as portal:
        yield portal


@contextmanager
def connected(portal: Portal) -> Iterator[tuple[Connection, Connection]]:
    """Two endpoints in one thread, connected; the dialling end first."""
    with (
        Endpoint.bind(presets.Minimal, portal=portal, alpns=[ALPN], **SETTINGS) as server,
        Endpoint.bind(presets.Minimal, portal=portal, **SETTINGS) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        dialled = pool.submit(client.connect, server.addr(), ALPN)
        accepted = server.accept_next(timeout=10)
        assert accepted is not None
        with accepted.establish(timeout=10) as there, dialled.result() as here:
            yield here, there


@contextmanager
def stream(portal: Portal) -> Iterator[tuple[BiStream, BiStream]]:
    with connected(portal) as (here, there):
        ours = here.open_bi()
        ours.send().write_all(b"!")
        theirs = there.accept_bi()
        assert theirs.recv().read_exact(1) == b"!"
        yield ours, theirs


def test_echo_from_several_threads() -> None:
    with (
        Endpoint.bind(presets.Minimal, protocols={ECHO_ALPN: Echo()}, **SETTINGS) as server,
        Endpoint.bind(presets.Minimal, **SETTINGS) as client,
        client.connect(server.addr(), ECHO_ALPN) as conn,
        ThreadPoolExecutor(8) as pool,
    ):

        def echo(number: int) -> bytes:
            data = bytes([number]) * 100_000
            send, recv = conn.open_bi()
            with send:
                send.write_all(data)
            assert recv.read_to_end(200_000, timeout=20) == data
            return data[:1]

        assert list(pool.map(echo, range(16))) == [bytes([n]) for n in range(16)]
        assert conn.remote_id() == server.id()
        assert len(conn.paths()) == 1
        assert server.portal is not client.portal
        path_lists = conn.paths_stream()
        assert next(path_lists)[0].is_selected
    assert client.is_closed()
    assert client.id() != server.id()
    assert conn.close_reason() is not None
    conn.close()


def test_a_timeout_loses_nothing(portal) -> None:
    with stream(portal) as (ours, theirs):
        with pytest.raises(TimeoutError):
            theirs.recv().read(10, timeout=0.01)
        ours.send().write_all(b"late")
        assert theirs.recv().read(10, timeout=10) == b"late"


def test_a_step_that_times_out_does_not_end_the_iteration(portal) -> None:
    with Endpoint.bind(presets.Minimal, portal=portal, alpns=[ALPN], **SETTINGS) as server:
        attempts = server.incoming()
        with pytest.raises(TimeoutError):
            attempts.step(timeout=0.01)
        addresses = server.watch_addr()
        with pytest.raises(TimeoutError):
            addresses.updated(timeout=0.01)
        assert next(iter(addresses)) == server.addr()
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(list, attempts)
            server.close()
            assert ended.result() == []


def test_errors_are_those_of_iroh(portal) -> None:
    with stream(portal) as (ours, theirs):
        with pytest.raises(ZeroDivisionError), ours.send():
            raise ZeroDivisionError
        with pytest.raises(StreamResetError):
            list(theirs.recv())
        ours.recv().stop(7)
        assert theirs.send().stopped(timeout=10) == 7


def test_closing_wakes_who_waits() -> None:
    portal = Portal()
    with stream(portal) as (ours, theirs), ThreadPoolExecutor(2) as pool:
        started = threading.Barrier(2)

        async def hang() -> None:
            started.wait()
            await asyncio.Event().wait()

        waiting = pool.submit(portal.wait, None, hang)
        started.wait()
        reading = pool.submit(ours.recv().read)
        portal.close()
        with pytest.raises(PortalClosedError):
            waiting.result()
        assert isinstance(reading.exception(), iroh.StreamError | PortalClosedError)
        with pytest.raises(PortalClosedError):
            ours.recv().read()
        assert theirs.recv().stream_id == 0


def test_it_does_not_wait_for_itself(portal) -> None:
    async def wait() -> None:
        with pytest.raises(RuntimeError, match="wait for itself"):
            portal.wait(None, wait)

    portal.wait(None, wait)


def test_a_forgotten_endpoint_is_closed_with_a_warning() -> None:
    endpoint = Endpoint.bind(presets.Minimal, **SETTINGS)
    aio, worker = endpoint.aio, endpoint.portal._worker
    with pytest.warns(ResourceWarning, match="unclosed portal"):
        del endpoint  # the last reference
    worker.thread.join()
    assert aio.is_closed()


# -- files and sockets ------------------------------------------------------------------------


def test_copyfileobj(portal) -> None:
    data = os.urandom(1_000_000)
    with stream(portal) as (ours, theirs), ThreadPoolExecutor(1) as pool:

        def send() -> None:
            with ours.send().makefile() as file:
                shutil.copyfileobj(io.BytesIO(data), file)

        sent = pool.submit(send)
        target = io.BytesIO()
        with theirs.recv().makefile() as file:
            assert not file.writable()
            shutil.copyfileobj(file, target)
        sent.result()
        assert target.getvalue() == data


def test_a_file_that_is_left_by_an_exception_is_no_whole_one(portal) -> None:
    with stream(portal) as (ours, theirs):
        with pytest.raises(ZeroDivisionError), ours.send().makefile() as file:
            raise ZeroDivisionError(file.write(b"a part"))
        with pytest.raises(ConnectionError):
            theirs.recv().read_to_end(100)
        with ours.recv().makefile(0, timeout=0.01) as file:
            with pytest.raises(TimeoutError):
                file.read(1)
            assert file.readinto(bytearray()) == 0
        with pytest.raises(ValueError, match="closed file"):
            file.read(1)


def test_http_client(portal) -> None:
    with stream(portal) as (ours, theirs), ThreadPoolExecutor(1) as pool:

        def serve() -> list[bytes]:
            sock = theirs.as_socket()
            asked = []
            with sock.makefile("rwb") as file:
                for _ in range(2):
                    asked.append(file.readline())
                    while file.readline() != b"\r\n":
                        pass
                    file.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                    file.flush()
            sock.close()
            return asked

        served = pool.submit(serve)
        http_connection = http.client.HTTPConnection("peer")
        http_connection.sock = ours.as_socket()  # type: ignore[assignment]
        for path in ("/one", "/two"):
            http_connection.request("GET", path)
            assert http_connection.getresponse().read() == b"hello"
        assert served.result() == [b"GET /one HTTP/1.1\r\n", b"GET /two HTTP/1.1\r\n"]
        sock = http_connection.sock
        sock.settimeout(10)
        assert sock.gettimeout() == 10
        assert sock.recv(1) == b""
        sock.shutdown(socket.SHUT_WR)
        http_connection.close()
        with pytest.raises(ValueError, match="mode"):
            theirs.as_socket().makefile("r")


# -- processes --------------------------------------------------------------------------------


def run(program: str, *, stderr: str = "", status: int = 0) -> str:
    command = (sys.executable, "-W", "error", "-c", textwrap.dedent(program))
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == status, done.stderr
    assert stderr in done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to itself")
def test_ctrl_c_interrupts_a_call_and_the_connection_lives_on(portal) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.get_ident()
    try:
        with stream(portal) as (ours, theirs):
            reached = threading.Event()

            async def read() -> bytes:
                reached.set()
                return await theirs.recv().aio.read()

            def interrupt() -> None:
                reached.wait()
                signal.pthread_kill(main, signal.SIGINT)

            with ThreadPoolExecutor(1) as pool:
                pool.submit(interrupt)
                with pytest.raises(KeyboardInterrupt):
                    portal.wait(None, read)
            ours.send().write_all(b"after")
            assert theirs.recv().read(timeout=10) == b"after"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_program_that_forgets_to_close_comes_to_its_end() -> None:
    program = """
        from iroh import presets
        from iroh.sync import Endpoint
        endpoint = Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0")
        print("end of main")
    """
    assert run(program) == "end of main\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_told() -> None:
    program = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: it is, with threads
        from iroh import presets
        from iroh.sync import Endpoint
        with Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0") as endpoint:
            pid = os.fork()
            if not pid:
                try:
                    endpoint.addr()
                except RuntimeError as error:
                    print(error, flush=True)
                    with Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0"):
                        os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert run(program).startswith("this process was forked: ")


# -- the same names ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Endpoint", "Connection", "SendStream", "RecvStream", "Incoming"])
def test_the_front_has_the_methods_of_iroh(name) -> None:
    ours, theirs = getattr(iroh.sync, name), getattr(iroh, name)
    names = {n for n in dir(theirs) if not n.startswith("_") and callable(getattr(theirs, n))}
    assert names <= set(dir(ours))
    for method in names & set(vars(ours)):
        parameters = list(inspect.signature(getattr(theirs, method)).parameters)
        if "callback" not in parameters:
            own = list(inspect.signature(getattr(ours, method)).parameters)
            assert own in (parameters, [*parameters, "timeout"])
        assert getattr(ours, method).__doc__


def test_a_peer_that_goes_is_an_error(portal) -> None:
    with connected(portal) as (here, there):
        here.close(5, b"enough")
        assert there.closed(timeout=10).code == 5
        with pytest.raises(ConnectionLostError):
            there.accept_bi()
