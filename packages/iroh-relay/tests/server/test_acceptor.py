"""Accepting connections when the system refuses to."""

import asyncio
import errno
import logging
import os
import socket
import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import cast

import pytest

from iroh_base.addr import SocketAddr
from iroh_relay.server import RelayServer, acceptor
from iroh_relay.server.acceptor import Acceptor
from iroh_relay.server.listen import listening_socket

from .conftest import LOOPBACK
from .peer import PATIENCE, Peer, connect


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


async def greeted(sock: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_one_that_comes_when_it_is_stopped() -> None:
    """It is seen in the turn of the loop in which nobody wants it any more; see conftest.py."""
    sock = listening_socket(LOOPBACK)
    accepting = Acceptor(sock, Greeter)
    accepting.start()
    assert await greeted(sock) == b"hello"
    with socket.create_connection(sock.getsockname()) as client:
        asyncio.get_running_loop().call_soon(accepting.stop)
        await asyncio.sleep(0)
        await accepting.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


async def test_many_at_once_until_it_is_closed() -> None:
    sock = listening_socket(LOOPBACK)
    address = sock.getsockname()
    accepting = Acceptor(sock, Greeter)
    accepting.start()
    assert await asyncio.gather(*(greeted(sock) for _ in range(100))) == [b"hello"] * 100
    accepting.stop()
    await accepting.close()
    await accepting.close()
    with pytest.raises(OSError, match="failed"):
        await asyncio.open_connection(*address)


async def test_closing_one_that_never_started() -> None:
    sock = listening_socket(LOOPBACK)
    await Acceptor(sock, Greeter).close()
    assert sock.fileno() == -1


async def test_failures_are_waited_out_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acceptor, "RETRY_DELAY", 0.001)
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept
    failures = [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EMFILE, "Too many open files"),
        ConnectionAbortedError(),
    ]

    async def failing(sock: socket.socket) -> object:
        if failures:
            raise failures.pop(0)
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", failing)
    sock = listening_socket(LOOPBACK)
    accepting = Acceptor(sock, Greeter)
    accepting.start()
    try:
        assert await greeted(sock) == b"hello"
    finally:
        await accepting.close()
    assert not failures
    assert caplog.text.count("Too many open files") == 1


async def test_a_client_that_is_gone_again_makes_no_noise(
    relay: RelayServer, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        gone = await Peer.tcp(relay)
        gone.writer.transport.abort()
        await gone.close()
    async with connect(relay, 1) as peer:
        await peer.settle()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


EXHAUSTED = """
    import asyncio, resource
    from iroh_base.addr import SocketAddr
    from iroh_relay.server import RelayServer, RelayServerConfig

    async def main():
        config = RelayServerConfig(http_bind_addr=SocketAddr("127.0.0.1", 0))
        async with RelayServer(config) as server:
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            print(server.http_addr.port, flush=True)
            await asyncio.to_thread(input)

    asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="the limit of descriptors is POSIX's")
async def test_descriptors_exhausted() -> None:
    """More connections than the process may have: who is in goes on, who waits comes in later."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(EXHAUSTED), stdin=pipe, stdout=pipe,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None

    port = int(await process.stdout.readline())
    # All that a peer asks for.
    there = cast(RelayServer, SimpleNamespace(http_addr=SocketAddr("127.0.0.1", port)))
    async with connect(there, 1) as first:
        silent = [await Peer.tcp(there) for _ in range(200)]
        await first.settle()
        for one in silent:
            await one.close()
        async with connect(there, 2) as second:
            second.send_datagram(first, b"made it")
            await first.receive()
    _, errors = await process.communicate(b"\n")
    assert errors.count(b"Too many open files") == 1
    assert b"Traceback" not in errors
    assert len(errors) < 1000
