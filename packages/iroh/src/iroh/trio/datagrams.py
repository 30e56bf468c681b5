"""The trio front of `iroh.datagrams`. Written by tools/fronts.py."""

from __future__ import annotations

from collections.abc import Sequence

from iroh import datagrams as aio
from iroh.trio.front import Front

__all__ = ["DatagramMethods"]


class DatagramMethods(Front):
    """Datagrams arrive once, late, out of order or not at all; each fits into one packet."""

    _aio: aio.DatagramMethods

    def send_datagram(self, data: bytes) -> None:
        """Send unreliably; never waits, and drops the oldest queued when the buffer is full.

        Raises DatagramError: the peer takes none, or it is too large; DatagramLostError: the
        connection ended.
        """
        self._portal.call(self._aio.send_datagram, data)

    def send_many_datagrams(self, datagrams: Sequence[bytes]) -> int:
        """Send several as `send_datagram` does one; return how many there were.

        They leave together, which costs less. Raises DatagramError: one is too large, and then
        none is sent, or as `send_datagram`.
        """
        return self._portal.call(self._aio.send_many_datagrams, datagrams)

    async def send_datagram_wait(self, data: bytes) -> None:
        """Send unreliably, waiting for buffer space instead of dropping older datagrams.

        Raises as send_datagram. Cancelling it sends nothing.
        """
        await self._portal.wait(self._aio.send_datagram_wait, data)

    async def read_datagram(self) -> bytes:
        """Take the next datagram. Raises ConnectionLostError. Cancelling it loses none.

        While nobody reads, the newest datagrams are kept, up to the transport configuration's
        `datagram_receive_buffer_size`.
        """
        return await self._portal.wait(self._aio.read_datagram)

    async def read_many_datagrams(self, limit: int) -> list[bytes]:
        """Wait for a datagram, and take those that are there with it: at most `limit`, in order.

        Raises ConnectionLostError, InvalidInputError for a limit below 1. Cancelling it loses none.
        """
        return await self._portal.wait(self._aio.read_many_datagrams, limit)

    def max_datagram_size(self) -> int | None:
        """Return the largest datagram that fits now; None when the peer takes none."""
        return self._portal.call(self._aio.max_datagram_size)

    def datagram_send_buffer_space(self) -> int:
        """Return how many bytes can be queued before older datagrams would be dropped."""
        return self._portal.call(self._aio.datagram_send_buffer_space)
