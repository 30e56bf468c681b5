"""Datagrams that have to go to a given 4-tuple, one by one (spec/quic.md sections 3 and 4).

    what                            where to            size    counted and tracked
    PATH_CHALLENGE, PATH_RESPONSE   the path's address  1200    yes
    + ids of a path that is not
      proven, should any wait
    PATH_RESPONSE [+ PATH_CHALLENGE at a client]
                                    where it came from  1200 *  no
    PATH_CHALLENGE after migration  the address before  1200    no
    PATH_CHALLENGE, NAT traversal   the candidate       small   no
    PATH_ABANDON, for want of any   the path's address  small   yes
    other path

* Small when the challenge came in a datagram of less than 400 bytes: anybody's address may stand in
it, and what is sent there must not be more than three times what came (RFC 9000 section 8.2.2).
"Small" is the minimum for header protection. A challenge that the 3x limit does not let grow to
1200 bytes goes out small (RFC 9000 section 8.2.1).
"""

from collections.abc import Callable
from typing import Any

from iroh.quic import path_state
from iroh.quic.datagrams import Address
from iroh.quic.frames import Frame, PathChallenge, PathResponse
from iroh.quic.local_cids import LocalCids
from iroh.quic.nat import NatTraversal
from iroh.quic.observed import ObservedAddresses
from iroh.quic.path import PADDED, Path
from iroh.quic.path_choice import PathChoice
from iroh.quic.paths import PathTable
from iroh.quic.remote_cids import RemoteCids

SMALL = 60
"""What a packet with one challenge and one response takes at most; three times the shortest packet
must allow it, or a path that only carries PINGs could never be proven."""


class Probe:
    """One 1-RTT packet, to be sent now and alone in its datagram.

    path: whose packet numbers and keys it takes. cid: the Destination Connection ID.
    remote, local: where it goes; local is None for the kernel to choose.
    frames: with the tokens of their parts, (part, info), None for those that nobody waits for.
    pad: whether to fill it up to 1200 bytes.
    on_path: it goes to the path's own address: it counts for congestion control, the 3x limit and
        loss detection, and other frames may join it. All that does not hold for the others.
    """

    __slots__ = ("cid", "frames", "local", "on_path", "pad", "path", "remote")

    def __init__(
        self,
        path: Path,
        cid: bytes,
        remote: Address,
        local: Address | None,
        frames: list[tuple[Frame, Any]],
        pad: bool,
        on_path: bool,
    ) -> None:
        self.path: Path = path
        self.cid: bytes = cid
        self.remote: Address = remote
        self.local: Address | None = local
        self.frames: list[tuple[Frame, Any]] = frames
        self.pad: bool = pad
        self.on_path: bool = on_path


class Prober:
    """Says which probes to send. nat, observed: replaced when they are settled."""

    def __init__(
        self,
        paths: PathTable,
        choice: PathChoice,
        remote_cids: RemoteCids,
        observed: ObservedAddresses,
        local_cids: LocalCids,
        rng: Callable[[int], bytes],
    ) -> None:
        self.nat: NatTraversal | None = None
        self._paths = paths
        self._choice = choice
        self._remote_cids = remote_cids
        self.observed = observed
        self._local_cids = local_cids
        self._rng = rng

    def take(self, now: float) -> list[Probe]:
        """Give what is to be sent now; each counts as sent. Not while closing."""
        probes: list[Probe] = []
        for path in self._paths.known:
            if not (path.challenges.due or path.responses.pending or path.previous):
                continue
            if not path.is_live():
                continue
            cid = self._remote_cids.active(path.path_id)
            if cid is None:
                continue  # until the peer gives one
            self._previous(path, now, probes)
            self._on_path(path, cid, now, probes)
            self._off_path(path, cid, probes)
        if self.nat is not None and self.nat.has_probes():
            self._candidates(now, probes)
        if self._paths.ids.outbox.pending:
            self._last_words(probes)
        return probes

    def _on_path(self, path: Path, cid: bytes, now: float, probes: list[Probe]) -> None:
        responds = any(path.runs_over(*way) for way in path.responses.ways())
        if not (path.challenges.due or responds) or not path.can_send(SMALL):
            return
        pad = path.can_send(PADDED)
        frames: list[tuple[Frame, Any]] = []
        if path.challenges.due:
            pto = self._paths.pto(path) - self._paths.max_ack_delay
            data = path.challenges.make(now, self._rng, pto, pad)
            frames.append((PathChallenge(data), None))
            self._paths.feed(path, path_state.CHALLENGED, now)
            if pad and not path.validated and self._local_cids.pending:
                for frame, keys in self._local_cids.take_of(path.path_id):
                    frames.append((frame, (self._local_cids, keys)))
        if responds:
            frames.append((PathResponse(path.responses.pop(path.remote)), None))
        self.observed.want(path)
        probes.append(Probe(path, cid, path.remote, path.local, frames, pad, True))

    def _off_path(self, path: Path, cid: bytes, probes: list[Probe]) -> None:
        for remote, local in path.responses.ways():
            if path.runs_over(remote, local):
                continue  # held back by the 3x limit
            pad = path.responses.may_pad(remote)
            frames: list[tuple[Frame, Any]] = [(PathResponse(path.responses.pop(remote)), None)]
            if self.nat is not None and not self._is_proven(remote, local):
                challenge = self.nat.challenge_for(remote)
                if challenge is not None:
                    frames.append((PathChallenge(challenge), None))
            probes.append(Probe(path, cid, remote, local, frames, pad, False))

    def _previous(self, path: Path, now: float, probes: list[Probe]) -> None:
        previous = path.previous
        if previous is None or not previous.challenge_due or previous.cid is None:
            return
        previous.challenge_due = False
        # Its response proves nothing that is not proven; what counts is that a peer which did not
        # migrate sends from there again (RFC 9000 section 9.3.3).
        frame = PathChallenge(self._rng(8))
        to = (previous.remote, previous.local)
        probes.append(Probe(path, previous.cid, *to, [(frame, None)], True, False))

    def _candidates(self, now: float, probes: list[Probe]) -> None:
        path = self._choice.best()
        cid = self._remote_cids.active(path.path_id) if path is not None else None
        if self.nat is None or path is None or cid is None or not path.validated:
            return
        for remote, data in self.nat.take_probes(now):
            frame = PathChallenge(data)
            probes.append(Probe(path, cid, remote, None, [(frame, None)], False, False))

    def _last_words(self, probes: list[Probe]) -> None:
        """Send PATH_ABANDON on the abandoned path itself when no other is left."""
        ids = self._paths.ids
        if not ids.enabled or self._choice.best() is not None:
            return
        for path in self._paths.known:
            if path.is_live() or not path.validated or not ids.has_untold(path.path_id):
                continue
            cid = self._remote_cids.active(path.path_id)
            taken = ids.take_abandon(path.path_id) if cid is not None else None
            if cid is not None and taken is not None:
                frame, token = taken
                frames: list[tuple[Frame, Any]] = [(frame, (ids, token))]
                probes.append(Probe(path, cid, path.remote, path.local, frames, False, True))

    def _is_proven(self, remote: Address, local: Address | None) -> bool:
        path = self._paths.find(remote, local)
        return path is not None and path.validated
