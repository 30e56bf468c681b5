"""What magicsock may do with the paths of a connection, beyond the seam's streams and datagrams.

Only the client opens paths and starts rounds of NAT traversal (spec/endpoint.md, S9); either side
closes paths, says how it likes them used, and tells its candidates. What happens comes as events
(path_events.py).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iroh.quic.challenges import NEVER
from iroh.quic.datagrams import Address
from iroh.quic.frames.multipath import APPLICATION_ABANDON
from iroh.quic.network_change import on_network_change
from iroh.quic.path import Path
from iroh.quic.path_errors import MultipathDisabled, NatTraversalError
from iroh_base import SocketAddr

if TYPE_CHECKING:
    from iroh.quic.nat import NatTraversal
    from iroh.quic.parts import Parts

CHALLENGE_TRIES = 2
"""Challenges that `challenge` sends before it may be called again."""


@dataclass(frozen=True, slots=True)
class PathView:
    """One live path, as it was when asked.

    established: the peer answered on it. available: our own status, False for backup.
    local: our address, None while unknown. rtt: smoothed, seconds.
    unanswered: probe timeouts in a row without an answer. answered: when a challenge was answered
        last; an ACK may be lost on its way over another path, but this answer comes by the same.
    """

    path_id: int
    remote: Address
    local: Address | None
    established: bool
    available: bool
    rtt: float
    unanswered: int
    answered: float = float("-inf")


class PathCommands:
    """Commands on the paths of one connection. All raise PathError subclasses."""

    def __init__(self, parts: "Parts") -> None:
        self._p = parts

    @property
    def is_multipath(self) -> bool:
        """Whether both sides agreed on multipath, and the handshake is complete."""
        return self._p.mp.ids.enabled

    @property
    def is_nat_traversing(self) -> bool:
        """Whether both sides agreed on NAT traversal as well."""
        return self.is_multipath and self._p.mp.nat is not None

    def views(self) -> list[PathView]:
        """The paths that are not given up, those not proven yet too."""
        return [_view(path) for path in self._p.paths]

    def view(self, path_id: int) -> PathView | None:
        """One of them; None when it is unknown or given up."""
        path = self._p.paths.get(path_id)
        return _view(path) if path is not None and path.is_live() else None

    def best(self) -> Address | None:
        """The remote address of the path that carries data now."""
        path = self._p.choice.best()
        return path.remote if path is not None else None

    def ping(self, path_id: int) -> None:
        """Make the peer answer on one path: a path that is dead shows itself. Raises PathGone."""
        self._p.paths.live(path_id).wants_ping = True

    def challenge(self, path_id: int) -> None:
        """Find out whether a proven path still passes both ways: see PathView.answered.

        Does nothing while it is being found out. Raises PathGone.
        """
        path = self._p.paths.live(path_id)
        challenges = path.challenges
        if path.validated and not challenges.due and challenges.deadline == NEVER:
            challenges.want(CHALLENGE_TRIES)

    def send_elsewhere(self, path_id: int) -> None:
        """Send again on other paths what is in flight on this one, which stays. Raises PathGone.

        What arrives all the same arrives twice. For a path that seems dead and may come back.
        """
        self._p.paths.live(path_id).recovery.requeue_all()

    def open(
        self, remote: Address, local: Address | None, now: float, *, available: bool = True
    ) -> int:
        """Open a path and give its id; PathEstablished follows when the peer answers.

        available: False opens it as a backup. Raises MultipathDisabled, ServerCannotOpen;
        PathIdsExhausted and PathCidsExhausted when it may succeed later.
        """
        return self._p.paths.open(remote, local, available, now)

    def close(self, path_id: int, now: float, code: int = APPLICATION_ABANDON) -> None:
        """Give a path up. Raises MultipathDisabled, PathGone, LastPath."""
        self._p.paths.abandon(path_id, code, now)

    def set_status(self, path_id: int, available: bool) -> None:
        """Use a path for data, or as a backup only. Raises MultipathDisabled, PathGone."""
        self._p.mp.statuses.set(path_id, available)

    def set_idle_timeout(self, path_id: int, seconds: float | None, now: float) -> None:
        """Change when a silent path is given up; None for never. Raises PathGone."""
        self._p.mp.timers.set_idle_timeout(path_id, seconds, now)
        self._p.paths.live(path_id).recovery.path.idle_timeout = seconds  # probes back off by it

    def set_keep_alive(self, path_id: int, seconds: float | None, now: float) -> None:
        """Change how often a path is pinged; None for never. Raises PathGone."""
        self._p.mp.timers.set_keep_alive(path_id, seconds, now)

    def set_candidates(self, addrs: Iterable[SocketAddr]) -> list[SocketAddr]:
        """Say where we may be reached, and get back what did not fit under the peer's limit.

        The server tells them at once, the client when it starts a round. Raises NatTraversalError
        where NAT traversal was not agreed on.
        """
        return self._nat().set_local(addrs)

    def remote_candidates(self) -> list[SocketAddr]:
        """Where the server says that it may be reached (client)."""
        return self._nat().remote_candidates()

    def peer_candidates(self) -> list[SocketAddr]:
        """Where the peer says that it may be reached, on either side."""
        return self._nat().peer_candidates()

    def filter_candidates(self, usable: Callable[[SocketAddr], bool]) -> None:
        """Probe only those of the peer's candidates that `usable` takes. Works at any time."""
        self._p.mp.set_usable(usable)

    def start_round(self, now: float) -> list[SocketAddr]:
        """Probe all candidates of the server and ask it to probe ours; give those probed."""
        return self._nat().start_round(now)

    def on_network_change(self, is_recoverable: Callable[[Path], bool], now: float) -> None:
        """The machine's network changed: nudge or replace every path."""
        for path in on_network_change(self._p.paths, self._p.mp.remote_cids, is_recoverable, now):
            path.recovery.path.pto_count = 0

    # -- inside --------------------------------------------------------------------------------

    def _nat(self) -> "NatTraversal":
        if not self.is_multipath:
            raise MultipathDisabled("multipath was not negotiated")
        nat = self._p.mp.nat
        if nat is None:
            raise NatTraversalError("NAT traversal was not negotiated")
        return nat


def _view(path: Path) -> PathView:
    shared = path.recovery.path
    return PathView(
        path.path_id,
        path.remote,
        path.local,
        path.established,
        path.available,
        shared.rtt.smoothed,
        shared.pto_count,
        path.answered,
    )
