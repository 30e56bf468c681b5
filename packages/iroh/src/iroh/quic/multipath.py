"""The paths of a connection and everything about them, put together.

    remote_cids  local_cids     connection ids, both directions
    paths        timers         the paths' lives and deadlines; paths.ids: the window of path ids
    statuses     choice         status of each path; which path carries what
    migration                   which addresses packets may come from
    nat          observed       NAT traversal (None while off); address discovery
    prober                      datagrams to a given 4-tuple
    ack_frequency               how often either side acknowledges
    token_giver                 NEW_TOKENs for the client (None where there are none to give)

What belongs to one part is asked of that part. This class does what takes several: it routes
frames, collects frames and deadlines, and opens the paths that NAT traversal found.

Order of calls per received packet or batch: migration.accepts, paths.get or paths.prospect,
decrypt, paths.admit, handle() per frame, migration.on_packet, timers.on_received.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from iroh.quic.ack_frequency import AckFrequencyControl
from iroh.quic.address_tokens import TokenGiver
from iroh.quic.config import AckFrequencyConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.events import Event
from iroh.quic.frames import (
    AddAddress,
    Frame,
    MaxPathId,
    NewConnectionId,
    ObservedAddress,
    PathAbandon,
    PathChallenge,
    PathCidsBlocked,
    PathResponse,
    PathsBlocked,
    PathStatus,
    ReachOut,
    RemoveAddress,
    RetireConnectionId,
)
from iroh.quic.local_cids import LocalCids
from iroh.quic.migration import Migration
from iroh.quic.nat import NatTraversal
from iroh.quic.observed import ObservedAddresses
from iroh.quic.path import Path
from iroh.quic.path_choice import PathChoice
from iroh.quic.path_errors import PathBlocked, PathError
from iroh.quic.path_ids import PathIds
from iroh.quic.path_status import PathStatuses
from iroh.quic.path_timers import PathTimers
from iroh.quic.paths import PathOwner, PathTable
from iroh.quic.probes import Probe, Prober
from iroh.quic.remote_cids import RemoteCids
from iroh.quic.sent import Part
from iroh_base import SocketAddr


class Multipath:
    """All of the above for one connection.

    handshake_cid: our own first id. peer_cid: what we address the peer by at first.
    """

    def __init__(
        self,
        is_client: bool,
        owner: PathOwner,
        handshake_cid: bytes,
        peer_cid: bytes,
        reset_tokens: Callable[[Sequence[bytes]], list[bytes]],
        rng: Callable[[int], bytes],
        initial_rtt: float = 0.333,
        ack_frequency: AckFrequencyConfig | None = None,
    ) -> None:
        self.local_cids: LocalCids = LocalCids(handshake_cid, reset_tokens, rng)
        self.remote_cids: RemoteCids = RemoteCids(peer_cid)
        self.paths: PathTable = PathTable(
            is_client, self.local_cids, self.remote_cids, owner, initial_rtt
        )
        self.ids: PathIds = self.paths.ids
        self.timers: PathTimers = PathTimers(self.paths)
        self.statuses: PathStatuses = PathStatuses(self.paths)
        self.choice: PathChoice = PathChoice(self.paths, self.remote_cids)
        self.migration: Migration = Migration(self.paths, self.remote_cids, owner)
        self.ack_frequency: AckFrequencyControl = AckFrequencyControl(ack_frequency, self.paths)
        self.token_giver: TokenGiver | None = None
        self.observed: ObservedAddresses = ObservedAddresses(False, False)
        self.prober: Prober = Prober(
            *(self.paths, self.choice, self.remote_cids, self.observed, self.local_cids, rng)
        )
        self.nat: NatTraversal | None = None
        self._usable: Callable[[SocketAddr], bool] | None = None
        self._rng = rng
        self._initial_rtt = initial_rtt

    # -- settling ------------------------------------------------------------------------------

    def set_observed_roles(self, reports: bool, receives: bool) -> None:
        """Switch address discovery on, once both sides' parameters are known."""
        self.observed = ObservedAddresses(reports, receives)
        self.prober.observed = self.observed
        for path in self.paths:
            self.observed.want(path)

    def enable_nat_traversal(
        self,
        local_limit: int,
        remote_limit: int,
        usable: Callable[[SocketAddr], bool] | None = None,
    ) -> NatTraversal:
        """Switch NAT traversal on: both sides sent the parameter, and multipath is on.

        local_limit: the peer's value, remote_limit: ours. usable: see NatTraversal.
        """
        usable = usable or self._usable
        more = {} if usable is None else {"usable": usable}
        self.nat = NatTraversal(
            self.paths.is_client,
            local_limit,
            remote_limit,
            self._rng,
            self._initial_rtt,
            **more,
        )
        self.prober.nat = self.nat
        self.migration.nat_traversal = True
        return self.nat

    def set_usable(self, usable: Callable[[SocketAddr], bool]) -> None:
        """Say which of the peer's candidates may be probed, before NAT traversal is on or after."""
        self._usable = usable
        if self.nat is not None:
            self.nat.usable = usable

    # -- receiving -----------------------------------------------------------------------------

    def handle(self, frame: Frame, path: Path, datagrams: Datagrams, now: float) -> bool:
        """Take a frame of a packet of `path` that came in `datagrams`.

        False when the frame is none of ours. Raises PeerError.
        """
        handler = self._HANDLERS.get(type(frame))
        if handler is None:
            return False
        handler(self, frame, path, datagrams, now)
        return True

    def _on_new_cid(self, frame: NewConnectionId, _: Path, _batch: Datagrams, now: float) -> None:
        kind = frame.TYPES[frame.path_id is not None]
        if frame.path_id is not None:
            self.ids.check(frame.path_id, kind)
        path_id = frame.path_id or 0
        if not self.ids.is_open(path_id):
            return  # on its way when the path was abandoned
        self.remote_cids.on_new(frame)
        if path_id == 0 and not self.paths.is_client and self.remote_cids.active_seq(0) == 0:
            self.remote_cids.advance(0)  # only the later ids of a client have reset tokens (noq)
        self._open_traversed(now)

    def _on_retire_cid(self, frame: RetireConnectionId, *_: object) -> None:
        self.local_cids.on_retire(frame)

    def _on_challenge(self, frame: PathChallenge, path: Path, batch: Datagrams, _: float) -> None:
        path.on_challenge(frame.data, batch.remote, batch.local, len(batch.data) // len(batch))

    def _on_response(self, frame: PathResponse, _: Path, batch: Datagrams, now: float) -> None:
        if self.nat is not None and self.nat.on_response(frame.data, batch.remote, batch.local):
            self._open_traversed(now)
        else:
            self.paths.on_response(frame.data, now)

    def _on_abandon(self, frame: PathAbandon, _: Path, _batch: Datagrams, now: float) -> None:
        self.paths.on_abandon(frame, now)

    def _on_status(self, frame: PathStatus, *_: object) -> None:
        self.statuses.on_status(frame)

    def _on_max_path_id(self, frame: MaxPathId, _: Path, _batch: Datagrams, now: float) -> None:
        self.ids.on_max_path_id(frame)
        self._open_traversed(now)

    def _on_paths_blocked(self, frame: PathsBlocked, *_: object) -> None:
        self.ids.on_paths_blocked(frame)

    def _on_cids_blocked(self, frame: PathCidsBlocked, *_: object) -> None:
        kind = frame.TYPES[0]
        self.ids.check(frame.path_id, kind)
        next_seq = self.local_cids.next_seq(frame.path_id)
        if next_seq is not None and frame.next_seq > next_seq:
            raise PeerError(PROTOCOL_VIOLATION, "blocked on an id that was not issued", kind)
        if next_seq is not None:
            self.local_cids.open(frame.path_id)

    def _on_observed(self, frame: ObservedAddress, path: Path, batch: Datagrams, _: float) -> None:
        self.observed.on_frame(frame, path, batch.remote)

    def _on_nat(
        self, frame: AddAddress | RemoveAddress | ReachOut, _: Path, _batch: Datagrams, now: float
    ) -> None:
        nat = self.nat
        if nat is None:
            raise PeerError(PROTOCOL_VIOLATION, "NAT traversal was not negotiated", frame.TYPES[0])
        if isinstance(frame, AddAddress):
            nat.on_add_address(frame)
        elif isinstance(frame, RemoveAddress):
            nat.on_remove_address(frame)
        else:
            nat.on_reach_out(frame, now)

    # -- sending -------------------------------------------------------------------------------

    def has_frames(self) -> bool:
        """Say whether `take_frames` may give something."""
        return bool(
            self.ids.outbox.pending
            or self.local_cids.pending
            or self.remote_cids.outbox.pending
            or self.statuses.outbox.pending
            or self.ack_frequency.due
            or (self.nat is not None and self.nat.outbox.pending)
        )

    def take_frames(self, now: float, budget: int) -> list[tuple[bytes, Part, Any]]:
        """Give control frames of up to `budget` bytes: (encoded, part, info of the part).

        Any path of `choice.usable()` may carry them.
        """
        taken: list[tuple[bytes, Part, Any]] = []
        parts = (self.ids, self.remote_cids, self.statuses, self.ack_frequency)
        for part in (*parts, self.token_giver, self.nat):
            if part is None:
                continue
            for frame, info in part.take_frames(now, budget):
                encoded = frame.encode()
                budget -= len(encoded)
                taken.append((encoded, part, info))
        for encoded, keys in self.local_cids.take_frames(now, budget):
            taken.append((encoded, self.local_cids, keys))
        return taken

    def take_probes(self, now: float) -> list[Probe]:
        """Give datagrams that go to a given 4-tuple each; see probes.py."""
        return self.prober.take(now)

    # -- time and events -----------------------------------------------------------------------

    def next_timeout(self) -> float:
        """When handle_timeout is due; infinity for never."""
        return min(self.next_common_timeout(), self.timers.next_timeout())

    def next_common_timeout(self) -> float:
        """The same, without the deadlines of the single paths."""
        deadline = self.paths.grace_deadline
        if self.nat is None:
            return deadline
        probe = self.nat.next_timeout()
        return probe if probe < deadline else deadline

    def handle_timeout(self, now: float) -> None:
        """Do what time demands. Raises PeerError(NO_VIABLE_PATH) when no path is left for good."""
        if self.nat is not None:
            self.nat.handle_timeout(now)
        self.timers.handle_timeout(now)

    def take_events(self) -> list[Event]:
        """Give and forget what happened, oldest first within each part."""
        events: list[Event] = []
        nat = self.nat
        for part in (
            (self.paths, self.observed) if nat is None else (self.paths, self.observed, nat)
        ):
            if part.events:
                events += part.events
                part.events.clear()
        return events

    # -- inside --------------------------------------------------------------------------------

    def _open_traversed(self, now: float) -> None:
        """Open paths to the addresses where probes got through, as far as ids allow."""
        nat = self.nat
        while nat is not None:
            way = nat.path_to_open()
            if way is None:
                return
            remote, local = way
            try:
                if self.paths.find(remote, local) is None:
                    self.paths.open(remote, local, False, now)
            except PathBlocked:
                return  # again when the peer gives ids
            except PathError:
                pass
            nat.opened(remote)

    _HANDLERS: ClassVar[dict[type[Frame], Callable[..., None]]] = {
        NewConnectionId: _on_new_cid,
        RetireConnectionId: _on_retire_cid,
        PathChallenge: _on_challenge,
        PathResponse: _on_response,
        PathAbandon: _on_abandon,
        PathStatus: _on_status,
        MaxPathId: _on_max_path_id,
        PathsBlocked: _on_paths_blocked,
        PathCidsBlocked: _on_cids_blocked,
        ObservedAddress: _on_observed,
        AddAddress: _on_nat,
        RemoveAddress: _on_nat,
        ReachOut: _on_nat,
    }
