"""Both halves of a stream, for the trio front."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio

from iroh import streams as aio
from iroh.trio.streams import RecvStream, SendStream

if TYPE_CHECKING:
    from iroh.trio.portal import Portal

__all__ = ["BiStream"]


class BiStream(tuple[SendStream, RecvStream], trio.abc.HalfCloseableStream):
    """Both halves, as one stream of trio: `send, recv = await connection.open_bi()` unpacks it."""

    __slots__ = ()

    def __new__(cls, portal: Portal, both: aio.BiStream) -> Self:
        """Show both halves."""
        return super().__new__(cls, (SendStream(portal, both[0]), RecvStream(portal, both[1])))

    def send(self) -> SendStream:
        """Return the sending half, always the same object."""
        return self[0]

    def recv(self) -> RecvStream:
        """Return the receiving half, always the same object."""
        return self[1]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `SendStream.send_all`."""
        await self[0].send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See `SendStream.wait_send_all_might_not_block`."""
        await self[0].wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `RecvStream.receive_some`."""
        return await self[1].receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Finish the sending half; receiving goes on. Idempotent until `aclose`.

        Cancelling it leaves it to `aclose`.
        """
        await self[0].send_eof()

    async def aclose(self) -> None:
        """Finish the sending half and stop the receiving one. Idempotent.

        It is done also in a cancelled scope.
        """
        try:
            await self[0].aclose()
        finally:
            await self[1].aclose()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; after an exception the sending half is reset."""
        try:
            await self[0].__aexit__(exc_type, exc, traceback)
        finally:
            await self[1].aclose()

    def __repr__(self) -> str:
        return f"<BiStream: {self[0]!r}, {self[1]!r}>"
