"""Frames that wait to be sent, each under a key that says what it is about.

              add           take              on_acked
    (nothing) ---> pending -------> in flight ---------> (nothing)
                      ^                 |
                      +-----------------+  on_lost

The frame is built when it is taken, from the state of that moment, by a builder that comes with the
call; one that gives None says that nobody needs it any more. A key must name the state too, such as
(path id, sequence number), so that a lost frame of an older state is not sent again.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from iroh.quic.frames import Frame

K = TypeVar("K", bound=Hashable)


class Outbox(Generic[K]):
    """The frames of one part of a connection; its length counts the pending and those in flight.

    pending: the keys that wait to be sent, the oldest first; only to be looked at.
    """

    __slots__ = ("_in_flight", "pending")

    def __init__(self) -> None:
        self.pending: dict[K, None] = {}
        self._in_flight: set[K] = set()

    def __len__(self) -> int:
        return len(self.pending) + len(self._in_flight)

    def __contains__(self, key: K) -> bool:
        return key in self.pending or key in self._in_flight

    def is_pending(self, key: K) -> bool:
        """Say whether the frame of this key waits to be sent."""
        return key in self.pending

    def add(self, key: K) -> None:
        """Want the frame of this key sent; once is enough however often it is said."""
        self.pending[key] = None

    def take(self, budget: int, build: Callable[[K], Frame | None]) -> list[tuple[Frame, K]]:
        """Give the oldest frames that fit into so many bytes, with their keys as tokens."""
        taken: list[tuple[Frame, K]] = []
        pending = self.pending
        while pending:
            key = next(iter(pending))
            frame = build(key)
            if frame is None:
                del pending[key]
                continue
            budget -= len(frame.encode())
            if budget < 0:
                break
            del pending[key]
            self._in_flight.add(key)
            taken.append((frame, key))
        return taken

    def take_one(self, key: K, build: Callable[[K], Frame | None]) -> Frame | None:
        """Give the frame of this key, None when it is not pending or not needed any more."""
        if key not in self.pending:
            return None
        del self.pending[key]
        frame = build(key)
        if frame is not None:
            self._in_flight.add(key)
        return frame

    def on_acked(self, key: K) -> None:
        """The frame arrived."""
        self._in_flight.discard(key)

    def on_lost(self, key: K) -> None:
        """The frame is lost: it waits again, unless another copy of it arrived."""
        if key in self._in_flight:
            self._in_flight.discard(key)
            self.pending[key] = None
