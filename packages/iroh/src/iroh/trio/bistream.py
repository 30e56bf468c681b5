"""Both halves of a stream, for the trio front."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import trio

from iroh import streams as aio
from iroh.trio.streams import RecvStream, SendStream

if TYPE_CHECKING:
    from iroh.trio.portal import Portal

__all__ = ["BiStream"]


class BiStream(trio.abc.HalfCloseableStream):
    """Both halves, as one stream of trio: `send, recv = await connection.open_bi()` unpacks it."""

    def __init__(self, portal: Portal, both: aio.BiStream) -> None:
        """Show both halves."""
        self._send, self._recv = SendStream(portal, both[0]), RecvStream(portal, both[1])

    def send(self) -> SendStream:
        """Return the sending half, always the same object."""
        return self._send

    def recv(self) -> RecvStream:
        """Return the receiving half, always the same object."""
        return self._recv

    def __iter__(self) -> Iterator[SendStream | RecvStream]:
        """Unpack."""
        return iter((self._send, self._recv))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `SendStream.send_all`."""
        await self._send.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See `SendStream.wait_send_all_might_not_block`."""
        await self._send.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `RecvStream.receive_some`."""
        return await self._recv.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Finish the sending half; receiving goes on. Idempotent until `aclose`."""
        await self._send.send_eof()

    async def aclose(self) -> None:
        """Finish the sending half and stop the receiving one. Idempotent."""
        try:
            await self._send.aclose()
        finally:
            await self._recv.aclose()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; after an exception the sending half is reset."""
        try:
            await self._send.__aexit__(exc_type, exc, traceback)
        finally:
            await self._recv.aclose()

    def __repr__(self) -> str:
        return f"<BiStream: {self._send!r}, {self._recv!r}>"
