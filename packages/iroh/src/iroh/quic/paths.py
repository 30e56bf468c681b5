"""All paths of a connection: how they come, are proven, are given up and go.

          client: open()                          server: prospect(), admit()
                  \\                              /
                   +--> challenge <--> response +--> PathEstablished
                                |
        abandon() / idle / on_abandon() --> PATH_ABANDON both ways --> 3 PTO --> PathClosed

The states of one path are the table in path_state.py; `feed` is its driver. This module holds no
packets: it is told what happened and says what should.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from iroh.quic import path_state
from iroh.quic.challenges import MTU_TRIES, NEVER
from iroh.quic.datagrams import Address
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.events import Event
from iroh.quic.frames import PathAbandon
from iroh.quic.local_cids import LocalCids
from iroh.quic.path import IDLE_TIMEOUT, KEEP_ALIVE, Path
from iroh.quic.path_errors import (
    LastPath,
    MigrationDisabled,
    MultipathDisabled,
    PathCidsExhausted,
    PathGone,
    PathIdsExhausted,
    ServerCannotOpen,
)
from iroh.quic.path_events import (
    AbandonReason,
    PathAbandoned,
    PathClosed,
    PathEstablished,
    PathMoved,
)
from iroh.quic.path_ids import PathIds
from iroh.quic.remote_cids import RemoteCids

DRAIN_PTOS = 3
"""draft-ietf-quic-multipath section 3.4; noq PathDrained, and NoAvailablePath."""
INITIAL_PTOS = 3
"""PTO of an unmeasured path in initial RTTs: RTT + 4 * RTT / 2 (RFC 9002 section 6.2.2)."""


class PathOwner(Protocol):
    """The connection, as the paths see it. Called in the middle of things: do not call back."""

    def path_pto(self, path: Path) -> float:
        """The path's probe timeout without max_ack_delay, in seconds."""

    def path_created(self, path: Path, sibling: Path | None) -> None:
        """Fill the free slots. sibling: a path of the same addresses, whose RTT is a good guess.

        The path may yet be dropped: see PathTable.prospect.
        """

    def path_answered(self, path: Path, rtt: float) -> None:
        """A challenge took so long: a first guess of the RTT, no sample (noq)."""

    def path_moved(self, path: Path, same_host: bool) -> None:
        """The peer's address changed: reset congestion state and MTU unless only the port did.

        `path.previous` is the proven address before, if any.
        """

    def path_abandoned(self, path: Path) -> None:
        """Nothing but ACKs of the path is sent any more, and on other paths."""

    def path_discarded(self, path: Path) -> None:
        """Whatever is in flight on the path is lost; forget the path's packets."""


class PathTable:
    """The paths of a connection, by path id. Iterating gives the live ones, the lowest id first.

    established, confirmed: set when the handshake is. ids: the window of path ids.
    idle_timeout, keep_alive: of paths to come, seconds, None for never.
    grace_deadline: when the connection ends unless a path was opened; NEVER while there is one.
    events: what happened, oldest first; whoever reads it clears it.
    known: what `all` gives, for those who ask per packet.
    initial_rtt, max_ack_delay: seconds, for timers of paths without an RTT of their own.
    fixed: an address of the peer's to which it takes only the path that there is; None for none.
    """

    def __init__(
        self,
        is_client: bool,
        local_cids: LocalCids,
        remote_cids: RemoteCids,
        owner: PathOwner,
        initial_rtt: float = 0.333,
        max_ack_delay: float = 0.025,
    ) -> None:
        self.is_client = is_client
        self.established = self.confirmed = False
        self.max_ack_delay = max_ack_delay
        self.idle_timeout: float | None = IDLE_TIMEOUT
        self.keep_alive: float | None = KEEP_ALIVE
        self.ids: PathIds = PathIds(self.issue_cids, remote_cids.drop)
        self._local_cids = local_cids
        self._remote_cids = remote_cids
        self._owner = owner
        self._initial_pto = INITIAL_PTOS * initial_rtt
        self._paths: dict[int, Path] = {}
        self.known: tuple[Path, ...] = ()
        self._highest = 0
        self._cids_issued_to = -1
        self.grace_deadline: float = NEVER
        self.fixed: Address | None = None
        self.events: list[Event] = []

    # -- coming --------------------------------------------------------------------------------

    def start(self, remote: Address, local: Address | None, validated: bool) -> Path:
        """Make path 0, over which the handshake runs. validated: at a server, by a Retry token."""
        path = Path(0, remote, local, not self.is_client)
        path.established = True
        path.validated = validated or self.is_client
        if path.validated:
            path.state = path_state.OPEN
        self._paths[0] = path
        self.known = (path,)
        self._owner.path_created(path, None)
        return path

    def enable_multipath(self, local_max: int, peer_max: int, now: float) -> None:
        """Both sides sent initial_max_path_id and the handshake is complete."""
        self._local_cids.multipath = self._remote_cids.multipath = True
        self.ids.enable(local_max, peer_max)
        for path in self:
            path.idle_timeout, path.keep_alive = self.idle_timeout, self.keep_alive
            path.arm_idle(now, self.pto(path))
            path.arm_keep_alive(now)

    def issue_cids(self) -> None:
        """Give the peer ids for every path that may be opened and has not got them, if `confirmed`.

        A client could do it once the handshake is complete. But nobody needs them before it is
        confirmed: only then paths are opened, by the client, with ids that come from the server
        together with HANDSHAKE_DONE.
        """
        if not self.confirmed:
            return
        first, last = self._cids_issued_to + 1, self.ids.usable_max
        self._cids_issued_to = max(last, self._cids_issued_to)
        self._local_cids.issue(*filter(self.ids.is_open, range(first, last + 1)))

    def get(self, path_id: int) -> Path | None:
        """The path, be it abandoned or not; None when unknown or discarded."""
        return self._paths.get(path_id)

    def __iter__(self) -> Iterator[Path]:
        return iter([path for path in self.known if path.state < path_state.ABANDONING])

    def pto(self, path: Path) -> float:
        """The path's probe timeout with max_ack_delay, in seconds."""
        return self._owner.path_pto(path) + self.max_ack_delay

    def live(self, path_id: int) -> Path:
        """The path, if it is not abandoned. Raises PathGone."""
        path = self._paths.get(path_id)
        if path is None or not path.is_live():
            raise PathGone(f"there is no path {path_id}")
        return path

    def all(self) -> tuple[Path, ...]:
        """Every path that is not discarded, abandoned ones too; the lowest id first."""
        return self.known

    def open(self, remote: Address, local: Address | None, available: bool, now: float) -> int:
        """Open a path and give its id; PathEstablished follows when the peer answers.

        Raises MultipathDisabled, ServerCannotOpen, MigrationDisabled; PathIdsExhausted and
        PathCidsExhausted, after which the peer is told that we are blocked.
        """
        if not self.ids.enabled:
            raise MultipathDisabled("multipath was not negotiated")
        if not self.is_client:
            raise ServerCannotOpen("only the client opens paths")
        if self.fixed is not None and remote == self.fixed:
            raise MigrationDisabled(f"the peer takes no second path to {remote}")
        path_id = self.ids.next_after(self._highest)
        if path_id > self.ids.usable_max:
            self.ids.block_on_max()
            raise PathIdsExhausted(f"the limit of path ids is {self.ids.usable_max}")
        if path_id not in self._remote_cids:
            self.ids.block_on_cids(path_id)
            raise PathCidsExhausted(f"no connection id for path {path_id} yet")
        path = self._make(path_id, remote, local)
        self._add(path, now)
        if not available:  # the status as opened is not announced (noq `open_path`)
            path.available = False
            path.status_seq += 1
        return path_id

    def find(self, remote: Address, local: Address | None) -> Path | None:
        """The first live path between these addresses."""
        return next((path for path in self if path.runs_over(remote, local)), None)

    def prospect(self, path_id: int, remote: Address, local: Address | None) -> Path | None:
        """Make, but do not add, the path that a 1-RTT packet claims to open; None: drop the packet.

        The client drops packets of paths that it did not open, and nobody opens paths before the
        handshake is complete or anew with an id that ended. `admit` it once the packet turned out
        authentic.
        """
        if self.is_client or not self.established or not self.ids.is_open(path_id):
            return None
        return self._make(path_id, remote, local)

    def admit(self, path: Path, now: float) -> None:
        """Add a path that `prospect` made; harmless for one that is there."""
        if self._paths.get(path.path_id) is None and not path.is_discarded():
            self._add(path, now)
            if path.path_id not in self._remote_cids:
                self.ids.block_on_cids(path.path_id)

    def for_ack(self, path_id: int | None, kind: int) -> Path | None:
        """Give the path that an ACK frame speaks of; None when it is gone. Raises PeerError.

        path_id: None in a plain ACK. Of a path that was never used nothing can be acknowledged.
        """
        if path_id is not None:
            self.ids.check(path_id, kind)
        path = self._paths.get(path_id or 0)
        if path is None and self.ids.is_open(path_id or 0):
            raise PeerError(PROTOCOL_VIOLATION, "an ACK of a path that was never used", kind)
        return path

    # -- proving -------------------------------------------------------------------------------

    def prove(self, path: Path, now: float) -> None:
        """The peer's address on a path is proven; path 0: by a Handshake packet."""
        path.validated = True
        path.challenges.clear()
        path.previous = None
        path.migration_deadline = NEVER
        self.feed(path, path_state.PROVEN, now)

    def on_response(self, data: bytes, now: float) -> Path | None:
        """Take a PATH_RESPONSE, on whatever path it came: it proves where the challenge went.

        None when it answers no challenge of a live path, which is no error.
        """
        for path in self:
            answer = path.challenges.answered(data)
            if answer is None:
                continue
            sent, padded = answer
            path.answered = now
            self._owner.path_answered(path, now - sent)
            self.prove(path, now)
            if not padded:
                path.challenges.want(MTU_TRIES)
            return path
        return None

    def sibling(self, path: Path) -> Path | None:
        """Another live path whose proof holds for this one's addresses too."""
        for other in self:
            if other is path or not other.validated:
                continue
            if other.runs_over(path.remote, path.local):
                return other
        return None

    def is_last(self, path: Path) -> bool:
        """Say whether no other path is live."""
        return all(other is path for other in self)

    # -- going ---------------------------------------------------------------------------------

    def abandon(
        self,
        path_id: int,
        code: int,
        now: float,
        reason: AbandonReason = AbandonReason.APPLICATION,
    ) -> None:
        """Give a path up. Raises MultipathDisabled, PathGone, LastPath."""
        if not self.ids.enabled:
            raise MultipathDisabled("multipath was not negotiated")
        path = self.live(path_id)
        if self.is_last(path):
            raise LastPath("the only path cannot be abandoned")
        path.abandon_code, path.abandon_reason = code, reason
        self.feed(path, path_state.LEFT, now)

    def on_abandon(self, frame: PathAbandon, now: float) -> None:
        """The peer gave a path up: do the same and answer with its code. Raises PeerError.

        When it was the last one, the peer has 3 PTO to open another.
        """
        self.ids.check(frame.path_id, frame.TYPES[0])
        path = self._paths.get(frame.path_id)
        if path is None:
            self._abandon_unopened(frame)
            return
        if path.is_live():
            path.abandon_code, path.abandon_reason = frame.code, AbandonReason.PEER
            if self.is_last(path):
                pto = self._initial_pto + self.max_ack_delay
                self.grace_deadline = now + DRAIN_PTOS * pto
        self.feed(path, path_state.PEER_LEFT, now)

    # -- the state machine ---------------------------------------------------------------------

    def feed(self, path: Path, what: int, now: float) -> None:
        """Drive a path's state machine by one input of path_state."""
        action, path.state = path_state.TRANSITIONS[path.state, what]
        for act in self._ACTIONS[action]:
            act(self, path, now)

    def _establish(self, path: Path, now: float) -> None:
        if not path.established:
            path.established = True
            self.events.append(PathEstablished(path.path_id, path.remote))

    def _revalidate(self, path: Path, now: float) -> None:
        path.validated = False
        path.challenges.want()

    def _restore(self, path: Path, now: float) -> None:
        """Go back to the address that was proven (RFC 9000 section 9.3.2)."""
        previous = path.previous
        if previous is not None:
            path.relocate(previous.remote, previous.local)
            path.validated = True
            path.challenges.want()  # another path's proof may have been all there was
            self._owner.path_moved(path, False)
            path.previous = None
            self.events.append(PathMoved(path.path_id, path.remote))

    def _abandon(self, path: Path, now: float) -> None:
        self.ids.leave(path.path_id, path.abandon_code)
        self._local_cids.stop(path.path_id)
        self._remote_cids.forget_token(path.path_id)
        path.stop_timers()
        path.responses.clear()
        path.previous = None
        path.wants_ping = path.report_due = False
        self.events.append(
            PathAbandoned(path.path_id, path.remote, path.abandon_reason, path.abandon_code)
        )
        self._owner.path_abandoned(path)

    def _drain(self, path: Path, now: float) -> None:
        path.drain_deadline = now + DRAIN_PTOS * self.pto(path)
        self.ids.peer_left(path.path_id)

    def _discard(self, path: Path, now: float) -> None:
        path.drain_deadline = NEVER
        self._local_cids.close(path.path_id)
        self._remote_cids.drop(path.path_id)
        del self._paths[path.path_id]
        self.known = tuple(other for other in self.known if other is not path)
        self._owner.path_discarded(path)
        self.events.append(PathClosed(path.path_id, path.remote))

    # -- inside --------------------------------------------------------------------------------

    def _make(self, path_id: int, remote: Address, local: Address | None) -> Path:
        path = Path(path_id, remote, local, not self.is_client)
        path.idle_timeout, path.keep_alive = self.idle_timeout, self.keep_alive
        sibling = self.sibling(path)
        path.validated = sibling is not None
        self._owner.path_created(path, sibling)
        return path

    def _add(self, path: Path, now: float) -> None:
        self._paths[path.path_id] = path
        self.known = tuple(sorted(self._paths.values(), key=lambda one: one.path_id))
        self._highest = max(self._highest, path.path_id)
        self.grace_deadline = NEVER
        self._local_cids.open(path.path_id)
        path.challenges.want()
        path.arm_idle(now, self.pto(path))
        path.arm_keep_alive(now)

    def _abandon_unopened(self, frame: PathAbandon) -> None:
        """The peer ends an id that no packet came for; noq ignores this and leaks the id."""
        path_id = frame.path_id
        if self.ids.is_open(path_id):
            self._local_cids.close(path_id)
            self._remote_cids.drop(path_id)
            self.ids.leave(path_id, frame.code)
            self.ids.peer_left(path_id)

    _ACTIONS: tuple[tuple[Callable[["PathTable", Path, float], None], ...], ...] = (
        *((), (_establish,), (_revalidate,), (_restore,)),
        *((_abandon,), (_abandon, _drain), (_drain,), (_discard,)),
    )
