"""What the application does with streams and datagrams: the larger half of the seam.

Each command goes to the part that owns the state; all but reading raise ConnectionGone once the
connection is closing. What arrived before stays readable.
"""

from iroh.quic.api import Connection as ConnectionApi
from iroh.quic.build import short_overhead
from iroh.quic.errors import ConnectionGone
from iroh.quic.local_cids import CID_LENGTH
from iroh.quic.parts import Parts
from iroh.quic.transmit_long import MIN_DATAGRAM, early_room


class Commands(ConnectionApi):
    """Streams and datagrams of one connection."""

    _p: Parts

    # -- streams -------------------------------------------------------------------------------

    def open_stream(self, bidirectional: bool) -> int | None:
        """Open a stream; None at the peer's limit."""
        self._check_open()
        return self._p.streams.open_stream(bidirectional)

    def write(self, stream_id: int, data: bytes) -> int:
        """Queue bytes, and say how many were taken."""
        p = self._p
        if p.ending.reason is not None:
            self._check_open()
        return p.streams.write(stream_id, bytes(data))

    def finish(self, stream_id: int) -> None:
        """Send the end of the stream."""
        p = self._p
        if p.ending.reason is not None:
            self._check_open()
        p.streams.finish(stream_id)

    def reset(self, stream_id: int, code: int) -> None:
        """Abandon the sending half."""
        self._check_open()
        self._p.streams.reset(stream_id, code)

    def set_priority(self, stream_id: int, priority: int) -> None:
        """Streams of a higher priority are sent first."""
        self._check_open()
        self._p.streams.set_priority(stream_id, priority)

    def read(self, stream_id: int, limit: int) -> bytes | None:
        """Take bytes in order: b"" for none yet, None at the end. What arrived stays readable."""
        data = self._p.streams.read(stream_id, limit)
        if data == b"" and limit:
            self._check_open()
        return data

    def take(self, stream_id: int, limit: int) -> tuple[bytes, bool, bool]:
        """Read, and have the end told with the last bytes: (bytes, end, credit)."""
        streams = self._p.streams
        data, end = streams.take(stream_id, limit)
        if not data and limit and not end:
            self._check_open()
        return data, end, bool(streams.control.order)

    def stop(self, stream_id: int, code: int) -> None:
        """Send STOP_SENDING and forget what arrives."""
        self._check_open()
        self._p.streams.stop(stream_id, code)

    def set_max_concurrent_streams(self, bidirectional: bool, count: int) -> None:
        """Let the peer hold this many streams open at once."""
        self._p.streams.set_max_concurrent_streams(bidirectional, count)

    def set_receive_window(self, size: int) -> None:
        """Change the connection's receive window, bytes."""
        self._p.streams.set_receive_window(size)

    # -- datagrams -----------------------------------------------------------------------------

    def max_datagram_size(self) -> int | None:
        """Largest payload for send_datagram now."""
        return self._p.datagrams.max_size(self._datagram_room())

    def datagram_send_buffer_space(self) -> int:
        """Bytes that can be queued before old ones would be dropped."""
        return self._p.datagrams.space()

    def send_datagram(self, data: bytes) -> None:
        """Queue one; drops the oldest queued when full."""
        self._check_open()
        self._p.datagrams.send(data, self._datagram_room())

    def _datagram_room(self) -> int:
        if self._p.keys is None:
            return early_room(self._p)
        path = self._p.choice.best() or next(iter(self._p.paths), None)
        if path is None:  # all are given up: the peer has a moment to open another
            return MIN_DATAGRAM - short_overhead(bytes(CID_LENGTH))
        cid = self._p.mp.remote_cids.active(path.path_id)
        return int(path.mtud.mtu) - short_overhead(cid or bytes(CID_LENGTH))

    def _check_open(self) -> None:
        reason = self._p.ending.reason
        if reason is not None:
            raise ConnectionGone(reason)
