"""One upgraded connection as messages in and messages out: the seam to the WebSocket library.

Everything above needs only `Stream`, so that another library (or a test) can take aiohttp's
place. Frames that fit are written at once, in the turn of whoever has them; a task switch per
frame would cost more than the frame itself. Frames that follow another one closely are held until
the end of the turn and written together: a system call costs as much as all the rest of a frame.

The server's WebSocket header (RFC 6455 section 5.2), never masked, never fragmented:

    | 82 | length | ...                        up to 125 bytes
    | 82 | 7e | length u16 | ...               up to 65535 bytes
    | 82 | 7f | length u64 | ...               beyond
"""

import asyncio
import logging
from time import monotonic
from typing import Final, Protocol

from aiohttp import WSMsgType, web

__all__ = ["Stream", "WebSocketStream"]

logger: logging.Logger = logging.getLogger(__name__)

_HIGH_WATER: Final = 64 * 1024
"""Bytes in a transport's buffer above which a client counts as slow (asyncio's own default)."""


_BURST: Final = 0.0002
"""Seconds after a frame within which the next one belongs to the same burst."""
_HELD_MOST: Final = 32 * 1024
"""Bytes of a burst that are written together."""


class Stream(Protocol):
    """A connection that carries binary messages."""

    async def read(self) -> bytes | None:
        """The next binary message, or None at the end. Cancelling loses no message."""
        ...

    def write_now(self, frame: bytes) -> bool:
        """Send without waiting; False, and nothing sent, if the client is slow or gone."""
        ...

    async def write(self, frame: bytes) -> None:
        """Send and wait until the connection can take more. Raises `ConnectionError`.

        When cancelled, the frame was sent all the same.
        """
        ...

    def close(self) -> None:
        """Drop the connection once what was written is out, or soon after."""
        ...

    def abort(self) -> None:
        """Drop the connection now."""
        ...


class WebSocketStream:
    """A `Stream` over an aiohttp WebSocket whose 101 has been sent.

    It writes frames to the transport beside aiohttp's own writer, which is sound because both
    write whole frames only and no extension is negotiated.
    """

    __slots__ = ("_grace", "_held", "_held_size", "_last", "_loop", "_transport", "_ws")

    def __init__(
        self, ws: web.WebSocketResponse, transport: asyncio.Transport, grace: float
    ) -> None:
        self._ws = ws
        self._transport = transport
        self._grace = grace  # seconds that close() leaves for what is still to be sent
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._held_size = 0
        self._last = 0.0

    async def read(self) -> bytes | None:
        """The next binary message; text is skipped, pings are answered below us."""
        while True:
            message = await self._ws.receive()
            if message.type is WSMsgType.BINARY:
                data: bytes = message.data
                return data
            if message.type is not WSMsgType.TEXT:
                return None
            logger.debug("skipped a text message")

    def write_now(self, frame: bytes) -> bool:
        """See `Stream.write_now`."""
        transport = self._transport
        waiting = transport.get_write_buffer_size() + self._held_size
        if waiting > _HIGH_WATER or transport.is_closing():
            return False
        size = len(frame)
        if size < 126:
            header = bytes((0x82, size))
        elif size < 65536:
            header = b"\x82\x7e" + size.to_bytes(2)
        else:
            header = b"\x82\x7f" + size.to_bytes(8)
        now = monotonic()
        quiet, self._last = now - self._last > _BURST, now
        if self._held_size:
            self._hold(header, frame)
            if self._held_size > _HELD_MOST:
                self._flush()
        elif quiet:
            transport.write(header + frame)
        else:
            self._hold(header, frame)
            self._loop.call_soon(self._flush)
        return True

    def _hold(self, header: bytes, frame: bytes) -> None:
        self._held += (header, frame)
        self._held_size += len(header) + len(frame)

    def _flush(self) -> None:
        """Write what was held back."""
        if self._held_size:
            data = b"".join(self._held)
            self._held.clear()
            self._held_size = 0
            if not self._transport.is_closing():
                self._transport.write(data)

    async def write(self, frame: bytes) -> None:
        """See `Stream.write`; waits while the transport holds more than its high-water mark."""
        self._flush()
        await self._ws.send_bytes(frame)

    def close(self) -> None:
        """Without a WebSocket close frame, as Rust relays do: clients reconnect at once."""
        transport = self._transport
        if transport.is_closing():
            return
        self._flush()
        # TLS would wait for the peer's goodbye, however long it takes.
        waits = transport.get_write_buffer_size() or transport.get_extra_info("sslcontext")
        transport.close()
        if waits:
            asyncio.get_running_loop().call_later(self._grace, transport.abort)

    def abort(self) -> None:
        """See `Stream.abort`."""
        self._transport.abort()
