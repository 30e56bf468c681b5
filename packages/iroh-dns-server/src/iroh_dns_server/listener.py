"""Accepting TCP connections, also when the process has no descriptor left for them.

asyncio's own server logs one traceback per place in its backlog when `accept` fails (a thousand at
once, again every second) and keeps the event loop busy with it. This one says it once, waits, and
tries again; connections wait in the kernel meanwhile.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

__all__ = ["Listener"]

logger: logging.Logger = logging.getLogger(__name__)

RETRY_DELAY = 0.25
"""Seconds until `accept` is tried again after it failed."""
COMPLAIN_INTERVAL = 60.0
"""Seconds between two log lines about it."""


class Listener:
    """Gives each connection to `sock`, a listening socket, a protocol of its own."""

    def __init__(
        self, sock: socket.socket, protocol_factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._sock = sock
        self._protocol_factory = protocol_factory
        self._task: asyncio.Task[None] | None = None
        self._complain_at = 0.0

    def start(self) -> None:
        """Begin to accept."""
        self._task = asyncio.get_running_loop().create_task(self._accept(), name="iroh-dns-accept")

    async def close(self) -> None:
        """Stop accepting and close the listening socket; connections stay. Idempotent."""
        if self._task is not None:
            _unwatch(self._sock)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._sock.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._sock)
            except ConnectionAbortedError:
                continue  # it was gone before we came to it
            except OSError as error:
                self._complain(loop.time(), error)
                await asyncio.sleep(RETRY_DELAY)
                continue
            try:
                await loop.connect_accepted_socket(self._protocol_factory, connection)
            except BaseException as error:
                connection.close()
                if not isinstance(error, OSError):
                    raise

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
