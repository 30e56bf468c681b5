"""The two halves of a QUIC stream.

Names and the sync/async split are the bindings'; beside them stand the Python idioms:
`async with send:` finishes (or resets, on an exception), `async for chunk in recv:` reads to the
end, `send, recv = await conn.open_bi()` unpacks.

A half keeps its connection alive. Dropping the last reference to an unfinished SendStream finishes
it, dropping a RecvStream stops it with code 0, as in Rust; do not rely on it across reference
cycles.
"""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from iroh.errors import (
    FinishedEarlyError,
    InvalidInputError,
    ReadTooLongError,
    StreamClosedError,
    StreamConsumedError,
    StreamLostError,
    StreamResetError,
    StreamStoppedError,
)
from iroh.quic import errors as quic

if TYPE_CHECKING:
    from iroh.connection import Connection

MAX_CODE = 2**62 - 1  # application error codes are varints (RFC 9000 section 16)
_CHUNK = 65_536  # what `async for` and read_to_end ask for at a time


def check_code(code: int) -> int:
    """Return the code if it is a valid application error code."""
    if not 0 <= code <= MAX_CODE:
        raise InvalidInputError(
            "error_code must be >= 0" if code < 0 else "error_code must be < 2**62"
        )
    return code


def _describe(stream_id: int) -> str:
    """Say a stream id as noq does: "client bidirectional stream 0"."""
    side = "server" if stream_id & 1 else "client"
    direction = "unidirectional" if stream_id & 2 else "bidirectional"
    return f"{side} {direction} stream {stream_id >> 2}"


class SendStream:
    """The sending half. Create it with `Connection.open_uni` or `open_bi`."""

    def __init__(self, connection: "Connection", stream_id: int) -> None:
        self._connection = connection
        self._driver = connection._driver  # noqa: SLF001 (a handle and its streams are one)
        self._quic = self._driver.connection
        self._priority = 0
        self._done = False
        self.stream_id = stream_id
        """The QUIC stream id (RFC 9000 section 2.1)."""

    async def write(self, buf: bytes) -> int:
        """Queue a first part of `buf`, at least one byte, and return its length.

        Waits while the send buffer is full. Cancelling it writes nothing. Raises
        StreamStoppedError, StreamClosedError, StreamLostError.
        """
        if self._done:
            raise StreamClosedError
        while True:
            taken = self._try_write(buf)
            if taken or not buf:
                return taken
            await self._driver.waiters.wait(("write", self.stream_id))

    async def write_all(self, buf: bytes) -> None:
        """Queue all of `buf`, waiting whenever the send buffer is full.

        Returning does not mean that the peer has it: see `stopped`. Cancelling leaves an unknown
        first part written. Raises as `write`.
        """
        taken = await self.write(buf)
        if taken == len(buf):
            return
        view = memoryview(buf)
        while taken < len(view):
            taken += await self.write(bytes(view[taken : taken + 4 * _CHUNK]))

    async def finish(self) -> None:
        """Say that nothing more comes. Returns at once; `stopped` waits for the peer to have all.

        Raises StreamConsumedError when the stream is finished or reset already.
        """
        if self._done:
            raise StreamConsumedError
        self._done = True
        self._finish()

    async def reset(self, code: int = 0) -> None:
        """Abandon the stream: the peer's reads raise StreamResetError(code).

        Raises StreamConsumedError when the stream is finished or reset already.
        """
        check_code(code)
        if self._done:
            raise StreamConsumedError
        self._done = True
        try:
            self._quic.reset(self.stream_id, code)
        except quic.QuicError:
            return  # stopped by the peer, or the connection is gone: nothing to abandon
        self._driver.schedule()

    async def stopped(self) -> int | None:
        """Wait until the peer has acknowledged everything (None) or stopped it (its code).

        Raises StreamLostError when the connection ends first. Cancelling it is harmless.
        """
        while True:
            end = self._driver.senders.get(self.stream_id)
            if end is None or end.ended:
                return None if end is None else end.stop_code
            reason = self._driver.close_reason
            if reason is not None:
                raise StreamLostError(reason)
            await self._driver.waiters.wait(("finished", self.stream_id))

    async def set_priority(self, p: int) -> None:
        """Send streams of a higher priority first; all start at 0."""
        if not -(2**31) <= p < 2**31:
            raise InvalidInputError("a priority is a signed 32-bit integer")
        self._priority = p
        try:
            self._quic.set_priority(self.stream_id, p)
        except quic.QuicError:
            raise StreamConsumedError from None

    async def priority(self) -> int:
        """Return the stream's priority."""
        return self._priority

    async def id(self) -> str:
        """Return the stream's name, like "client bidirectional stream 0"."""
        return _describe(self.stream_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._done:
            return
        if exc_type is None:
            await self.finish()
        else:
            await self.reset(0)

    def __repr__(self) -> str:
        return f"<SendStream: {_describe(self.stream_id)}>"

    def _try_write(self, buf: bytes) -> int:
        try:
            taken = self._quic.write(self.stream_id, buf)
        except quic.ConnectionGone as error:
            raise StreamLostError(error.reason) from None
        except quic.StreamStopped as error:
            raise StreamStoppedError(error.code) from None
        except quic.StreamGone:
            raise StreamClosedError from None
        if taken:
            self._driver.schedule()
        return taken

    def _finish(self) -> None:
        try:
            self._quic.finish(self.stream_id)
        except quic.QuicError:
            return  # stopped by the peer, or the connection is gone: as good as finished
        self._driver.schedule()

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)
        if driver is not None:
            driver.release(self.stream_id, None if self._done else self._finish)


class RecvStream:
    """The receiving half. It comes with `Connection.accept_uni`, `accept_bi` or `open_bi`."""

    def __init__(self, connection: "Connection", stream_id: int) -> None:
        self._connection = connection
        self._driver = connection._driver  # noqa: SLF001 (a handle and its streams are one)
        self._quic = self._driver.connection
        self._bytes_read = 0
        self._done = False
        self._reset_code: int | None = None
        self._stopped = False
        self.stream_id = stream_id
        """The QUIC stream id (RFC 9000 section 2.1)."""

    async def read(self, size_limit: int = _CHUNK) -> bytes:
        """Return the next bytes, at most `size_limit`; b"" at the end of the stream.

        Cancelling it loses nothing. Raises StreamResetError, StreamLostError.
        """
        if size_limit < 0:
            raise InvalidInputError("size_limit must be >= 0")
        while True:
            data = self._try_read(size_limit)
            if data is not None:
                return data
            await self._driver.waiters.wait(("read", self.stream_id))

    async def read_exact(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises FinishedEarlyError (its `partial` holds what came) when the stream ends before, and
        as `read`. Cancelling it loses what was read so far.
        """
        parts: list[bytes] = []
        missing = size
        while missing:
            data = await self.read(missing)
            if not data:
                raise FinishedEarlyError(b"".join(parts), size)
            parts.append(data)
            missing -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_to_end(self, size_limit: int) -> bytes:
        """Return everything up to the end of the stream.

        Raises ReadTooLongError beyond `size_limit` bytes, and stops the stream then, and as
        `read`. Cancelling it loses what was read so far.
        """
        if self._done:
            raise StreamClosedError
        parts: list[bytes] = []
        total = 0
        while data := await self.read(_CHUNK):
            total += len(data)
            if total > size_limit:
                await self.stop(0)
                raise ReadTooLongError(size_limit)
            parts.append(data)
        return b"".join(parts)

    async def bytes_read(self) -> int:
        """Return how many bytes were read so far."""
        return self._bytes_read

    async def stop(self, code: int = 0) -> None:
        """Tell the peer that nothing more will be read. Raises StreamConsumedError at the end."""
        check_code(code)
        if self._done:
            raise StreamConsumedError
        self._done = self._stopped = True
        self._stop(code)

    async def received_reset(self) -> int | None:
        """Wait for the end of the stream: the peer's reset code, None if it was finished.

        Takes what arrives until then off the stream. Raises StreamLostError.
        """
        while not self._done:
            try:
                await self.read()
            except StreamResetError:
                break
        return self._reset_code

    async def id(self) -> str:
        """Return the stream's name, like "client bidirectional stream 0"."""
        return _describe(self.stream_id)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self.read(_CHUNK)
        if not data:
            raise StopAsyncIteration
        return data

    def __repr__(self) -> str:
        return f"<RecvStream: {_describe(self.stream_id)}>"

    def _try_read(self, limit: int) -> bytes | None:
        """Return bytes, b"" at the end, None when it is time to wait."""
        if self._done:
            if self._reset_code is not None:
                raise StreamClosedError
            return b""
        if not limit:
            return b""
        try:
            data = self._quic.read(self.stream_id, limit)
        except quic.StreamReset as error:
            self._done, self._reset_code = True, error.code
            raise StreamResetError(error.code) from None
        except quic.ConnectionGone as error:
            raise StreamLostError(error.reason) from None
        except quic.StreamGone:
            self._done = True
            return b""
        if data is None:
            self._done = True
            self._driver.schedule()
            return b""
        if data:
            self._bytes_read += len(data)
            self._driver.schedule()  # flow control credit may want to leave
            return data
        reason = self._driver.close_reason
        if reason is not None:
            raise StreamLostError(reason)
        return None

    def _stop(self, code: int = 0) -> None:
        try:
            self._quic.stop(self.stream_id, code)
        except quic.QuicError:
            return  # ended meanwhile
        self._driver.schedule()

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)
        if driver is not None and not self._done:
            driver.release(None, self._stop)


class BiStream(tuple[SendStream, RecvStream]):
    """Both halves: `send, recv = await connection.open_bi()`."""

    __slots__ = ()

    def __new__(cls, connection: "Connection", stream_id: int) -> Self:
        """Make the two halves of one stream."""
        halves = (SendStream(connection, stream_id), RecvStream(connection, stream_id))
        return super().__new__(cls, halves)

    def send(self) -> SendStream:
        """Return the sending half, always the same object."""
        return self[0]

    def recv(self) -> RecvStream:
        """Return the receiving half, always the same object."""
        return self[1]
