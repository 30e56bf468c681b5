"""The part of a Connection that is about unreliable datagrams (RFC 9221)."""

from collections.abc import Sequence

from iroh.errors import DatagramError, DatagramLostError, InvalidInputError, connection_error
from iroh.magicsock.driver import ConnectionDriver
from iroh.quic import errors as quic
from iroh.streams import as_bytes

__all__ = ["DatagramMethods"]


class DatagramMethods:
    """Datagrams arrive once, late, out of order or not at all; each fits into one packet."""

    _driver: ConnectionDriver

    def send_datagram(self, data: bytes) -> None:
        """Send unreliably; never waits, and drops the oldest queued when the buffer is full.

        Raises DatagramError: the peer takes none, or it is too large; DatagramLostError: the
        connection ended.
        """
        self._queue_datagram(data)
        self._driver.push()

    def _queue_datagram(self, data: bytes) -> None:
        try:
            self._driver.connection.send_datagram(as_bytes(data))
        except quic.DatagramTooLarge:
            raise self._too_large(data) from None
        except quic.DatagramUnsupported as error:
            raise DatagramError(str(error), "UnsupportedByPeer") from None
        except quic.ConnectionGone as error:
            raise DatagramLostError(error.reason) from None

    def _too_large(self, data: bytes) -> DatagramError:
        size, limit = memoryview(data).nbytes, self.max_datagram_size()
        words = f"a datagram of {size} bytes is too large: {limit} fit now, see max_datagram_size"
        return DatagramError(words, "TooLarge")

    def send_many_datagrams(self, datagrams: Sequence[bytes]) -> int:
        """Send several as `send_datagram` does one; return how many there were.

        They leave together, which costs less. Raises DatagramError: one is too large, and then
        none is sent, or as `send_datagram`.
        """
        limit = self.max_datagram_size()
        for data in datagrams:
            if limit is not None and memoryview(data).nbytes > limit:
                raise self._too_large(data)
        for data in datagrams:
            self._queue_datagram(data)
        if datagrams:
            self._driver.push()
        return len(datagrams)

    async def send_datagram_wait(self, data: bytes) -> None:
        """Send unreliably, waiting for buffer space instead of dropping older datagrams.

        Raises as send_datagram. Cancelling it sends nothing.
        """
        driver = self._driver
        data = as_bytes(data)
        # For one that is larger than the whole buffer nobody has to wait.
        needed = min(len(data), driver.datagram_room)
        while driver.connection.datagram_send_buffer_space() < needed:
            limit = self.max_datagram_size()
            if driver.inbox.close_reason is not None or limit is None or len(data) > limit:
                break  # send_datagram says what is wrong
            driver.schedule()
            await driver.inbox.waiters.wait("sent")
        self.send_datagram(data)

    async def read_datagram(self) -> bytes:
        """Take the next datagram. Raises ConnectionLostError. Cancelling it loses none.

        While nobody reads, the newest datagrams are kept, up to the transport configuration's
        `datagram_receive_buffer_size`.
        """
        try:
            return await self._driver.inbox.read_datagram()
        except quic.ConnectionGone as error:
            raise connection_error(error.reason) from None

    async def read_many_datagrams(self, limit: int) -> list[bytes]:
        """Wait for a datagram, and take those that are there with it: at most `limit`, in order.

        Raises ConnectionLostError, InvalidInputError for a limit below 1. Cancelling it loses none.
        """
        if limit < 1:
            raise InvalidInputError("a limit of datagrams is at least 1")
        found = [await self.read_datagram()]
        while len(found) < limit and self._driver.inbox.has_datagrams:
            found.append(await self.read_datagram())  # which does not wait now
        return found

    def max_datagram_size(self) -> int | None:
        """Return the largest datagram that fits now; None when the peer takes none."""
        return self._driver.connection.max_datagram_size()

    def datagram_send_buffer_space(self) -> int:
        """Return how many bytes can be queued before older datagrams would be dropped."""
        return self._driver.connection.datagram_send_buffer_space()
