"""Hears when a datagram socket can be read, or written again, on any event loop.

reading        writing        on
-------        -------        --
add_reader     add_writer     selector loops, uvloop: wherever a loop can watch a socket
sock_recvfrom  a short timer  ProactorEventLoop, the one that Windows has by default
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

logger: logging.Logger = logging.getLogger(__name__)

RETRY = 0.005
"""Seconds until a full buffer is tried again where nobody tells that it has room."""
_MAX_DATAGRAM = 65_535


class SocketWatch:
    """Watches one socket on the running loop until `stop`.

    on_readable: read all there is. on_datagram: one that was read already, and from where; then
    on_readable is called. on_writable: after `await_room`.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_readable: Callable[[], object],
        on_datagram: Callable[[bytes, Any], None],
        on_writable: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._on_readable = on_readable
        self._on_datagram = on_datagram
        self._on_writable = on_writable
        self._receiving: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._awaits_room = False
        try:
            self._loop.add_reader(sock, on_readable)
        except NotImplementedError:  # the loop that Windows has by default
            self._receiving = self._loop.create_task(self._receive(), name="iroh-udp")

    def await_room(self) -> None:
        """Have on_writable called until `has_room`, whenever there may be room again."""
        if self._awaits_room:
            return
        self._awaits_room = True
        if self._receiving is None:
            self._loop.add_writer(self._sock, self._on_writable)
        else:
            self._retry = self._loop.call_later(RETRY, self._try_again)

    def has_room(self) -> None:
        """Stop waiting for room."""
        self._awaits_room = False
        if self._receiving is None:
            self._loop.remove_writer(self._sock)

    def stop(self) -> None:
        """Hear nothing any more. To be called before the socket is closed."""
        if self._loop.is_closed():
            return
        if self._retry is not None:
            self._retry.cancel()
        if self._receiving is not None:
            self._receiving.cancel()
        elif self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)

    def _try_again(self) -> None:
        self._on_writable()
        if self._awaits_room:
            self._retry = self._loop.call_later(RETRY, self._try_again)

    async def _receive(self) -> None:
        """Wait for one datagram after the other; what came with it is read like everywhere."""
        while self._sock.fileno() >= 0:
            try:
                data, source = await self._loop.sock_recvfrom(self._sock, _MAX_DATAGRAM)
            except OSError as error:  # an ICMP error of an earlier send
                logger.debug("receive: %s", error)
                source = None
            if source is not None:  # Windows: None stands for such an error, too
                self._on_datagram(data, source)
            if self._sock.fileno() >= 0:
                self._on_readable()
            await asyncio.sleep(0)  # a loop that has data at once does not let others run
