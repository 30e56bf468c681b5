"""What the sending halves of a connection share: credit, memory, and whose turn it is.

    level, highest priority first
      lost   half, half, ...        has lost bytes
      fresh  half, half, half ...   has new bytes, or its end

The queues are pruned when they are looked at: a half that has nothing to send, or may not send,
leaves its queue then and comes back with new bytes or new credit.
"""

from collections import deque
from collections.abc import Callable

from iroh.quic.events import Event, StreamWritable
from iroh.quic.streams.send import BY_CONNECTION, BY_STREAM, LOW_WATER, SendHalf

MAX_EMPTY_LEVELS = 8
"""Levels kept although empty; an application may use any number of priorities over time."""


class Level:
    """The halves of one priority that have something to send."""

    __slots__ = ("_dead", "fresh", "lost", "priority")

    def __init__(self, priority: int) -> None:
        self.priority: int = priority
        self.lost: deque[SendHalf] = deque()
        self.fresh: deque[SendHalf] = deque()
        self._dead = 0

    def bury(self) -> None:
        """A half in the queues is done; sweep when they may hold more dead than living ones."""
        self._dead += 1
        if self._dead > 64 and self._dead * 2 > len(self.fresh) + len(self.lost):
            self._dead = 0
            self.fresh = deque(half for half in self.fresh if not half.is_over())
            self.lost = deque(half for half in self.lost if not half.is_over())


class Outlet:
    """The connection's side of sending.

    window: bytes held for all streams together; `held` is how many there are.
    is_fair: whether streams of one priority take turns; else each is sent to its end.
    limit: how much the peer lets us send on all streams (MAX_DATA); `used` is how much we have.
    blocked_at: the limit for which DATA_BLOCKED was sent, -1 for none.
    writers: halves that took fewer bytes than they were given, by stream id.
    on_blocked: called with a half that its own limit holds back, or None for the connection's.
    on_end: called with a half that is done: everything, or its reset, is acknowledged.
    """

    __slots__ = (
        "_by_priority",
        "_events",
        "_levels",
        "_parked",
        "_turn",
        "blocked_at",
        "held",
        "limit",
        "on_blocked",
        "on_end",
        "used",
        "window",
        "writers",
    )

    def __init__(
        self,
        window: int,
        events: list[Event],
        on_blocked: Callable[[SendHalf | None], None],
        on_end: Callable[[SendHalf], None],
        is_fair: bool = True,
    ) -> None:
        self._turn = -1 if is_fair else 0
        self.window: int = window
        self.held: int = 0
        self.limit: int = 0
        self.used: int = 0
        self.blocked_at: int = -1
        self.writers: dict[int, SendHalf] = {}
        self.on_blocked: Callable[[SendHalf | None], None] = on_blocked
        self.on_end: Callable[[SendHalf], None] = on_end
        self._events = events
        self._levels: list[Level] = []  # highest priority first
        self._by_priority: dict[int, Level] = {}
        self._parked: dict[int, SendHalf] = {}  # held back by the connection's limit

    # -- whose turn ------------------------------------------------------------------------------

    def schedule(self, half: SendHalf) -> None:
        """Queue a half that may have new bytes or its end to send."""
        if not half.in_fresh:
            half.in_fresh = True
            self._level(half.priority).fresh.append(half)

    def schedule_lost(self, half: SendHalf) -> None:
        """Queue a half that has lost bytes."""
        if not half.in_lost:
            half.in_lost = True
            self._level(half.priority).lost.append(half)

    def peek(self) -> SendHalf | None:
        """Give the half whose turn it is, None when nothing can be sent."""
        queue = self._front()
        return queue[0] if queue else None

    def next_sender(self) -> SendHalf | None:
        """Give the half whose turn it is, and put it behind its like."""
        queue = self._front()
        if not queue:
            return None
        half = queue[0]
        if len(queue) > 1:
            queue.rotate(self._turn)
        return half

    def set_priority(self, half: SendHalf, priority: int) -> None:
        """Move a half to another level."""
        fresh, lost = half.in_fresh, half.in_lost
        self._unqueue(half)
        half.priority = priority
        if fresh:
            self.schedule(half)
        if lost:
            self.schedule_lost(half)

    def forget(self, half: SendHalf) -> None:
        """Drop a half that is done. It leaves its queue in due course."""
        if half.in_fresh or half.in_lost:
            self._level(half.priority).bury()
        self._parked.pop(half.stream_id, None)
        self.writers.pop(half.stream_id, None)

    # -- credit and memory -----------------------------------------------------------------------

    def raise_limit(self, limit: int) -> None:
        """Take MAX_DATA; a lower limit than before is ignored."""
        if limit <= self.limit:
            return
        self.limit = limit
        parked = list(self._parked.values())
        self._parked.clear()
        for half in parked:
            self.schedule(half)

    def is_blocked(self) -> bool:
        """Whether the connection's limit holds written bytes back."""
        return bool(self._parked) and self.used >= self.limit

    def rewind(self) -> None:
        """Forget the peer's limit and what was sent."""
        self.limit = self.used = 0
        self.blocked_at = -1

    def wake_writers(self) -> None:
        """Say StreamWritable for halves that were held back and have drained."""
        if self.held > self.window - self.window // 4:
            return
        for stream_id, half in list(self.writers.items()):
            if half.held() <= LOW_WATER:
                del self.writers[stream_id]
                self._events.append(StreamWritable(stream_id))

    # -- inside ----------------------------------------------------------------------------------

    def _front(self) -> deque[SendHalf] | None:
        """Give the queue whose head can send now, having pruned those before it."""
        for level in self._levels:
            queue = level.lost
            while queue:
                half = queue[0]
                if half.has_lost():
                    return queue
                queue.popleft()
                half.in_lost = False
            queue = level.fresh
            while queue:
                half = queue[0]
                if half.has_fresh():
                    return queue
                queue.popleft()
                half.in_fresh = False
                reason = half.held_back()
                if reason == BY_STREAM:
                    self.on_blocked(half)
                elif reason == BY_CONNECTION:
                    self._parked[half.stream_id] = half
                    self.on_blocked(None)
        return None

    def _level(self, priority: int) -> Level:
        level = self._by_priority.get(priority)
        if level is None:
            if len(self._levels) > MAX_EMPTY_LEVELS:
                self._levels = [kept for kept in self._levels if kept.fresh or kept.lost]
            level = Level(priority)
            self._levels.append(level)
            self._levels.sort(key=lambda one: -one.priority)
            self._by_priority = {one.priority: one for one in self._levels}
        return level

    def _unqueue(self, half: SendHalf) -> None:
        if half.in_fresh:
            self._level(half.priority).fresh.remove(half)
            half.in_fresh = False
        if half.in_lost:
            self._level(half.priority).lost.remove(half)
            half.in_lost = False
