"""Streams as files and as sockets, for code that wants those: copyfileobj, http.client, tarfile."""

from __future__ import annotations

import contextlib
import io
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from iroh.errors import ClosedError, StreamError
from iroh.sync.front import Front
from iroh.sync.portal import PortalClosedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["ReadFile", "StreamSocket", "WriteFile", "buffered_reader", "buffered_writer"]

_ENDED = (StreamError, ClosedError, PortalClosedError)
"""A half that cannot be ended in order, because it has ended."""


class _File(io.RawIOBase):
    """A half of a stream as a raw file. It may be used by one thread at a time."""

    def __init__(self, stream: Front, timeout: float | None, owns: bool = True) -> None:
        self._stream = stream
        self._timeout = timeout
        self._owns = owns

    def _wait(self, function: Any, *args: Any) -> Any:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._stream.portal.wait(self._timeout, function, *args)

    def _end(self, function: Any) -> None:
        """End the half, unless it is the garbage collector that closes: then it does so, too."""
        if self._owns and not self._stream.portal.is_here():
            with contextlib.suppress(*_ENDED):
                self._stream.portal.wait(None, function)

    def __del__(self) -> None:
        """Leave it to the stream, which nobody holds any more."""


class ReadFile(_File):
    """A RecvStream as a raw file. Made by `RecvStream.makefile(0)`."""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read the next bytes, 0 at the end. Raises StreamError, TimeoutError."""
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        data: bytes = self._wait(self._stream.aio.read, len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Stop the stream unless it is at its end. Idempotent."""
        if not self.closed:
            super().close()
            self._end(self._stream.aio.stop)


class WriteFile(_File):
    """A SendStream as a raw file. Made by `SendStream.makefile(0)`."""

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Write a first part of the data; how many bytes. Raises StreamError, TimeoutError."""
        taken: int = self._wait(self._stream.aio.write, memoryview(data).cast("B"))
        return taken

    def close(self) -> None:
        """Finish the stream. Idempotent."""
        if not self.closed:
            super().close()
            self._end(self._stream.aio.finish)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish, or reset after an exception: the peer must not take a part for the whole."""
        if exc_type is not None and not self.closed:
            self._end(self._stream.aio.reset)
        self.close()


def buffered_reader(raw: ReadFile, buffering: int) -> io.BufferedReader | ReadFile:
    """Put a buffer before a raw file, as `open` does."""
    return raw if buffering == 0 else io.BufferedReader(raw, _buffer_size(buffering))


def buffered_writer(raw: WriteFile, buffering: int) -> io.BufferedWriter | WriteFile:
    """Put a buffer before a raw file, as `open` does."""
    return raw if buffering == 0 else _Writer(raw, _buffer_size(buffering))


def _buffer_size(buffering: int) -> int:
    return io.DEFAULT_BUFFER_SIZE if buffering < 0 else buffering


class _Writer(io.BufferedWriter):
    """A buffered writer whose `with` does not finish a stream after an exception."""

    def __init__(self, raw: WriteFile, size: int) -> None:
        super().__init__(raw, size)
        self._file = raw

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None and not self.closed:
            self._file.__exit__(exc_type, exc, traceback)
            with contextlib.suppress(ValueError):  # what is in the buffer cannot be sent now
                self.close()
            return
        self.close()


class StreamSocket:
    """A bidirectional stream with the methods of a socket that libraries use.

        connection = http.client.HTTPConnection("peer")
        connection.sock = stream.as_socket()

    Its files do not end the stream when they are closed, and `close` ends both halves.
    """

    def __init__(self, send: Front, recv: Front) -> None:
        self._send, self._recv = send, recv
        self._timeout: float | None = None

    def settimeout(self, timeout: float | None) -> None:
        """Let each operation wait at most so many seconds from now on; None for ever."""
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """Return what `settimeout` set."""
        return self._timeout

    def sendall(self, data: ReadableBuffer) -> None:
        """Queue all of the data. Raises StreamError, TimeoutError."""
        view = memoryview(data).cast("B")
        self._send.portal.wait(self._timeout, self._send.aio.write_all, view)

    def recv(self, size: int) -> bytes:
        """Return the next bytes, b"" at the end. Raises StreamError, TimeoutError."""
        data: bytes = self._recv.portal.wait(self._timeout, self._recv.aio.read, size)
        return data

    @overload
    def makefile(
        self, mode: Literal["rb", "br"] = "rb", buffering: Literal[-1] = -1
    ) -> io.BufferedReader: ...
    @overload
    def makefile(
        self, mode: Literal["wb", "bw"], buffering: Literal[-1] = -1
    ) -> io.BufferedWriter: ...
    @overload
    def makefile(self, mode: str = "rb", buffering: int = -1) -> io.IOBase: ...
    def makefile(self, mode: str = "rb", buffering: int = -1) -> io.IOBase:
        """Return a binary file; "rb", "wb" or "rwb", which is always buffered.

        Raises ValueError for other modes.
        """
        reader = ReadFile(self._recv, self._timeout, owns=False)
        writer = WriteFile(self._send, self._timeout, owns=False)
        chosen = set(mode) - {"b"}
        if "b" not in mode or not chosen <= {"r", "w"}:
            raise ValueError(f"invalid mode {mode!r}: only rb, wb and rwb")
        if chosen == {"r", "w"}:
            return io.BufferedRWPair(reader, writer)
        if "r" in chosen:
            return buffered_reader(reader, buffering)
        return buffered_writer(writer, buffering)

    def shutdown(self, how: int) -> None:
        """End halves: socket.SHUT_RD, SHUT_WR or SHUT_RDWR."""
        portal = self._send.portal
        with contextlib.suppress(*_ENDED):
            if how != 0:
                portal.wait(None, self._send.aio.finish)
        with contextlib.suppress(*_ENDED):
            if how != 1:
                portal.wait(None, self._recv.aio.stop)

    def close(self) -> None:
        """Finish sending, and read no more. Idempotent."""
        self.shutdown(2)
