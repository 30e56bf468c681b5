"""A stream and the limit on how many the peer may open, in the shape that aioquic drives."""

from aioquic.quic.connection import STREAM_COUNT_MAX

from aioquic_engine.receiving import CryptoReceiver, ReceiveHalf
from aioquic_engine.sending import SendHalf

WINDOW_STEP = 8
"""A window is announced again once an eighth of it is free (noq: should_transmit)."""


class Stream:
    """Both halves of a stream and its windows.

    window: what the peer may send ahead of our reading; remote_window: what we may send.
    """

    __slots__ = (
        "_window",
        "is_blocked",
        "max_stream_data_local",
        "max_stream_data_local_sent",
        "max_stream_data_remote",
        "priority",
        "receiver",
        "sender",
        "stream_id",
    )

    def __init__(
        self,
        stream_id: int,
        receiver: ReceiveHalf,
        sender: SendHalf,
        window: int = 0,
        remote_window: int = 0,
    ) -> None:
        self.is_blocked = False  # aioquic's flag for streams opened beyond the limit: never here
        self.max_stream_data_local = window
        self.max_stream_data_local_sent = window
        self.max_stream_data_remote = remote_window
        self.priority = 0
        self.receiver = receiver
        self.sender = sender
        self.stream_id = stream_id
        self._window = window

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do for either half."""
        return self.receiver.is_finished and self.sender.is_finished

    def advance_window(self) -> None:
        """Grant the peer what the reader has taken, in steps."""
        limit = self.receiver.read_offset + self._window
        if limit - self.max_stream_data_local >= max(1, self._window // WINDOW_STEP):
            self.max_stream_data_local = limit

    @property
    def window_is_due(self) -> bool:
        """Whether MAX_STREAM_DATA has to be sent."""
        return (
            self.max_stream_data_local != self.max_stream_data_local_sent
            and self.receiver.final_size is None
            and not self.receiver.stopped
        )


def crypto_stream() -> Stream:
    """Make the pair that carries CRYPTO frames of one packet number space."""
    return Stream(-1, CryptoReceiver(), SendHalf(-1, None, None))


class StreamLimit:
    """How many streams of one kind the peer may open: `count` at once, so more as some close.

    aioquic reads `value`, `used` and `sent`, and raises `value` by one for each stream that closes;
    here this assignment counts the stream, and what is granted follows from `count`.
    """

    __slots__ = ("_closed", "_granted", "count", "frame_type", "name", "sent", "used")

    def __init__(self, frame_type: int, name: str, count: int) -> None:
        self.count = count
        self.frame_type = frame_type
        self.name = name
        self.sent = count
        self.used = 0
        self._closed = 0
        self._granted = count

    @property
    def value(self) -> int:
        """The number granted since the start."""
        return self._granted

    @value.setter
    def value(self, _: int) -> None:
        self._closed += 1
        self._grant()

    def set_count(self, count: int) -> None:
        """Change how many may be open at once; what was granted stays granted."""
        self.count = count
        self._grant()

    @property
    def is_due(self) -> bool:
        """Whether MAX_STREAMS has to be sent: the peer has less left than we would add."""
        return self.sent - self.used < self._granted - self.sent

    def _grant(self) -> None:
        self._granted = max(self._granted, min(self._closed + self.count, STREAM_COUNT_MAX))
