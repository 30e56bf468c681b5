"""A connection to a remote endpoint: streams, datagrams, and what is known about it.

Names and the sync/async split are the bindings'. A Connection is a handle: when the last reference
to it and to all of its streams is gone, the connection is closed with code 0, as in Rust.
`async with conn:` closes it explicitly, which does not depend on the garbage collector.
"""

import contextlib
import enum
import operator
from types import TracebackType
from typing import Self

from iroh.datagrams import DatagramMethods
from iroh.errors import InvalidInputError, connection_error
from iroh.magicsock.driver import ConnectionDriver
from iroh.paths import PathMethods
from iroh.quic import errors as quic
from iroh.quic.api import ConnectionStats
from iroh.streams import BiStream, RecvStream, SendStream, as_bytes, check_code
from iroh_base import PublicKey

__all__ = ["Closed", "Connection", "ConnectionStats", "Side"]


class Side(enum.Enum):
    """Who dialled."""

    CLIENT = 0
    SERVER = 1


class Closed(str):
    """Why a connection ended: the bindings' text, with the facts as attributes."""

    reason: quic.CloseReason

    def __new__(cls, reason: quic.CloseReason) -> Self:
        """Make the text of a close reason."""
        text = super().__new__(cls, str(reason))
        text.reason = reason
        return text

    @property
    def kind(self) -> str:
        """The variant, like "ApplicationClosed" or "TimedOut"."""
        return self.reason.kind

    @property
    def code(self) -> int | None:
        """The error code, None for endings without one."""
        return getattr(self.reason, "code", None)


class Connection(PathMethods, DatagramMethods):
    """An established connection. Create it with `Endpoint.connect`, or accept an Incoming."""

    def __init__(
        self,
        driver: ConnectionDriver,
        alpn: bytes | None = None,
        remote_id: PublicKey | None = None,
    ) -> None:
        """Use `Endpoint.connect` instead. The two last are for one whose handshake goes on."""
        self._driver = driver
        self._quic = driver.connection
        self._remote_id = remote_id
        if alpn is None:
            assert driver.connection.alpn is not None
            assert driver.connection.peer is not None
            alpn = driver.connection.alpn
            self._remote_id = PublicKey.from_bytes(driver.connection.peer)
        self._alpn = alpn

    # -- facts ---------------------------------------------------------------------------------

    def alpn(self) -> bytes:
        """Return the application protocol that was agreed on."""
        return self._alpn

    def remote_id(self) -> PublicKey:
        """Return the peer's proven EndpointId."""
        assert self._remote_id is not None
        return self._remote_id

    def side(self) -> Side:
        """Say whether we dialled (CLIENT) or accepted (SERVER)."""
        return Side.CLIENT if self._quic.is_client else Side.SERVER

    def stable_id(self) -> int:
        """Return a number that no other connection alive in this process has."""
        return id(self._driver)

    def stats(self) -> ConnectionStats:
        """Return totals since the start."""
        return self._quic.stats()

    def export_keying_material(self, length: int, label: bytes, context: bytes = b"") -> bytes:
        """Derive bytes that both ends and nobody else can compute (RFC 8446 section 7.5).

        Raises InvalidInputError for a length that the hash cannot give.
        """
        try:
            return self._quic.export_keying_material(length, label, context)
        except ValueError as error:
            raise InvalidInputError(str(error)) from None

    # -- streams -------------------------------------------------------------------------------

    async def open_bi(self) -> BiStream:
        """Open a bidirectional stream, waiting for the peer to allow one more.

        Nothing is sent yet: the peer accepts the stream with its first byte or its end.
        Raises ConnectionLostError. Cancelling it is harmless.
        """
        return BiStream(self, await self._open(bidirectional=True))

    async def open_uni(self) -> SendStream:
        """Open a stream that only we send on. See `open_bi`."""
        return SendStream(self, await self._open(bidirectional=False))

    async def accept_bi(self) -> BiStream:
        """Take the next bidirectional stream that the peer opened.

        Raises ConnectionLostError when the connection ends. Cancelling it loses no stream.
        """
        return BiStream(self, await self._accept(bidirectional=True))

    async def accept_uni(self) -> RecvStream:
        """Take the next stream that only the peer sends on. See `accept_bi`."""
        return RecvStream(self, await self._accept(bidirectional=False))

    async def _open(self, bidirectional: bool) -> int:
        try:
            return await self._driver.open_stream(bidirectional)
        except quic.ConnectionGone as error:
            raise connection_error(error.reason) from None

    async def _accept(self, bidirectional: bool) -> int:
        try:
            return await self._driver.inbox.accept_stream(bidirectional)
        except quic.ConnectionGone as error:
            raise connection_error(error.reason) from None

    def set_max_concurrent_bi_streams(self, count: int) -> None:
        """Let the peer hold this many bidirectional streams open at once.

        Raises InvalidInputError beyond 2**60. Harmless after the end.
        """
        self._set_max_streams(True, count)

    def set_max_concurrent_uni_streams(self, count: int) -> None:
        """Let the peer hold this many unidirectional streams open at once.

        Raises InvalidInputError beyond 2**60. Harmless after the end.
        """
        self._set_max_streams(False, count)

    def _set_max_streams(self, bidirectional: bool, count: int) -> None:
        if not 0 <= operator.index(count) <= 2**60:  # RFC 9000 section 4.6
            raise InvalidInputError("a stream count lies between 0 and 2**60")
        with contextlib.suppress(quic.ConnectionGone):  # then it does not matter any more
            self._quic.set_max_concurrent_streams(bidirectional, count)
            self._driver.schedule()

    def set_receive_window(self, count: int) -> None:
        """Change how many bytes the peer may send ahead of our reading, over all streams.

        Raises InvalidInputError for less than 0 or more than 2**62 - 1. Harmless after the end.
        """
        if not 0 <= operator.index(count) < 2**62:
            raise InvalidInputError("a window lies between 0 and 2**62 - 1 bytes")
        with contextlib.suppress(quic.ConnectionGone):
            self._quic.set_receive_window(count)
            self._driver.schedule()

    # -- the end -------------------------------------------------------------------------------

    def close(self, error_code: int = 0, reason: bytes = b"") -> None:
        """Close at once: the peer sees the code and the reason, unacknowledged data is lost.

        The reason is cut to what fits one packet. Closing again does nothing. Raises
        InvalidInputError for a code beyond 2**62 - 1.
        """
        self._driver.close(check_code(error_code), as_bytes(reason))

    async def closed(self) -> Closed:
        """Wait for the end and say why. Cancelling it is harmless."""
        return Closed(await self._driver.inbox.wait_closed())

    def close_reason(self) -> Closed | None:
        """Say why it ended; None while it is open."""
        reason = self._driver.inbox.close_reason
        return None if reason is None else Closed(reason)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self._driver.inbox.close_reason or "open"
        peer = "somebody" if self._remote_id is None else self._remote_id.fmt_short()
        return f"<{type(self).__name__} to {peer} over {self._alpn!r}: {state}>"

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)
        if driver is not None and driver.inbox.close_reason is None:
            driver.release(None, driver.close_dropped)
