"""Both halves of a stream, for the blocking front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from iroh import streams as aio
from iroh.sync.files import StreamSocket
from iroh.sync.streams import RecvStream, SendStream

if TYPE_CHECKING:
    from iroh.sync.portal import Portal

__all__ = ["BiStream"]


class BiStream(tuple[SendStream, RecvStream]):
    """Both halves: `send, recv = connection.open_bi()`."""

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

    def as_socket(self) -> StreamSocket:
        """Return both as an object with the methods of a socket."""
        return StreamSocket(*self)

    def __repr__(self) -> str:
        return f"<BiStream: {self[0]!r}, {self[1]!r}>"
