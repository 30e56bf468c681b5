"""The sync front of `iroh.streams`. Written by tools/fronts.py."""

from __future__ import annotations

from iroh import streams as aio
from iroh.streams import _CHUNK
from iroh.sync.beside import RecvBeside, SendBeside

__all__ = ["RecvStream", "SendStream"]


class SendStream(SendBeside):
    """The sending half. Create it with `Connection.open_uni` or `open_bi`."""

    _aio: aio.SendStream

    @property
    def stream_id(self) -> int:
        """The QUIC stream id (RFC 9000 section 2.1)."""
        return self._aio.stream_id

    def write(self, buf: bytes, *, timeout: float | None = None) -> int:
        """Queue a first part of `buf`, at least one byte, and return its length.

        Takes any bytes-like object, and keeps no reference to one that may change. Waits while the
        send buffer is full. Cancelling it writes nothing. Raises StreamStoppedError,
        StreamClosedError, StreamLostError.
        """
        return self._portal.wait(timeout, self._aio.write, buf)

    def write_all(self, buf: bytes, *, timeout: float | None = None) -> None:
        """Queue all of `buf`, waiting whenever the send buffer is full.

        Returning does not mean that the peer has it: see `stopped`. Cancelling leaves an unknown
        first part written. Raises as `write`.
        """
        self._portal.wait(timeout, self._aio.write_all, buf)

    def finish(self, *, timeout: float | None = None) -> None:
        """Say that nothing more comes. Never waits; `stopped` does, for the peer to have all.

        Raises StreamConsumedError when the stream is finished or reset already.
        """
        self._portal.wait(timeout, self._aio.finish)

    def reset(self, error_code: int = 0, *, timeout: float | None = None) -> None:
        """Abandon the stream: the peer's reads raise StreamResetError(error_code).

        Also after `finish`, as long as the peer has not acknowledged everything. Raises
        StreamConsumedError after that, and when the stream is reset already. Raises
        InvalidInputError for a code beyond 2**62 - 1. Never waits.
        """
        self._portal.wait(timeout, self._aio.reset, error_code)

    def stopped(self, *, timeout: float | None = None) -> int | None:
        """Wait until the peer has acknowledged everything (None) or stopped it (its code).

        None at once for a stream that we have reset. Raises StreamLostError when the connection
        ends first. Cancelling it is harmless.
        """
        return self._portal.wait(timeout, self._aio.stopped)

    def set_priority(self, p: int, *, timeout: float | None = None) -> None:
        """Send streams of a higher priority first; all start at 0.

        Raises StreamConsumedError when everything is sent and acknowledged, or reset.
        InvalidInputError: it does not fit 32 bits. Never waits.
        """
        self._portal.wait(timeout, self._aio.set_priority, p)

    def priority(self, *, timeout: float | None = None) -> int:
        """Return the stream's priority. Never waits."""
        return self._portal.wait(timeout, self._aio.priority)

    def id(self, *, timeout: float | None = None) -> str:
        """Return the stream's name, like "client bidirectional stream 0". Never waits."""
        return self._portal.wait(timeout, self._aio.id)


class RecvStream(RecvBeside):
    """The receiving half. It comes with `Connection.accept_uni`, `accept_bi` or `open_bi`."""

    _aio: aio.RecvStream

    @property
    def stream_id(self) -> int:
        """The QUIC stream id (RFC 9000 section 2.1)."""
        return self._aio.stream_id

    def read(self, size_limit: int = _CHUNK, *, timeout: float | None = None) -> bytes:
        """Return the next bytes, at most `size_limit`; b"" at the end of the stream.

        Also b"" after `stop`. Cancelling it loses nothing. Raises StreamResetError,
        StreamLostError. InvalidInputError: a size below 0.
        """
        return self._portal.wait(timeout, self._aio.read, size_limit)

    def read_exact(self, size: int, *, timeout: float | None = None) -> bytes:
        """Return exactly `size` bytes.

        Raises FinishedEarlyError (its `partial` holds what came) when the stream ends before, and
        as `read`. Cancelling it loses what was read so far. InvalidInputError: a size below 0.
        """
        return self._portal.wait(timeout, self._aio.read_exact, size)

    def read_to_end(self, size_limit: int, *, timeout: float | None = None) -> bytes:
        """Return everything up to the end of the stream.

        Raises ReadTooLongError beyond `size_limit` bytes, and stops the stream then;
        StreamClosedError when the end was read before; and as `read`. Cancelling it loses what was
        read so far.
        """
        return self._portal.wait(timeout, self._aio.read_to_end, size_limit)

    def bytes_read(self, *, timeout: float | None = None) -> int:
        """Return how many bytes were read so far. Never waits."""
        return self._portal.wait(timeout, self._aio.bytes_read)

    def stop(self, error_code: int = 0, *, timeout: float | None = None) -> None:
        """Tell the peer that nothing more will be read. Raises StreamConsumedError at the end.

        InvalidInputError: a code beyond 2**62 - 1. Never waits.
        """
        self._portal.wait(timeout, self._aio.stop, error_code)

    def received_reset(self, *, timeout: float | None = None) -> int | None:
        """Wait for the end of the stream: the peer's reset code, None if there is none.

        None once everything was read, or after `stop`. Takes no data off the stream, so somebody
        has to read it for the end to come; `read` may run at the same time. Raises
        StreamLostError. Cancelling it is harmless.
        """
        return self._portal.wait(timeout, self._aio.received_reset)

    def id(self, *, timeout: float | None = None) -> str:
        """Return the stream's name, like "client bidirectional stream 0". Never waits."""
        return self._portal.wait(timeout, self._aio.id)
