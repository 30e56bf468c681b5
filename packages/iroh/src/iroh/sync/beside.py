"""What the blocking front has of its own, beside the methods that are those of `iroh`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, cast, overload

from iroh import connection as aio_connection
from iroh import endpoint as aio_endpoint
from iroh import incoming as aio_incoming
from iroh.options import EndpointOptions, PresetLike
from iroh.sync.files import ReadFile, WriteFile, buffered_reader, buffered_writer
from iroh.sync.front import Front, Steps
from iroh.sync.portal import Portal, PortalClosedError
from iroh.sync.threads import MAX_THREADS, leave_loop_to_its_end
from iroh.variants import Variant

if TYPE_CHECKING:
    from iroh.sync.connection import Connection
    from iroh.sync.endpoint import Endpoint
    from iroh.sync.handlers import EndpointSettings
    from iroh.sync.incoming import Incoming

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


class EndpointBeside(Front):
    """Binding and closing, and the thread that belongs to an endpoint."""

    owns_portal: bool = False
    """Whether `close` ends the thread, too."""

    @classmethod
    def bind(
        cls,
        options: EndpointOptions | PresetLike | None = None,
        *,
        portal: Portal | None = None,
        max_threads: int = MAX_THREADS,
        timeout: float | None = None,
        **settings: Unpack[EndpointSettings],
    ) -> Endpoint:
        """Bind an endpoint: EndpointOptions, or a preset with its fields as keywords.

        It gets a thread of its own, unless a portal is given, which several may share. Protocols,
        hooks and filters may block: each connection is served in a thread, max_threads at once.
        What else it is given (lookup services, transports), and what is async, runs in the event
        loop and is what it is for `iroh`. Raises BindError, InvalidInputError, TimeoutError.
        """
        from iroh.sync.router import EndpointBuilder

        if not isinstance(options, EndpointOptions):
            given: Any = settings  # of blocking code, which `builder.bind` adapts
            options = EndpointOptions(preset=options, **given)
        elif settings:
            raise TypeError("give either EndpointOptions or keywords, not both")
        builder = EndpointBuilder()
        builder.apply_options(options)
        return builder.bind(
            protocols=options.protocols,
            incoming_filter=options.incoming_filter,
            max_connections=options.max_connections,
            max_threads=max_threads,
            portal=portal,
            timeout=timeout,
        )

    def incoming(self) -> Steps[Incoming]:
        """Iterate over connection attempts until the endpoint is closed."""
        from iroh.sync.incoming import Incoming

        return Steps(self._portal, _Attempts(self._aio), Incoming)

    def close(self) -> None:
        """Close every connection with code 0, then the sockets, then the thread. Idempotent.

        A portal that was given to `bind` stays open. A handler that goes on for 5 s after the end
        of its connection is left behind.
        """
        leave_loop_to_its_end()
        if self.owns_portal:
            self._portal.close()
            return
        with contextlib.suppress(PortalClosedError):
            self._portal.wait(None, self._aio.close)
            self._portal.forget(self._aio.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Attempts:
    """Connection attempts; a step that times out does not end the iteration."""

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
        with contextlib.suppress(PortalClosedError):
            if not self._portal.is_closed():
                self._portal.call(self._aio.close, error_code, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class HandshakeBeside(Front):
    """All the way to a connection in one call."""

    def establish(self, *, timeout: float | None = None) -> Connection:
        """Wait for the connection, accepting it first: what `await` is in `iroh`.

        Raises ConnectError, ConsumedError, TimeoutError.
        """
        from iroh.sync.connection import Connection

        async def establish() -> aio_connection.Connection:
            connection: aio_connection.Connection = await self._aio
            return connection

        return Connection(self._portal, self._portal.wait(timeout, establish))


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

    def handshake_completed(self, *, timeout: float | None = None) -> ZeroRttStatus:
        """Wait for the server, and say whether it took the 0-RTT data.

        Raises ConnectError, TimeoutError. May be called again.
        """
        status = self._portal.wait(timeout, self._aio.handshake_completed)
        became = ZeroRttStatus.ACCEPTED if status.is_accepted() else ZeroRttStatus.REJECTED
        return became(cast("Connection", self))


class IncomingBeside(Front):
    """The end of a listener's 0-RTT."""

    def handshake_completed(self, *, timeout: float | None = None) -> Connection:
        """Wait for the dialler's proof; gives this connection.

        Raises ConnectError, TimeoutError. May be called again.
        """
        self._portal.wait(timeout, self._aio.handshake_completed)
        return cast("Connection", self)


class SendBeside(Front):
    """Leaving a `with`, and the stream as a file."""

    @overload
    def makefile(
        self, buffering: Literal[-1] = -1, *, timeout: float | None = None
    ) -> io.BufferedWriter: ...
    @overload
    def makefile(self, buffering: Literal[0], *, timeout: float | None = None) -> WriteFile: ...
    @overload
    def makefile(
        self, buffering: int, *, timeout: float | None = None
    ) -> io.BufferedWriter | WriteFile: ...
    def makefile(
        self, buffering: int = -1, *, timeout: float | None = None
    ) -> io.BufferedWriter | WriteFile:
        """Return a binary file to write to; closing it finishes the stream.

        buffering: as for `open`; 0 is a `WriteFile`, whose `write` may take a part only.
        timeout: seconds that a single write may wait; TimeoutError, which is an OSError.
        """
        return buffered_writer(WriteFile(self, timeout), buffering)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish, or reset after an exception."""
        with contextlib.suppress(PortalClosedError):
            self._portal.wait(None, self._aio.__aexit__, exc_type, exc, traceback)


class RecvBeside(Front):
    """Iteration, and the stream as a file."""

    @overload
    def makefile(
        self, buffering: Literal[-1] = -1, *, timeout: float | None = None
    ) -> io.BufferedReader: ...
    @overload
    def makefile(self, buffering: Literal[0], *, timeout: float | None = None) -> ReadFile: ...
    @overload
    def makefile(
        self, buffering: int, *, timeout: float | None = None
    ) -> io.BufferedReader | ReadFile: ...
    def makefile(
        self, buffering: int = -1, *, timeout: float | None = None
    ) -> io.BufferedReader | ReadFile:
        """Return a binary file to read from; closing it before the end stops the stream.

        buffering: as for `open`; 0 is a `ReadFile`.
        timeout: seconds that a single read may wait; TimeoutError, which is an OSError.
        """
        return buffered_reader(ReadFile(self, timeout), buffering)

    def __iter__(self) -> Steps[bytes]:
        """Iterate over what comes, in pieces of any size, to the end."""
        return Steps(self._portal, self._aio)
