"""The clock of the paths (spec/quic.md section 3, "Idle / keepalive" and "Abandon").

    deadline     armed by                                                  when it passes
    idle         any packet received; the first ack-eliciting one sent     the path is abandoned
                 after that (RFC 9000 section 10.1)
    keep_alive   any packet received or sent                               a PING is wanted
    challenge    a PATH_CHALLENGE sent                                     another one is wanted
    migration    the peer migrated from a proven address                   back to that address
    drain        the peer's PATH_ABANDON                                   the path is discarded
    grace        the peer abandoned the last path                          the connection ends

Idle and keep-alive only with multipath: a connection of one path has its own timers for both.
"""

from iroh.quic import path_state
from iroh.quic.challenges import NEVER
from iroh.quic.datagrams import Address
from iroh.quic.errors import NO_VIABLE_PATH, PeerError
from iroh.quic.frames.multipath import UNSTABLE_OR_POOR
from iroh.quic.path import Path
from iroh.quic.path_events import AbandonReason
from iroh.quic.path_state import ABANDONING
from iroh.quic.paths import PathTable


class PathTimers:
    """Arms and fires the deadlines of all paths."""

    def __init__(self, paths: PathTable) -> None:
        self._paths = paths

    def on_received(self, path: Path, remote: Address, nbytes: int, now: float) -> None:
        """An authenticated packet (or batch) came from `remote`. Call after Migration.on_packet."""
        if remote == path.remote:
            path.bytes_received += nbytes
        if self._paths.ids.enabled and path.state < ABANDONING:
            path.idle_reset = True
            path.arm_idle(now, self._paths.pto(path))
            path.arm_keep_alive(now)

    def on_sent(self, path: Path, nbytes: int, eliciting: bool, now: float) -> None:
        """A packet (or batch) left for the path's own address."""
        path.bytes_sent += nbytes
        if self._paths.ids.enabled and path.state < ABANDONING:
            path.arm_keep_alive(now)
            if eliciting and path.idle_reset:
                path.idle_reset = False
                self._arm_idle(path, now)

    def set_idle_timeout(self, path_id: int, timeout: float | None, now: float) -> None:
        """Change a path's idle timeout and start it anew; None for never. Raises PathGone."""
        path = self._paths.live(path_id)
        path.idle_timeout = timeout
        if self._paths.ids.enabled:
            self._arm_idle(path, now)

    def set_keep_alive(self, path_id: int, interval: float | None, now: float) -> None:
        """Change a path's keep-alive interval, start it anew; None for never. Raises PathGone."""
        path = self._paths.live(path_id)
        path.keep_alive = interval
        if self._paths.ids.enabled:
            path.arm_keep_alive(now)

    def next_timeout(self) -> float:
        """When handle_timeout is due; NEVER for never."""
        deadline = self._paths.grace_deadline
        for path in self._paths.known:
            at = path.next_deadline()
            if at < deadline:
                deadline = at
        return deadline

    def handle_timeout(self, now: float) -> None:
        """Do what time demands. Raises PeerError(NO_VIABLE_PATH) when no path is left for good."""
        paths = self._paths
        for path in paths.known:
            if now >= path.keep_alive_deadline:
                path.keep_alive_deadline = NEVER
                path.wants_ping = True
            path.challenges.expire(now)
            if now >= path.migration_deadline:
                path.migration_deadline = NEVER
                paths.feed(path, path_state.REVERTED, now)
            if now >= path.idle_deadline:
                self._idle(path, now)
            if now >= path.drain_deadline:
                paths.feed(path, path_state.DRAINED, now)
        if now >= paths.grace_deadline:
            paths.grace_deadline = NEVER
            raise PeerError(NO_VIABLE_PATH, "last path abandoned, no new path opened")

    def _arm_idle(self, path: Path, now: float) -> None:
        path.arm_idle(now, self._paths.pto(path))

    def _idle(self, path: Path, now: float) -> None:
        """Give up a silent path. The last one stays: it ends with the connection's own timeout.

        So does, for the time being, the only one that ever worked: those that are not proven yet
        may never be, and the peer would be left without any.
        """
        path.idle_deadline = NEVER
        if self._paths.is_last(path):
            return
        if path.validated and not any(one.validated for one in self._paths if one is not path):
            self._arm_idle(path, now)
            return
        self._paths.abandon(path.path_id, UNSTABLE_OR_POOR, now, AbandonReason.TIMED_OUT)
