"""The commands of the application; `api.Connection` says what they mean."""

from iroh.quic.config import TransportConfig
from iroh.quic.errors import StreamGone, StreamReset, StreamStopped
from iroh.quic.events import Event
from iroh.quic.streams import control
from iroh.quic.streams.recv import DATA_RECVD, OVER, RecvHalf
from iroh.quic.streams.send import OPEN, SendHalf
from iroh.quic.streams.table import StreamTable
from iroh.quic.varint import MAX

MAX_STOPPED = 1024
"""Stop codes remembered for streams that are gone already, so that a late writer learns them."""


class StreamCommands(StreamTable):
    """What the application does with streams."""

    def __init__(self, is_client: bool, config: TransportConfig, events: list[Event]) -> None:
        super().__init__(is_client, config, events)
        self._stopped: dict[int, int] = {}

    def open_stream(self, bidirectional: bool) -> int | None:
        """Open a stream; None at the peer's limit (StreamsAvailable follows)."""
        which = 0 if bidirectional else 1
        ids = self._local[which]
        stream_id = ids.open()
        if stream_id is None:
            if ids.limit != ids.blocked_at and self._has_params:
                ids.blocked_at = ids.limit
                self.control.want(control.STREAMS_BLOCKED, which)
            return None
        max_data = self._initial[1 if bidirectional else 2]
        self._senders[stream_id] = SendHalf(stream_id, self.outlet, max_data)
        if bidirectional:
            self._receivers[stream_id] = self._make_receiver(stream_id)
        return stream_id

    def write(self, stream_id: int, data: bytes) -> int:
        """Queue bytes, and say how many were taken. Raises StreamStopped, StreamGone."""
        half = self._senders.get(stream_id)
        if half is None or half.state != OPEN:
            raise self._not_writable(stream_id)
        return half.write(data)

    def finish(self, stream_id: int) -> None:
        """Send the end of the stream. Raises StreamStopped, StreamGone."""
        half = self._senders.get(stream_id)
        if half is None or half.state != OPEN:
            raise self._not_writable(stream_id)
        half.finish()
        if stream_id not in self._receivers:
            self._let_linger(half)

    def reset(self, stream_id: int, code: int) -> None:
        """Abandon the sending half. Raises StreamGone; ValueError for a code beyond 2**62 - 1."""
        _check_code(code)
        if not self._find_sender(stream_id).reset(code):
            raise StreamGone(f"stream {stream_id}: sending is over")
        self.control.want(control.RESET, stream_id)

    def set_priority(self, stream_id: int, priority: int) -> None:
        """Send this stream before those of a lower priority. Raises StreamGone."""
        self.outlet.set_priority(self._find_sender(stream_id), priority)

    def read(self, stream_id: int, limit: int) -> bytes | None:
        """Take bytes: b"" for none yet, None at the end. Raises StreamReset, StreamGone."""
        half = self._find_receiver(stream_id)
        data = self._read(half, limit)
        if data is None:
            self._forget_receiver(stream_id)
        return data

    def take(self, stream_id: int, limit: int) -> tuple[bytes, bool]:
        """Take bytes, and with the last ones the end. Raises StreamReset, StreamGone."""
        half = self._receivers.get(stream_id) or self._find_receiver(stream_id)
        data = self._read(half, limit)
        if data is not None and (half.state != DATA_RECVD or half.read_offset != half.final_size):
            return data, False
        self._forget_receiver(stream_id)
        return data or b"", True

    def _read(self, half: RecvHalf, limit: int) -> bytes | None:
        try:
            data = half.read(limit)
        except StreamReset:
            self._forget_receiver(half.stream_id)
            raise
        if data:
            if half.is_due():
                self.control.want(control.MAX_STREAM_DATA, half.stream_id)
            if self._intake.is_due():
                self.control.want(control.MAX_DATA)
        return data

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the peer to stop sending and forget what comes.

        Raises StreamGone; ValueError for a code beyond 2**62 - 1.
        """
        _check_code(code)
        half = self._find_receiver(stream_id)
        if half.stop(code):
            self.control.want_stop(stream_id, code)
        self._check_window()
        if half.state in OVER:
            self._forget_receiver(stream_id)

    def set_max_concurrent_streams(self, bidirectional: bool, count: int) -> None:
        """Let the peer hold this many streams open at once (never takes back what was granted)."""
        which = 0 if bidirectional else 1
        ids = self._remote[which]
        ids.set_count(count)
        if ids.granted > ids.announced:
            self.control.want(control.MAX_STREAMS, which)

    def set_receive_window(self, size: int) -> None:
        """Change the connection's receive window (never takes back what was granted)."""
        intake = self._intake
        intake.window = size
        if intake.limit() > intake.announced:
            self.control.want(control.MAX_DATA)

    def _remember_stop(self, stream_id: int, code: int) -> None:
        self._stopped[stream_id] = code
        if len(self._stopped) > MAX_STOPPED:
            del self._stopped[next(iter(self._stopped))]

    def _find_sender(self, stream_id: int) -> SendHalf:
        half = self._senders.get(stream_id)
        if half is None:
            raise StreamGone(f"stream {stream_id}: sending is over, or it is not known")
        return half

    def _find_receiver(self, stream_id: int) -> RecvHalf:
        half = self._receivers.get(stream_id)
        if half is None:
            raise StreamGone(f"stream {stream_id}: receiving is over, or it is not known")
        return half

    def _not_writable(self, stream_id: int) -> StreamStopped | StreamGone:
        code = self._stopped.get(stream_id)
        if code is not None:
            return StreamStopped(code)
        return StreamGone(f"stream {stream_id}: sending is over, or it is not known")


def _check_code(code: int) -> None:
    """Raise ValueError for what is no varint (RFC 9000 section 16)."""
    if not 0 <= code <= MAX:
        raise ValueError("an error code has 62 bits")
