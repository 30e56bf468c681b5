"""What the trio front has of its own, beside the methods that are those of `iroh`."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import trio

from iroh import connection as aio_connection
from iroh import endpoint as aio_endpoint
from iroh import incoming as aio_incoming
from iroh.errors import ClosedError, StreamError
from iroh.trio.front import Front, Steps
from iroh.variants import Variant

if TYPE_CHECKING:
    from iroh.trio.connection import Connection
    from iroh.trio.incoming import Incoming

__all__ = [
    "ConnectionBeside",
    "EndpointBeside",
    "HandshakeBeside",
    "IncomingBeside",
    "OutgoingBeside",
    "RecvBeside",
    "SendBeside",
    "ZeroRttStatus",
]

CHUNK = 65_536  # what receive_some reads at most when it is not told


class EndpointBeside(Front):
    """Accepting and closing."""

    def incoming(self) -> Steps[Incoming]:
        """Iterate over connection attempts until the endpoint is closed."""
        from iroh.trio.incoming import Incoming

        return Steps(self._portal, _Attempts(self._aio), Incoming)

    async def close(self) -> None:
        """Close every connection with code 0, then the sockets. Idempotent.

        `open_endpoint` does so at its end. It is done also in a cancelled scope: it takes a few
        seconds at most.
        """
        with trio.CancelScope(shield=True):
            await self._portal.wait(self._aio.close)


class _Attempts:
    """Connection attempts; a step that is cancelled does not end the iteration."""

    def __init__(self, endpoint: aio_endpoint.Endpoint) -> None:
        self._endpoint = endpoint

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> aio_incoming.Incoming:
        incoming = await self._endpoint.accept_next()
        if incoming is None:
            raise StopAsyncIteration
        return incoming


class ConnectionBeside(Front):
    """Closing."""

    _aio: aio_connection.Connection

    def close(self, error_code: int = 0, reason: bytes = b"") -> None:
        """Close at once: the peer sees the code and the reason, unacknowledged data is lost.

        The reason is cut to what fits one packet. Closing again does nothing.
        """
        self._aio.close(error_code, reason)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class HandshakeBeside(Front):
    """All the way to a connection in one call."""

    async def establish(self) -> Connection:
        """Wait for the connection, accepting it first: what `await` is in asyncio.

        Raises ConnectError, ConsumedError. Cancelling it closes the attempt.
        """
        from iroh.trio.connection import Connection

        async def establish() -> aio_connection.Connection:
            connection: aio_connection.Connection = await self._aio
            return connection

        return Connection(self._portal, await self._portal.wait(establish))


class ZeroRttStatus(Variant):
    """What became of 0-RTT data: ZeroRttStatus.ACCEPTED or REJECTED, as in `iroh.zero_rtt`."""

    ACCEPTED: type[_Accepted]
    REJECTED: type[_Rejected]
    is_accepted: Callable[[], bool]
    is_rejected: Callable[[], bool]
    connection: Connection


@ZeroRttStatus.variant("ACCEPTED")
@dataclass(frozen=True, slots=True)
class _Accepted(ZeroRttStatus):
    """The server took it."""

    connection: Connection


@ZeroRttStatus.variant("REJECTED")
@dataclass(frozen=True, slots=True)
class _Rejected(ZeroRttStatus):
    """The server did not: what was written to streams is sent again, datagrams are lost."""

    connection: Connection


class OutgoingBeside(Front):
    """The end of a dialler's 0-RTT."""

    async def handshake_completed(self) -> ZeroRttStatus:
        """Wait for the server, and say whether it took the 0-RTT data.

        Raises ConnectError; cancelling it is harmless. May be called again.
        """
        status = await self._portal.wait(self._aio.handshake_completed)
        became = ZeroRttStatus.ACCEPTED if status.is_accepted() else ZeroRttStatus.REJECTED
        return became(cast("Connection", self))


class IncomingBeside(Front):
    """The end of a listener's 0-RTT."""

    async def handshake_completed(self) -> Connection:
        """Wait for the dialler's proof; gives this connection.

        Raises ConnectError; cancelling it is harmless. May be called again.
        """
        await self._portal.wait(self._aio.handshake_completed)
        return cast("Connection", self)


class _Half(Front):
    """A half of a stream, as trio wants it: one task at a time, and closing wakes that one."""

    def __init__(self, portal: Any, aio: Any) -> None:
        super().__init__(portal, aio)
        self._closed = False
        self._busy: trio.CancelScope | None = None

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        if self._closed:
            raise trio.ClosedResourceError("this half of the stream was closed")
        if self._busy is not None:
            raise trio.BusyResourceError("another task uses this half of the stream")
        try:
            with trio.CancelScope() as self._busy:
                yield
        except (StreamError, ClosedError) as error:
            if self._closed:
                raise trio.ClosedResourceError("this half was closed meanwhile") from None
            raise trio.BrokenResourceError(str(error)) from error
        finally:
            self._busy = None
        if self._closed:
            raise trio.ClosedResourceError("this half of the stream was closed meanwhile")

    async def _close(self, end: Callable[[], Any]) -> None:
        if not self._closed:
            self._closed = True
            if self._busy is not None:
                self._busy.cancel()
            with trio.CancelScope(shield=True), contextlib.suppress(StreamError, ClosedError):
                await self._portal.wait(end)
        await trio.lowlevel.checkpoint()


class SendBeside(_Half, trio.abc.SendStream):
    """trio.abc.SendStream."""

    _torn = False  # part of something was sent
    _finished = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue all of the data, as trio.abc.SendStream says.

        Cancelling leaves an unknown first part written; `aclose` then resets the stream. Raises
        BrokenResourceError (its cause is what `iroh` raises), ClosedResourceError,
        BusyResourceError.
        """
        with self._working():
            if self._finished:
                raise trio.ClosedResourceError("send_eof was called")
            was_torn, self._torn = self._torn, True
            await self._portal.wait(self._aio.write_all, data)
            self._torn = was_torn

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: whether it might is not known before the data is.

        Cancelling it is harmless.
        """
        with self._working():
            await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """Finish the stream, without closing it: `aclose` is still due. Idempotent.

        Cancelling it leaves it to `aclose`.
        """
        if self._finished and not self._closed:
            await trio.lowlevel.checkpoint()
            return
        with self._working():
            self._finished = True
            await self._portal.wait(self._aio.finish)

    async def aclose(self) -> None:
        """Finish the stream; reset it if a `send_all` was interrupted. Idempotent.

        It is done also in a cancelled scope.
        """
        await self._close(self._aio.reset if self._torn else self._aio.finish)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish, or reset after an exception."""
        self._torn = self._torn or exc_type is not None
        await self.aclose()


class RecvBeside(_Half, trio.abc.ReceiveStream):
    """trio.abc.ReceiveStream."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes, b"" at the end, as trio.abc.ReceiveStream says.

        Cancelling it loses nothing. Raises BrokenResourceError (its cause is what `iroh` raises),
        ClosedResourceError, BusyResourceError.
        """
        size = CHUNK if max_bytes is None else operator.index(max_bytes)
        if size < 1:
            raise ValueError("max_bytes must be at least 1")
        data = b""
        with self._working():
            data = await self._portal.wait(self._aio.read, size)
        return data

    async def aclose(self) -> None:
        """Stop the stream unless it is at its end. Idempotent.

        It is done also in a cancelled scope.
        """
        await self._close(self._aio.stop)
