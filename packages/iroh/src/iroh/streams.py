"""The two halves of a QUIC stream.

Names and the sync/async split are the bindings'; beside them stand the Python idioms:
`async with send:` finishes (or resets, on an exception), `async for chunk in recv:` reads to the
end, `send, recv = await conn.open_bi()` unpacks.

A half keeps its connection alive. Dropping the last reference to an unfinished SendStream finishes
it, dropping a RecvStream stops it with code 0, as in Rust; do not rely on it across reference
cycles.
"""

import operator
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
_PART = 4 * _CHUNK  # what write_all copies at a time


def check_code(code: int) -> int:
    """Return the code if it is a valid application error code."""
    if not 0 <= operator.index(code) <= MAX_CODE:
        raise InvalidInputError(
            "error_code must be >= 0" if code < 0 else "error_code must be < 2**62"
        )
    return code


def _check_size(size: int) -> int:
    if type(size) is not int:
        operator.index(size)
    if size < 0:
        raise InvalidInputError("a size must be >= 0")
    return size


def _describe(stream_id: int) -> str:
    """Say a stream id as noq does: "client bidirectional stream 0"."""
    side = "server" if stream_id & 1 else "client"
    direction = "unidirectional" if stream_id & 2 else "bidirectional"
    return f"{side} {direction} stream {stream_id >> 2}"


def as_bytes(data: bytes) -> bytes:
    """Return a copy of any bytes-like object. Raises TypeError for others, text among them."""
    return bytes(_as_view(data))


def _as_view(data: bytes) -> memoryview:
    try:
        return memoryview(data)
    except TypeError:
        remedy = "; text.encode() makes bytes of text" if isinstance(data, str) else ""
        raise TypeError(f"bytes are sent, not {type(data).__name__}{remedy}") from None


class SendStream:
    """The sending half. Create it with `Connection.open_uni` or `open_bi`."""

    def __init__(self, connection: "Connection", stream_id: int) -> None:
        self._connection = connection
        self._driver = connection._driver  # noqa: SLF001 (a handle and its streams are one)
        self._quic = self._driver.connection
        self._priority = 0
        self._done = False  # finished or reset
        self._reset = False
        self.stream_id = stream_id
        """The QUIC stream id (RFC 9000 section 2.1)."""

    async def write(self, buf: bytes) -> int:
        """Queue a first part of `buf`, at least one byte, and return its length.

        Takes any bytes-like object, and keeps no reference to one that may change. Waits while the
        send buffer is full. Cancelling it writes nothing. Raises StreamStoppedError,
        StreamClosedError, StreamLostError.
        """
        data = buf if type(buf) is bytes else as_bytes(buf)
        while True:
            taken = self._try_write(data)
            if taken or not data:
                return taken
            await self._driver.inbox.waiters.wait(("write", self.stream_id))

    async def write_all(self, buf: bytes) -> None:
        """Queue all of `buf`, waiting whenever the send buffer is full.

        Returning does not mean that the peer has it: see `stopped`. Cancelling leaves an unknown
        first part written. Raises as `write`.
        """
        taken = 0
        if type(buf) is bytes:
            taken = self._try_write(buf)
            if taken == len(buf):
                return
        view = _as_view(buf).cast("B")
        while taken < len(view):
            taken += await self.write(bytes(view[taken : taken + _PART]))

    async def finish(self) -> None:
        """Say that nothing more comes. Never waits; `stopped` does, for the peer to have all.

        Raises StreamConsumedError when the stream is finished or reset already.
        """
        if self._done:
            raise StreamConsumedError
        self._done = True
        self._finish()

    async def reset(self, error_code: int = 0) -> None:
        """Abandon the stream: the peer's reads raise StreamResetError(error_code).

        Also after `finish`, as long as the peer has not acknowledged everything. Raises
        StreamConsumedError after that, and when the stream is reset already. Raises
        InvalidInputError for a code beyond 2**62 - 1. Never waits.
        """
        code = check_code(error_code)
        if self._reset:
            raise StreamConsumedError
        finished, self._done, self._reset = self._done, True, True
        try:
            self._quic.reset(self.stream_id, code)
        except quic.StreamGone:
            if finished and self._end_code() is None:
                raise StreamConsumedError from None
        except quic.QuicError:
            return  # stopped by the peer, or the connection is gone: nothing to abandon
        self._driver.schedule()

    def _end_code(self) -> int | None:
        end = self._driver.inbox.senders.get(self.stream_id)
        return None if end is None else end.stop_code

    async def stopped(self) -> int | None:
        """Wait until the peer has acknowledged everything (None) or stopped it (its code).

        None at once for a stream that we have reset. Raises StreamLostError when the connection
        ends first. Cancelling it is harmless.
        """
        while True:
            end = self._driver.inbox.senders.get(self.stream_id)
            if end is None or end.ended:
                return None if end is None else end.stop_code
            reason = self._driver.inbox.close_reason
            if reason is not None:
                raise StreamLostError(reason)
            if self._reset:
                return None
            await self._driver.inbox.waiters.wait(("finished", self.stream_id))

    async def set_priority(self, p: int) -> None:
        """Send streams of a higher priority first; all start at 0.

        Raises StreamConsumedError when everything is sent and acknowledged, or reset.
        InvalidInputError: it does not fit 32 bits. Never waits.
        """
        if not -(2**31) <= p < 2**31:
            raise InvalidInputError("a priority is a signed 32-bit integer")
        self._priority = p
        try:
            self._quic.set_priority(self.stream_id, p)
        except quic.StreamGone:
            raise StreamConsumedError from None
        except quic.ConnectionGone:
            return  # nothing will be sent any more

    async def priority(self) -> int:
        """Return the stream's priority. Never waits."""
        return self._priority

    async def id(self) -> str:
        """Return the stream's name, like "client bidirectional stream 0". Never waits."""
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

    def _try_write(self, data: bytes) -> int:
        if self._done:
            raise StreamClosedError
        reason = self._driver.inbox.close_reason
        if reason is not None:
            raise StreamLostError(reason)
        try:
            taken = self._quic.write(self.stream_id, data)
        except quic.ConnectionGone as error:
            raise StreamLostError(error.reason) from None
        except quic.StreamStopped as error:
            raise StreamStoppedError(error.code) from None
        except quic.StreamGone:
            raise StreamClosedError from None
        if taken:
            self._driver.push()
        return taken

    def _finish(self) -> None:
        try:
            self._quic.finish(self.stream_id)
        except quic.QuicError:
            return  # stopped by the peer, or the connection is gone: as good as finished
        self._driver.push()

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
        self._done = False  # the reader knows that nothing more comes
        self._is_read_out = False  # it only has to be told
        self._reset_code: int | None = None
        self._end_watchers = 0  # received_reset calls under way
        self._key = ("read", stream_id)
        self.stream_id = stream_id
        """The QUIC stream id (RFC 9000 section 2.1)."""

    async def read(self, size_limit: int = _CHUNK) -> bytes:
        """Return the next bytes, at most `size_limit`; b"" at the end of the stream.

        Also b"" after `stop`. Cancelling it loses nothing. Raises StreamResetError,
        StreamLostError. InvalidInputError: a size below 0.
        """
        _check_size(size_limit)
        while True:
            data = self._try_read(size_limit)
            if data is not None or not size_limit:
                return data or b""
            await self._driver.inbox.waiters.wait(self._key)

    async def read_exact(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises FinishedEarlyError (its `partial` holds what came) when the stream ends before, and
        as `read`. Cancelling it loses what was read so far. InvalidInputError: a size below 0.
        """
        parts: list[bytes] = []
        missing = _check_size(size)
        while missing:
            data = self._try_read(missing)
            if data is None:
                await self._driver.inbox.waiters.wait(self._key)
                continue
            if not data:
                raise FinishedEarlyError(b"".join(parts), size)
            parts.append(data)
            missing -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_to_end(self, size_limit: int) -> bytes:
        """Return everything up to the end of the stream.

        Raises ReadTooLongError beyond `size_limit` bytes, and stops the stream then;
        StreamClosedError when the end was read before; and as `read`. Cancelling it loses what was
        read so far.
        """
        _check_size(size_limit)
        if self._done and self._reset_code is None:
            raise StreamClosedError("Read(ClosedStream)")
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
        """Return how many bytes were read so far. Never waits."""
        return self._bytes_read

    async def stop(self, error_code: int = 0) -> None:
        """Tell the peer that nothing more will be read. Raises StreamConsumedError at the end.

        InvalidInputError: a code beyond 2**62 - 1. Never waits.
        """
        check_code(error_code)
        if self._done:
            raise StreamConsumedError
        self._done = True
        self._stop(error_code)
        self._wake_readers()

    async def received_reset(self) -> int | None:
        """Wait for the end of the stream: the peer's reset code, None if there is none.

        None once everything was read, or after `stop`. Takes no data off the stream, so somebody
        has to read it for the end to come; `read` may run at the same time. Raises
        StreamLostError. Cancelling it is harmless.
        """
        self._end_watchers += 1
        try:
            while not self._done:
                self._try_read(0)  # takes nothing but the end, or the reset
                if not self._done:
                    await self._driver.inbox.waiters.wait(self._key)
        except StreamResetError:
            pass
        finally:
            self._end_watchers -= 1
        return self._reset_code

    async def id(self) -> str:
        """Return the stream's name, like "client bidirectional stream 0". Never waits."""
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
        if self._reset_code is not None:
            raise StreamResetError(self._reset_code)
        if self._done or self._is_read_out:
            if not self._done:
                self._end(None)
            return b""
        try:
            data, end, credit = self._quic.take(self.stream_id, limit)
        except quic.StreamReset as error:
            self._end(error.code)
            self._driver.schedule()  # the peer may open another stream
            raise StreamResetError(error.code) from None
        except quic.ConnectionGone as error:
            raise StreamLostError(error.reason) from None
        except quic.StreamGone:
            raise StreamClosedError from None
        if data or end:
            self._bytes_read += len(data)
            self._is_read_out = end
            if credit:
                self._driver.schedule()
            if not data:
                self._end(None)
            elif self._end_watchers:
                self._wake_readers()
            return data
        reason = self._driver.inbox.close_reason
        if reason is not None:
            raise StreamLostError(reason)
        return None

    def _end(self, reset_code: int | None) -> None:
        """The reader is told that nothing more will come: so is who waits for just that."""
        self._done, self._reset_code = True, reset_code
        if self._end_watchers:
            self._wake_readers()

    def _wake_readers(self) -> None:
        self._driver.inbox.waiters.wake(self._key)

    def _stop(self, code: int = 0) -> None:
        if self._is_read_out:
            return
        try:
            self._quic.stop(self.stream_id, code)
        except quic.QuicError:
            return  # ended meanwhile
        self._driver.schedule()

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)
        if driver is not None and not (self._done or self._is_read_out):
            driver.release(None, self._stop)


class BiStream(tuple[SendStream, RecvStream]):
    """Both halves: `send, recv = await connection.open_bi()`."""

    __slots__ = ()

    def __new__(cls, connection: "Connection", stream_id: int) -> Self:
        """Make the two halves of one stream."""
        halves = (SendStream(connection, stream_id), RecvStream(connection, stream_id))
        return super().__new__(cls, halves)

    def __repr__(self) -> str:
        return f"<BiStream: {_describe(self[0].stream_id)}>"

    def send(self) -> SendStream:
        """Return the sending half, always the same object."""
        return self[0]

    def recv(self) -> RecvStream:
        """Return the receiving half, always the same object."""
        return self[1]
