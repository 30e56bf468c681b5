"""Pipe: `iroh listen` and `iroh connect` with n0's dumbpipe at the other end, without relays."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import iroh
from interop import results

pytestmark = [pytest.mark.interop, pytest.mark.dumbpipe]

VARIABLE = "IROH_DUMBPIPE"
DATA = bytes(range(256)) * 4000
READY_WITHIN = 20.0
"""Seconds; dumbpipe waits for n0's relays for 5 s, which are not there."""
PIPE = asyncio.subprocess.PIPE
LOCAL = ("--no-relay", "--lookup", "none")


def command(kind: str) -> tuple[str, ...]:
    """The program of this kind."""
    if kind == "ours":
        return (sys.executable, "-m", "iroh")
    return (os.environ[VARIABLE],)


def proof(kind: str) -> str:
    """What the program is made of."""
    if kind == "ours":
        return f"ours: the program iroh {iroh.__version__} on Python {sys.version.split()[0]}"
    program = Path(os.environ[VARIABLE])
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    return f"rust: {program.name}, SHA-256 {digest}"


@dataclass
class Ends:
    """The two programs of a scenario."""

    dialer: str
    listener: str
    stack: AsyncExitStack

    async def listen(self, form: str = "", where: str = "", alpn: str = "") -> "Running":
        """Start the listening one; its ticket is known then."""
        arguments = {
            "ours": ("listen", *((f"--{form}", where) if form else ()), *LOCAL),
            "rust": {
                "": ("listen",),
                "tcp": ("listen-tcp", "--host", where),
                "unix": ("listen-unix", "--socket-path", where),
            }[form],
        }[self.listener]
        program = await self._start(self.listener, *arguments, alpn=alpn)
        await program.find_ticket()
        return program

    async def connect(
        self, ticket: str, form: str = "", where: str = "", alpn: str = ""
    ) -> "Running":
        """Start the dialling one."""
        arguments = {
            "ours": ("connect", *((f"--{form}", where) if form else ()), *LOCAL, ticket),
            "rust": {
                "": ("connect", ticket),
                "tcp": ("connect-tcp", "--addr", where, ticket),
                "unix": ("connect-unix", "--socket-path", where, ticket),
            }[form],
        }[self.dialer]
        return await self._start(self.dialer, *arguments, alpn=alpn)

    async def _start(self, kind: str, *arguments: str, alpn: str) -> "Running":
        more = ("--custom-alpn", alpn) if alpn else ()
        started = running((*command(kind), *arguments, *more))
        return await self.stack.enter_async_context(started)


@dataclass
class Running:
    """A program at work."""

    process: asyncio.subprocess.Process
    ticket: str = ""

    async def find_ticket(self) -> None:
        """Read stderr up to the line with the ticket."""
        assert self.process.stderr is not None
        async with asyncio.timeout(READY_WITHIN):
            while not self.ticket:
                line = (await self.process.stderr.readline()).decode()
                assert line, "ended without a ticket"
                word = line.split()[-1] if line.split() else ""
                self.ticket = word if word.startswith("endpoint") and len(word) > 60 else ""


@asynccontextmanager
async def running(arguments: tuple[str, ...]) -> AsyncIterator[Running]:
    """Run a program until the context ends."""
    process = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture(params=results.PAIRS)
async def ends(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> AsyncIterator[Ends]:
    """Both programs, for each combination."""
    dialer, listener = request.param.split("-")
    for kind in (dialer, listener):
        record_property(results.PROOF, proof(kind))
    async with AsyncExitStack() as stack:
        yield Ends(dialer, listener, stack)


@asynccontextmanager
async def upper_server(path: str = "") -> AsyncIterator[str]:
    """A server that answers in capitals; gives its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    if path:
        server = await asyncio.start_unix_server(serve, path)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield path or f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def dialogue(where: str, text: bytes) -> bytes:
    """Connect as soon as somebody listens there; send, and read the answer."""
    async with asyncio.timeout(READY_WITHIN):
        while True:
            try:
                if where.startswith("/"):
                    reader, writer = await asyncio.open_unix_connection(where)
                else:
                    reader, writer = await asyncio.open_connection(*where.split(":"))
                break
            except OSError:
                await asyncio.sleep(0.1)  # another process: there is no event to wait for
        writer.write(text)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


def free_port() -> int:
    """A port that nobody listens on just now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_standard_input_and_output(ends: Ends) -> None:
    """A megabyte each way, and both programs end with status 0."""
    await both_ways(ends)


async def test_a_protocol_of_the_users(ends: Ends) -> None:
    """The same with --custom-alpn, without a handshake."""
    await both_ways(ends, "utf8:own/1")


async def both_ways(ends: Ends, alpn: str = "") -> None:
    """Say something at both ends, and compare what the other one hears."""
    listen = await ends.listen(alpn=alpn)
    connect = await ends.connect(listen.ticket, alpn=alpn)
    (there, _), (back, _) = await asyncio.gather(
        listen.process.communicate(DATA), connect.process.communicate(DATA[::-1])
    )
    assert there == DATA[::-1]
    assert back == DATA
    assert (listen.process.returncode, connect.process.returncode) == (0, 0)


async def test_tcp_forwarding(ends: Ends) -> None:
    """Two connections, one after the other, to a server behind the pipe."""
    where = f"127.0.0.1:{free_port()}"
    async with upper_server() as server:
        listen = await ends.listen("tcp", server)
        await ends.connect(listen.ticket, "tcp", where)
        for text in (b"hello", b"again"):
            assert await dialogue(where, text) == text.upper()


async def test_unix_sockets(ends: Ends, tmp_path: Path) -> None:
    """A connection from one Unix socket to another."""
    near, far = str(tmp_path / "near"), str(tmp_path / "far")
    async with upper_server(far):
        listen = await ends.listen("unix", far)
        await ends.connect(listen.ticket, "unix", near)
        assert await dialogue(near, b"hello") == b"HELLO"
