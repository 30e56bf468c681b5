"""Accepting connections when the system refuses to."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import pytest

from iroh_dns_server import listener as module
from iroh_dns_server.listener import Listener
from iroh_dns_server.sockets import bind_tcp, local_addr


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


@pytest.fixture
async def sock() -> AsyncIterator[socket.socket]:
    bound = bind_tcp(IPv4Address("127.0.0.1"), 0, "test")
    yield bound
    bound.close()


async def greeted(sock: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(*local_addr(sock))
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_connections_are_accepted_until_it_is_closed(sock: socket.socket) -> None:
    listener = Listener(sock, Greeter)
    address = local_addr(sock)
    listener.start()
    assert await greeted(sock) == b"hello"
    await listener.close()
    await listener.close()
    with pytest.raises(OSError, match="failed"):
        await asyncio.open_connection(*address)


async def test_one_that_comes_when_it_is_closed(sock: socket.socket) -> None:
    """It is seen in the turn of the loop in which nobody wants it any more; see conftest.py."""
    listener = Listener(sock, Greeter)
    listener.start()
    assert await greeted(sock) == b"hello"
    with socket.create_connection(local_addr(sock)) as client:
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(listener.close()))
        await asyncio.sleep(0)
        await listener.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


async def test_closing_one_that_never_started(sock: socket.socket) -> None:
    await Listener(sock, Greeter).close()
    assert sock.fileno() == -1


async def test_failures_are_waited_out_and_told_once(
    sock: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_DELAY", 0.001)
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
    listener = Listener(sock, Greeter)
    listener.start()
    try:
        assert await greeted(sock) == b"hello"
    finally:
        await listener.close()
    assert not failures
    assert caplog.text.count("Too many open files") == 1
