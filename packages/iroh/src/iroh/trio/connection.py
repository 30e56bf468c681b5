"""The trio front of `iroh.connection`. Written by tools/fronts.py."""

from __future__ import annotations

from iroh import connection as aio
from iroh.connection import Closed, Side
from iroh.quic.api import ConnectionStats
from iroh.trio.beside import ConnectionBeside
from iroh.trio.bistream import BiStream
from iroh.trio.datagrams import DatagramMethods
from iroh.trio.paths import PathMethods
from iroh.trio.streams import RecvStream, SendStream
from iroh_base import PublicKey

__all__ = ["Connection"]


class Connection(ConnectionBeside, PathMethods, DatagramMethods):
    """An established connection. Create it with `Endpoint.connect`, or accept an Incoming."""

    _aio: aio.Connection

    def alpn(self) -> bytes:
        """Return the application protocol that was agreed on."""
        return self._portal.call(self._aio.alpn)

    def remote_id(self) -> PublicKey:
        """Return the peer's proven EndpointId."""
        return self._portal.call(self._aio.remote_id)

    def side(self) -> Side:
        """Say whether we dialled (CLIENT) or accepted (SERVER)."""
        return self._portal.call(self._aio.side)

    def stable_id(self) -> int:
        """Return a number that no other connection alive in this process has."""
        return self._portal.call(self._aio.stable_id)

    def stats(self) -> ConnectionStats:
        """Return totals since the start."""
        return self._portal.call(self._aio.stats)

    def export_keying_material(self, length: int, label: bytes, context: bytes = b"") -> bytes:
        """Derive bytes that both ends and nobody else can compute (RFC 8446 section 7.5).

        Raises InvalidInputError for a length that the hash cannot give.
        """
        return self._portal.call(self._aio.export_keying_material, length, label, context)

    async def open_bi(self) -> BiStream:
        """Open a bidirectional stream, waiting for the peer to allow one more.

        Nothing is sent yet: the peer accepts the stream with its first byte or its end.
        Raises ConnectionLostError. Cancelling it is harmless.
        """
        return BiStream(self._portal, await self._portal.wait(self._aio.open_bi))

    async def open_uni(self) -> SendStream:
        """Open a stream that only we send on. See `open_bi`."""
        return SendStream(self._portal, await self._portal.wait(self._aio.open_uni))

    async def accept_bi(self) -> BiStream:
        """Take the next bidirectional stream that the peer opened.

        Raises ConnectionLostError when the connection ends. Cancelling it loses no stream.
        """
        return BiStream(self._portal, await self._portal.wait(self._aio.accept_bi))

    async def accept_uni(self) -> RecvStream:
        """Take the next stream that only the peer sends on. See `accept_bi`."""
        return RecvStream(self._portal, await self._portal.wait(self._aio.accept_uni))

    def set_max_concurrent_bi_streams(self, count: int) -> None:
        """Let the peer hold this many bidirectional streams open at once.

        Raises InvalidInputError beyond 2**60. Harmless after the end.
        """
        self._portal.call(self._aio.set_max_concurrent_bi_streams, count)

    def set_max_concurrent_uni_streams(self, count: int) -> None:
        """Let the peer hold this many unidirectional streams open at once.

        Raises InvalidInputError beyond 2**60. Harmless after the end.
        """
        self._portal.call(self._aio.set_max_concurrent_uni_streams, count)

    def set_receive_window(self, count: int) -> None:
        """Change how many bytes the peer may send ahead of our reading, over all streams.

        Raises InvalidInputError for less than 0 or more than 2**62 - 1. Harmless after the end.
        """
        self._portal.call(self._aio.set_receive_window, count)

    async def closed(self) -> Closed:
        """Wait for the end and say why. Cancelling it is harmless."""
        return await self._portal.wait(self._aio.closed)

    def close_reason(self) -> Closed | None:
        """Say why it ended; None while it is open."""
        return self._portal.call(self._aio.close_reason)
