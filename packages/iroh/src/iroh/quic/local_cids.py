"""Our own connection ids: the ones by which the peer addresses us (RFC 9000 section 5.1).

    path 0    seq 0 = the id of the handshake, seq 1 .. limit-1 issued after it
    path n    seq 0, 1 issued as soon as both sides allow the path id n: enough to open it
              seq 2 .. limit-1 once it is open

An id is the only carrier of the path id: it routes to (connection, path id). So every id that
comes into being or ends is told to the endpoint (`take_changes`).

noq issues all of them at once, 39 ids with eight paths, of which an ordinary connection never uses
any. Ids are made, given their tokens, encoded and accounted for many at a time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames import NewConnectionId, RetireConnectionId
from iroh.quic.frames.cid import TOKEN_LENGTH, new_cid_start

CID_LENGTH = 8
"""noq `HashedConnectionIdGenerator`; seen of Rust iroh."""
MAX_ISSUED = 12
"""Ids per path, however many the peer would take (noq LOCAL_CID_COUNT)."""
UNOPENED = 2
"""Ids of a path that is not open yet: one to open it with, one should that be used up at once."""
DEFAULT_LIMIT = 2
"""What a peer takes that does not say (RFC 9000 section 18.2, active_connection_id_limit)."""


class CidChange(NamedTuple):
    """Route this id to the path, or (added is False) forget it."""

    added: bool
    cid: bytes
    path_id: int


Key = tuple[int, int]
"""(path id, sequence number)."""


class _Issued:
    """The ids of one path. told: the highest sequence number the peer may know, -1 for none."""

    __slots__ = ("cids", "closing", "is_open", "next_seq", "retire_prior_to", "told")

    def __init__(self) -> None:
        self.cids: dict[int, bytes] = {}
        self.next_seq = 0
        self.retire_prior_to = 0
        self.told = -1
        self.closing = self.is_open = False


class LocalCids:
    """Issues the ids of all paths and takes them back.

    handshake_cid: the Source Connection ID of our first packet.
    reset_tokens: ids -> their stateless reset tokens, 16 bytes each (RFC 9000 section 10.3.2).
    multipath: whether to speak the PATH_ forms, for path 0 too; set once multipath is settled.
    """

    def __init__(
        self,
        handshake_cid: bytes,
        reset_tokens: Callable[[Sequence[bytes]], list[bytes]],
        rng: Callable[[int], bytes],
    ) -> None:
        self.multipath = False
        self._reset_tokens = reset_tokens
        self._rng = rng
        self._limit = DEFAULT_LIMIT
        self._paths: dict[int, _Issued] = {}
        self._highest_path = -1
        self._changes: list[CidChange] = []
        self.pending: dict[Key, None] = {}  # whose frames wait to be sent
        first = self._issued(0)
        first.cids[0] = handshake_cid
        first.next_seq = 1
        first.told = 0
        first.is_open = True
        self._changes.append(CidChange(True, handshake_cid, 0))

    # -- issuing -------------------------------------------------------------------------------

    def set_peer_limit(self, limit: int) -> None:
        """Take the peer's active_connection_id_limit."""
        self._limit = min(limit, MAX_ISSUED)

    def issue(self, *path_ids: int) -> None:
        """Give paths their ids: open ones as many as the peer takes. Harmless otherwise."""
        wanted = []
        for path_id in path_ids:
            issued = self._issued(path_id)
            if not issued.closing:
                limit = self._limit if issued.is_open else min(self._limit, UNOPENED)
                wanted.append((path_id, issued, limit - self._active_count(issued)))
        count = sum([lacking for _, _, lacking in wanted if lacking > 0])
        random = self._rng(count * CID_LENGTH) if count else b""
        at = 0
        for path_id, issued, lacking in wanted:
            for seq in range(issued.next_seq, issued.next_seq + max(lacking, 0)):
                cid = issued.cids[seq] = random[at : at + CID_LENGTH]
                self.pending[path_id, seq] = None
                self._changes.append(CidChange(True, cid, path_id))
                at += CID_LENGTH
            issued.next_seq += max(lacking, 0)

    def open(self, path_id: int) -> None:
        """The path is open: give it all its ids."""
        self._issued(path_id).is_open = True
        self.issue(path_id)

    def rotate(self, path_id: int) -> bool:
        """Replace all ids of a path. False while an earlier rotation is not through.

        RFC 9000 section 5.1.2: no new Retire Prior To before the peer retired what the last said.
        """
        issued = self._paths.get(path_id)
        if issued is None or issued.closing or min(issued.cids, default=0) < issued.retire_prior_to:
            return False
        issued.retire_prior_to = issued.next_seq
        self.issue(path_id)
        return True

    def stop(self, path_id: int) -> None:
        """The path is abandoned: its ids still route, but no more are issued."""
        issued = self._paths.get(path_id)
        if issued is not None:
            issued.closing = True

    def close(self, path_id: int) -> None:
        """The path is gone, or will never be: forget its ids."""
        issued = self._paths.pop(path_id, None)
        if issued is not None:
            self._changes += [CidChange(False, cid, path_id) for cid in issued.cids.values()]

    def cids(self, path_id: int) -> list[bytes]:
        """The ids that route to the path now, by sequence number."""
        issued = self._paths.get(path_id)
        return list(issued.cids.values()) if issued else []

    def next_seq(self, path_id: int) -> int | None:
        """The sequence number the path's next id will get; None for a path without ids."""
        issued = self._paths.get(path_id)
        return issued.next_seq if issued else None

    def take_changes(self) -> list[CidChange]:
        """Give and forget what the endpoint has to know, oldest first."""
        changes, self._changes = self._changes, []
        return changes

    # -- frames --------------------------------------------------------------------------------

    def on_retire(self, frame: RetireConnectionId) -> None:
        """The peer stopped using an id: forget it and issue another. Raises PeerError.

        An id it cannot know is a PROTOCOL_VIOLATION (RFC 9000 section 19.16). So every id costs
        the peer a frame, and what waits to be sent stays within the limit.
        """
        path_id = frame.path_id or 0
        kind = frame.TYPES[frame.path_id is not None]
        if frame.path_id is not None and not self.multipath:
            raise PeerError(PROTOCOL_VIOLATION, "multipath was not negotiated", kind)
        issued = self._paths.get(path_id)
        if issued is None and path_id <= self._highest_path:
            return  # of a path that is gone: its ids ended with it
        if issued is None or frame.seq > issued.told:
            raise PeerError(PROTOCOL_VIOLATION, "retired an id that was not issued", kind)
        cid = issued.cids.pop(frame.seq, None)
        if cid is not None:
            self._changes.append(CidChange(False, cid, path_id))
            self.issue(path_id)

    def take_frames(self, now: float, budget: int) -> list[tuple[bytes, Sequence[Key]]]:
        """Give frames of up to `budget` bytes, joined, with their token. Any proven path may carry
        them. An empty list when there are none.

        Lowest path and sequence number first: noq takes the first id that it sees of a path for
        sequence number 0 (noq `CidQueue::new`).
        """
        if not self.pending:
            return []
        frames: list[tuple[bytes, bytes]] = []
        keys: list[Key] = []
        gone: list[Key] = []
        path_id, issued, form = -1, None, None
        for key in self.pending:
            if key[0] != path_id:
                path_id = key[0]
                issued = self._paths.get(path_id)
                form = path_id if self.multipath else None
            seq = key[1]
            cid = issued.cids.get(seq) if issued and not issued.closing else None
            if issued is None or cid is None:
                gone.append(key)  # retired, or its path is over: nobody needs the frame
                continue
            retire_prior_to = issued.retire_prior_to
            if retire_prior_to > seq:
                retire_prior_to = seq  # more would be malformed
            start = new_cid_start(seq, retire_prior_to, CID_LENGTH, form)
            budget -= len(start) + CID_LENGTH + TOKEN_LENGTH
            if budget < 0:
                break
            if seq > issued.told:
                issued.told = seq
            frames.append((start, cid))
            keys.append(key)
        for key in (*keys, *gone):
            del self.pending[key]
        if not keys:
            return []
        tokens = self._reset_tokens([cid for _, cid in frames])
        parts = [start + cid + token for (start, cid), token in zip(frames, tokens, strict=True)]
        return [(b"".join(parts), keys)]

    def take_of(self, path_id: int) -> list[tuple[NewConnectionId, Sequence[Key]]]:
        """Give the frames of one path that wait, with their tokens, to send them over it itself.

        They are probing frames: the first packets of a path may carry them, and its peer cannot
        answer without an id (draft-ietf-quic-multipath section 3.1).
        """
        issued = self._paths.get(path_id)
        if issued is None or issued.closing or not self.multipath:
            return []
        found: list[tuple[NewConnectionId, Sequence[Key]]] = []
        for key in [key for key in self.pending if key[0] == path_id]:
            del self.pending[key]
            cid = issued.cids.get(key[1])
            if cid is not None:
                issued.told = max(issued.told, key[1])
                (token,) = self._reset_tokens((cid,))
                retire_prior_to = min(issued.retire_prior_to, key[1])
                found.append((NewConnectionId(key[1], retire_prior_to, cid, token, path_id), [key]))
        return found

    def on_acked(self, keys: Sequence[Key]) -> None:
        """Frames arrived."""

    def on_lost(self, keys: Sequence[Key]) -> None:
        """Frames are lost: those that are still needed are sent again."""
        self.pending.update(dict.fromkeys(keys))

    # -- inside --------------------------------------------------------------------------------

    def _issued(self, path_id: int) -> _Issued:
        issued = self._paths.get(path_id)
        if issued is None:
            issued = self._paths[path_id] = _Issued()
            self._highest_path = max(self._highest_path, path_id)
        return issued

    @staticmethod
    def _active_count(issued: _Issued) -> int:
        """How many the peer has to keep: not those we asked it to retire."""
        if not issued.retire_prior_to:
            return len(issued.cids)
        return sum(seq >= issued.retire_prior_to for seq in issued.cids)
