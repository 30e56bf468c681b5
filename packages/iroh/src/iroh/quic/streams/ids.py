"""Stream ids and how many there may be (RFC 9000 sections 2.1 and 4.6).

    bits of a stream id     n ... n  d i      i: 0 opened by the client, 1 by the server
                            number            d: 0 bidirectional, 1 unidirectional

Streams of one kind are opened in order of their numbers, so that one counter tells the closed ones
from those that never were: what is below it and not held has ended.
"""

from iroh.quic.frames.flow import MAX_STREAM_COUNT

UNI = 0x2


class LocalIds:
    """Streams of one kind that we open.

    opened: how many; limit: how many the peer lets us open in all.
    wanted: an `open` was refused, and the limit has not moved since.
    asked: an `open` was refused once; from then on each move of the limit is told.
    blocked_at: the limit for which STREAMS_BLOCKED was sent, -1 for none.
    """

    __slots__ = ("asked", "base", "blocked_at", "limit", "opened", "wanted")

    def __init__(self, base: int) -> None:
        self.base: int = base
        self.blocked_at: int = -1
        self.limit: int = 0
        self.opened: int = 0
        self.wanted: bool = False
        self.asked: bool = False

    def open(self) -> int | None:
        """Give the next id, None at the limit."""
        if self.opened >= self.limit:
            self.wanted = self.asked = True
            return None
        stream_id = self.opened << 2 | self.base
        self.opened += 1
        return stream_id


class RemoteIds:
    """Streams of one kind that the peer opens: `count` at once, so more as some end.

    opened: how many the peer has opened, gaps included; closed: how many of them have ended.
    lingering: how many of these have still to be sent, or acknowledged, what our application wrote
        before it was done with them. The peer may open others in their place, a round trip earlier
        than if it had to have all of that before. `count` may linger, or it could make us keep any
        number.
    announced: the limit the peer knows; granted: the one it may get.
    """

    __slots__ = ("announced", "base", "closed", "count", "granted", "lingering", "opened")

    def __init__(self, base: int, count: int) -> None:
        self.base: int = base
        self.closed: int = 0
        self.count: int = count
        self.lingering: int = 0
        self.opened: int = 0
        self.granted: int = min(count, MAX_STREAM_COUNT)
        self.announced: int = self.granted

    def set_count(self, count: int) -> None:
        """Change how many may be open at once; what was granted stays granted."""
        self.count = count
        self._grant()

    def close_one(self) -> None:
        """A stream has ended."""
        self.closed += 1
        self._grant()

    def is_due(self) -> bool:
        """Whether MAX_STREAMS has to be sent: the peer has less left than it would get."""
        return self.announced - self.opened < self.granted - self.announced

    def _grant(self) -> None:
        self.granted = max(self.granted, min(self.closed + self.count, MAX_STREAM_COUNT))
