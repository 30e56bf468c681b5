"""Which path ids there are: a window that moves on as paths end (draft-ietf-quic-multipath 3.4).

    0 ............ local_max      ids that the peer may name to us
          usable_max              = min(local_max, peer_max): ids that may be opened

Each id is used once. One that both sides abandoned moves local_max on by one (MAX_PATH_ID), but
not before our PATH_ABANDON for it left: a peer that abandons and abandons is held to the pace of
our packets, and every list here stays as long as the window.
"""

from collections.abc import Callable
from typing import Any

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames import (
    Frame,
    MaxPathId,
    PathAbandon,
    PathCidsBlocked,
    PathsBlocked,
)
from iroh.quic.outbox import Outbox

PATH_ID_MAX = 0xFFFFFFFF
"""Path ids have 32 bits (noq `PathId`)."""

_ABANDON, _MAX, _BLOCKED, _CIDS_BLOCKED = range(4)
Key = tuple[int, int]


class _Leaving:
    """What still has to happen to an abandoned id."""

    __slots__ = ("code", "peer_left", "told")

    def __init__(self, code: int) -> None:
        self.code = code
        self.told = False
        self.peer_left = False


class PathIds:
    """The window of path ids and the frames about it.

    on_raised: called when usable_max may have grown.
    on_told: called with a path id when its PATH_ABANDON is written into a packet of another path.
    """

    def __init__(self, on_raised: Callable[[], None], on_told: Callable[[int], None]) -> None:
        self.enabled: bool = False
        self.local_max: int = 0
        self.peer_max: int = 0
        self._on_raised = on_raised
        self._on_told = on_told
        self._open = {0}
        self._leaving: dict[int, _Leaving] = {}
        self.outbox: Outbox[Key] = Outbox()

    # -- the window ----------------------------------------------------------------------------

    def enable(self, local_max: int, peer_max: int) -> None:
        """Both sides sent initial_max_path_id, and the handshake is complete."""
        self.enabled = True
        self.local_max, self.peer_max = local_max, peer_max
        self._open.update(range(1, local_max + 1))
        self._on_raised()

    @property
    def usable_max(self) -> int:
        """The largest path id that may be opened."""
        return min(self.local_max, self.peer_max)

    def is_open(self, path_id: int) -> bool:
        """Say whether the id is within our window and not abandoned."""
        return path_id in self._open

    def next_after(self, path_id: int) -> int:
        """Give the lowest id above this one that was not abandoned; it may be above the limit."""
        path_id += 1
        while path_id <= self.local_max and path_id not in self._open:
            path_id += 1
        return path_id

    def block_on_max(self) -> None:
        """Tell the peer that its limit holds us back."""
        self.outbox.add((_BLOCKED, self.peer_max))

    def block_on_cids(self, path_id: int) -> None:
        """Tell the peer that it gave no connection ids for a path."""
        self.outbox.add((_CIDS_BLOCKED, path_id))

    # -- abandoning ----------------------------------------------------------------------------

    def leave(self, path_id: int, code: int) -> None:
        """Abandon an id and tell the peer."""
        self._open.discard(path_id)
        self._leaving[path_id] = _Leaving(code)
        self.outbox.add((_ABANDON, path_id))

    def peer_left(self, path_id: int) -> None:
        """The peer abandoned an id that we abandoned too."""
        leaving = self._leaving.get(path_id)
        if leaving is not None and not leaving.peer_left:
            leaving.peer_left = True
            self._move_on(path_id, leaving)

    def has_untold(self, path_id: int) -> bool:
        """Say whether the PATH_ABANDON of this id waits to be sent."""
        return self.outbox.is_pending((_ABANDON, path_id))

    def take_abandon(self, path_id: int) -> tuple[Frame, Any] | None:
        """Give the PATH_ABANDON of this id, to be sent on the path itself for want of another."""
        frame = self.outbox.take_one((_ABANDON, path_id), self._build)
        if frame is None:
            return None
        self._settle(path_id)
        return frame, (_ABANDON, path_id)

    # -- frames --------------------------------------------------------------------------------

    def require(self, kind: int) -> None:
        """Refuse a multipath frame where multipath is not on. Raises PeerError."""
        if not self.enabled:
            raise PeerError(PROTOCOL_VIOLATION, "multipath was not negotiated", kind)

    def check(self, path_id: int, kind: int) -> None:
        """Refuse a path id that we did not allow. Raises PeerError."""
        self.require(kind)
        if path_id > self.local_max:
            raise PeerError(PROTOCOL_VIOLATION, "a path id above the limit", kind)

    def on_max_path_id(self, frame: MaxPathId) -> None:
        """The peer allows more path ids; never fewer. Raises PeerError."""
        self.require(frame.TYPES[0])
        if frame.path_id > self.peer_max:
            self.peer_max = frame.path_id
            self._on_raised()

    def on_paths_blocked(self, frame: PathsBlocked) -> None:
        """The peer would open more paths: those that end make room. Raises PeerError.

        It names the limit that it knows, which cannot be above ours.
        """
        self.check(frame.path_id, frame.TYPES[0])

    def take_frames(self, now: float, budget: int) -> list[tuple[Frame, Any]]:
        """Give frames of up to `budget` bytes with their tokens. Any validated path may carry them.

        Not the path that a PATH_ABANDON is about: use take_abandon for that.
        """
        if not self.outbox.pending:
            return []
        taken = self.outbox.take(budget, self._build)
        for frame, _ in taken:
            if isinstance(frame, PathAbandon):
                self._settle(frame.path_id)
                self._on_told(frame.path_id)
        return list(taken)

    def on_acked(self, token: Key) -> None:
        """A frame arrived."""
        self.outbox.on_acked(token)
        what, path_id = token
        if what == _ABANDON and path_id in self._leaving:
            self._forget_if_done(path_id, self._leaving[path_id])

    def on_lost(self, token: Key) -> None:
        """A frame is lost."""
        self.outbox.on_lost(token)

    # -- inside --------------------------------------------------------------------------------

    def _settle(self, path_id: int) -> None:
        leaving = self._leaving[path_id]
        if not leaving.told:
            leaving.told = True
            self._move_on(path_id, leaving)

    def _move_on(self, path_id: int, leaving: _Leaving) -> None:
        if not (leaving.told and leaving.peer_left):
            return
        self._forget_if_done(path_id, leaving)
        if self.local_max < PATH_ID_MAX:
            self.local_max += 1
            self._open.add(self.local_max)
            self.outbox.add((_MAX, self.local_max))
            self._on_raised()

    def _forget_if_done(self, path_id: int, leaving: _Leaving) -> None:
        if leaving.told and leaving.peer_left and (_ABANDON, path_id) not in self.outbox:
            del self._leaving[path_id]

    def _build(self, key: Key) -> Frame | None:
        what, number = key
        if what == _ABANDON:
            leaving = self._leaving.get(number)
            return PathAbandon(number, leaving.code) if leaving else None
        if what == _MAX:
            return MaxPathId(number) if number == self.local_max else None
        if what == _BLOCKED:
            return PathsBlocked(number) if number == self.peer_max else None
        return PathCidsBlocked(number, 0) if number in self._open else None
