"""Accepting TCP connections, also when the process has no descriptor left for them.

asyncio's own server logs one traceback per place in its backlog when `accept` fails (a thousand at
once, again every second) and keeps the event loop busy with it; Rust's relay tries again at once.
This one says it once, waits, and tries again; connections wait in the kernel meanwhile, and the
clients that are in notice nothing.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final

__all__ = ["Acceptor"]

logger: logging.Logger = logging.getLogger(__name__)

RETRY_DELAY: Final = 0.25
"""Seconds until `accept` is tried again after it failed."""
COMPLAIN_INTERVAL: Final = 60.0
"""Seconds between two log lines about it."""
_BATCH: Final = 64
"""Connections taken before the clients that are in get their turn."""


class Acceptor:
    """Gives each connection to `sock`, a listening non-blocking socket, a protocol of its own."""

    def __init__(
        self, sock: socket.socket, protocol_factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._sock = sock
        self._protocol_factory = protocol_factory
        self._task: asyncio.Task[None] | None = None
        self._starting: set[asyncio.Task[None]] = set()
        self._complain_at = 0.0

    def start(self) -> None:
        """Begin to accept. Needs a running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="iroh-relay-accept")
        self._task.add_done_callback(lambda _: self._sock.close())  # also if it never ran

    def stop(self) -> None:
        """Take no new connections; those that were taken stay. Idempotent."""
        if self._task is not None:
            _unwatch(self._sock)
            self._task.cancel()
        else:
            self._sock.close()

    async def close(self) -> None:
        """Stop, and return when nothing of this is left. Idempotent."""
        self.stop()
        tasks = [*self._starting, *([] if self._task is None else [self._task])]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._accept(loop)
            except ConnectionAbortedError:
                continue  # it was gone before we came to it
            except OSError as error:
                self._complain(loop.time(), error)
                await asyncio.sleep(RETRY_DELAY)

    async def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a connection, and take those that wait behind it. Raises OSError."""
        connection, _ = await loop.sock_accept(self._sock)
        self._begin(loop, connection)
        for _ in range(_BATCH - 1):
            try:
                connection, _ = self._sock.accept()
            except BlockingIOError:
                return
            self._begin(loop, connection)

    def _begin(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        connection.setblocking(False)
        task = loop.create_task(self._serve(loop, connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _serve(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        """Task root: make the connection's transport."""
        try:
            await loop.connect_accepted_socket(self._protocol_factory, connection)
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):
                raise
            logger.debug("a connection was gone before it began: %s", error)

    def _complain(self, now: float, error: OSError) -> None:
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_INTERVAL
            logger.warning("no connection can be accepted (%s); trying again", error)


def _unwatch(sock: socket.socket) -> None:
    """Leave a connection that comes in this very turn to the kernel, which ends it.

    `sock_accept` would accept it for a future that is cancelled, fail, and leave it open.
    """
    if sock.fileno() >= 0:
        with contextlib.suppress(NotImplementedError):  # an event loop that watches no sockets
            asyncio.get_running_loop().remove_reader(sock)
