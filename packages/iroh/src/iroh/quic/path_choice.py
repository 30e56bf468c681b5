"""Which path carries what (spec/quic.md section 3, "Opening, validation, scheduling").

    data, control, ACKs   a proven path that we have an id for: our own status Available first,
                          then Backup, the lowest id first; during the handshake path 0
    CONNECTION_CLOSE      the same, for want of it an unproven one
    PATH_ABANDON          the same, for want of it the abandoned path itself (see probes.py)

The peer's status is advice to whoever sets ours (magicsock), not to us (noq `scheduling_info`).
"""

from iroh.quic.path import Path
from iroh.quic.path_state import ABANDONING
from iroh.quic.paths import PathTable
from iroh.quic.remote_cids import RemoteCids


class PathChoice:
    """Chooses among the live paths."""

    def __init__(self, paths: PathTable, remote_cids: RemoteCids) -> None:
        self._paths = paths
        self._remote_cids = remote_cids

    def usable(self) -> list[Path]:
        """The paths that may carry data, the best first: use the next when one is congested.

        All with status Available; the Backup paths only when there is none.
        """
        paths, cids = self._paths, self._remote_cids
        if not paths.established:
            first = paths.get(0)
            return [first] if first is not None else []
        proven = [path for path in paths if path.validated and path.path_id in cids]
        available = [path for path in proven if path.available]
        return available or proven

    def best(self) -> Path | None:
        """The path for data and control frames; None when there is none now.

        Asked for every packet or two, so it makes no list of all that are usable.
        """
        paths, cids = self._paths, self._remote_cids
        if not paths.established:
            return paths.get(0)
        backup: Path | None = None
        for path in paths.known:
            if path.validated and path.state < ABANDONING and path.path_id in cids:
                if path.available:
                    return path
                if backup is None:
                    backup = path
        return backup

    def best_for_acks(self, path: Path) -> Path | None:
        """The path for ACKs of another one's packets: itself if it may carry data, else the best.

        A PATH_ACK may travel on any path; its own measures that path's RTT.
        """
        best = self.best()
        return path if path is not best and path in self.usable() else best

    def best_for_close(self) -> Path | None:
        """The path for CONNECTION_CLOSE, which may be an unproven one."""
        best = self.best()
        if best is not None:
            return best
        return next((path for path in self._paths if path.path_id in self._remote_cids), None)
