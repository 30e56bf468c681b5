"""PATH_STATUS_AVAILABLE and PATH_STATUS_BACKUP: how each side would like a path to be used."""

from typing import Any

from iroh.quic.frames import Frame, PathStatus
from iroh.quic.outbox import Outbox
from iroh.quic.path_errors import MultipathDisabled
from iroh.quic.path_events import PathStatusChanged
from iroh.quic.paths import PathTable


class PathStatuses:
    """Sends our status of each path and keeps the peer's.

    Sequence numbers are per path, strictly increasing, and so put reordered frames in order. The
    status a path is opened with is not told; only changes are (noq).
    """

    def __init__(self, paths: PathTable) -> None:
        self._paths = paths
        self.outbox: Outbox[tuple[int, int]] = Outbox()

    def set(self, path_id: int, available: bool) -> None:
        """Use a path for data (available), or only when no other is.

        Raises PathGone, MultipathDisabled.
        """
        if not self._paths.ids.enabled:
            raise MultipathDisabled("multipath was not negotiated")
        path = self._paths.live(path_id)
        if path.available != available:
            path.available = available
            path.status_seq += 1
            self.outbox.add((path_id, path.status_seq))

    def on_status(self, frame: PathStatus) -> None:
        """Take the peer's status; an older one than we have is ignored. Raises PeerError."""
        self._paths.ids.check(frame.path_id, frame.TYPES[frame.available])
        path = self._paths.get(frame.path_id)
        if path is None or not path.is_live() or frame.seq <= path.remote_status_seq:
            return
        path.remote_status_seq = frame.seq
        if path.remote_available != frame.available:
            path.remote_available = frame.available
            self._paths.events.append(PathStatusChanged(frame.path_id, frame.available))

    def take_frames(self, now: float, budget: int) -> list[tuple[Frame, Any]]:
        """Give frames of up to `budget` bytes with their tokens, for any validated path."""
        return list(self.outbox.take(budget, self._build)) if self.outbox.pending else []

    def on_acked(self, token: tuple[int, int]) -> None:
        """A frame arrived."""
        self.outbox.on_acked(token)

    def on_lost(self, token: tuple[int, int]) -> None:
        """A frame is lost: sent again, unless the status changed since."""
        self.outbox.on_lost(token)

    def _build(self, key: tuple[int, int]) -> Frame | None:
        path_id, seq = key
        path = self._paths.get(path_id)
        if path is None or not path.is_live() or path.status_seq != seq:
            return None
        return PathStatus(path_id, seq, path.available)
