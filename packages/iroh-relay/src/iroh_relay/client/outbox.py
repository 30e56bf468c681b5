"""Datagrams on their way out: cut into legal frames, and a short queue for when they must wait."""

from collections import deque
from collections.abc import Sequence

from ..protos.errors import FrameTooLargeError
from ..protos.frames.datagrams import MAX_BATCH_CONTENTS, MAX_SINGLE_CONTENTS, encode_datagrams

__all__ = ["QUEUE_LIMIT", "Outbox", "encode"]

#: Frames that wait for one relay at most (iroh `actor.rs`: 64 items per relay).
QUEUE_LIMIT = 64


def encode(dest: bytes, data: bytes, segment_size: int, ecn: int) -> list[bytes]:
    """The frames that carry `data` to the endpoint `dest`; almost always one.

    `segment_size` 0, or one that `data` does not exceed, means a single datagram. A batch too large
    for one frame is cut between two datagrams. Raises `FrameError` for empty data and for a
    datagram that no frame can hold.
    """
    if not 0 < segment_size < len(data):
        return [encode_datagrams(dest, data, ecn & 3)]
    if segment_size > MAX_SINGLE_CONTENTS:
        raise FrameTooLargeError(f"a datagram of {segment_size} bytes does not fit into a frame")
    if len(data) <= MAX_BATCH_CONTENTS:
        return [encode_datagrams(dest, data, ecn & 3, segment_size)]
    # At least one datagram each; a frame with just one of them takes the single form.
    step = max(MAX_BATCH_CONTENTS // segment_size, 1) * segment_size
    parts = [data[start : start + step] for start in range(0, len(data), step)]
    return [
        encode_datagrams(dest, part, ecn & 3, segment_size if len(part) > segment_size else None)
        for part in parts
    ]


class Outbox:
    """A queue of at most `QUEUE_LIMIT` frames; what does not fit is refused, never what waits."""

    __slots__ = ("_frames", "limit")

    def __init__(self, limit: int = QUEUE_LIMIT) -> None:
        self._frames: deque[bytes] = deque()
        self.limit: int = limit

    def push(self, frames: Sequence[bytes]) -> bool:
        """Add all of `frames`, or none if there is no room for all; whether they were added."""
        if len(self._frames) + len(frames) > self.limit:
            return False
        self._frames.extend(frames)
        return True

    def pop(self) -> bytes:
        """Take the oldest frame out. `IndexError` if there is none."""
        return self._frames.popleft()

    def clear(self) -> int:
        """Forget everything; how many frames that were."""
        count = len(self._frames)
        self._frames.clear()
        return count

    def __len__(self) -> int:
        return len(self._frames)
