"""The peer's connection ids: the ones by which we address it (RFC 9000 section 5.1).

    seq    0 .. first-1     first               first+1 ..      first+4
           all retired      active, once used   spare           the last that may be issued

Per path. All ids below the active one are retired, also those that a lost frame still holds back;
so what the peer may issue is a window of five, and every sequence number outside of it is an error
or long retired. What is to be retired is bounded as well (CVE-2024-22189: a peer that makes us
retire ids faster than it acknowledges the frames).
"""

from typing import Any, NamedTuple

from iroh.quic.errors import CONNECTION_ID_LIMIT_ERROR, PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames import Frame, NewConnectionId, RetireConnectionId
from iroh.quic.outbox import Outbox

ACTIVE_LIMIT = 5
"""Our active_connection_id_limit (noq `CidQueue::LEN`)."""
MAX_RETIRING = 10 * ACTIVE_LIMIT
"""Retirements that are not acknowledged yet (noq MAX_PENDING_RETIRED_CIDS)."""
_TWICE = "a connection id was issued twice"


class TokenChange(NamedTuple):
    """Watch for this stateless reset token (RFC 9000 section 10.3.1), or no longer."""

    added: bool
    token: bytes


class _Known:
    """The ids of one path that are not retired. used: whether `first` was ever asked for."""

    __slots__ = ("first", "ids", "used")

    def __init__(self) -> None:
        self.ids: dict[int, bytes] = {}
        self.first = 0
        self.used = False


class RemoteCids:
    """Keeps what the peer issues, and retires what we use no more.

    initial: what we put into the first packet; `set_initial` replaces it by what the peer chose.
    multipath: whether to speak the PATH_ forms, for path 0 too; set once multipath is settled.
    """

    def __init__(self, initial: bytes) -> None:
        self.multipath = False
        self._paths: dict[int, _Known] = {}
        self._token_of: dict[bytes, bytes | None] = {}  # every id of `_paths`, which are all unlike
        self._active: dict[int, bytes] = {}
        self._tokens: dict[int, bytes] = {}
        self._changes: list[TokenChange] = []
        self.outbox: Outbox[tuple[int, int]] = Outbox()
        self.set_initial(initial)

    # -- using ---------------------------------------------------------------------------------

    def set_initial(self, cid: bytes) -> None:
        """Address the peer by its own choice: the SCID of its Retry, then of its first packet."""
        self._forget(self._paths.get(0))
        known = self._paths[0] = _Known()
        known.ids[0] = cid
        known.used = True
        self._token_of[cid] = None
        self._use(0, known)

    def set_initial_token(self, token: bytes) -> None:
        """Take the stateless_reset_token transport parameter; it belongs to sequence number 0."""
        known = self._paths.get(0)
        if known is not None and 0 in known.ids:
            self._token_of[known.ids[0]] = token
            self._use(0, known)  # it can only be the active one

    def __contains__(self, path_id: int) -> bool:
        return path_id in self._paths

    def active(self, path_id: int) -> bytes | None:
        """The id to put into packets of a path; None when the peer gave none."""
        cid = self._active.get(path_id)
        if cid is None:
            known = self._paths.get(path_id)
            if known is None:
                return None
            known.used = True
            self._move_to(path_id, known, min(known.ids))
            cid = self._active[path_id]
        return cid

    def active_seq(self, path_id: int) -> int | None:
        """The sequence number of the active id; None when the peer gave none."""
        return self._paths[path_id].first if self.active(path_id) is not None else None

    def spare(self, path_id: int) -> int:
        """How many ids of a path were never used."""
        known = self._paths.get(path_id)
        return len(known.ids) - known.used if known else 0

    def advance(self, path_id: int) -> bool:
        """Use the next id and retire the present one, so that observers cannot link the two.

        False when there is no spare one, or too many retirements are not acknowledged.
        """
        known = self._paths.get(path_id)
        if known is None or self.active(path_id) is None:
            return False
        later = [seq for seq in known.ids if seq > known.first]
        if not later or len(self.outbox) + ACTIVE_LIMIT > MAX_RETIRING:
            return False
        self._move_to(path_id, known, min(later))
        return True

    def drop(self, path_id: int) -> None:
        """The path is abandoned: its ids count as retired, without frames."""
        self._forget(self._paths.pop(path_id, None))
        self._active.pop(path_id, None)
        self.forget_token(path_id)

    # -- reset tokens --------------------------------------------------------------------------

    def reset_tokens(self) -> frozenset[bytes]:
        """The tokens that end the connection: those of the ids in use."""
        return frozenset(self._tokens.values())

    def forget_token(self, path_id: int) -> None:
        """Watch for the path's token no longer."""
        token = self._tokens.pop(path_id, None)
        if token is not None:
            self._changes.append(TokenChange(False, token))

    def take_token_changes(self) -> list[TokenChange]:
        """Give and forget what the endpoint has to know, oldest first."""
        changes, self._changes = self._changes, []
        return changes

    # -- frames --------------------------------------------------------------------------------

    def on_new(self, frame: NewConnectionId) -> None:
        """Take an id. Raises PeerError.

        CONNECTION_ID_LIMIT_ERROR: more than we said we keep, or more to retire than the peer
        acknowledges. PROTOCOL_VIOLATION: another id or token for a known sequence number, a known
        id under another one (RFC 9000 section 19.15), ids for a peer that said it uses none.

        The caller has checked that the path is within the limit and not abandoned.
        """
        path_id = frame.path_id or 0
        kind = frame.TYPES[frame.path_id is not None]
        known = self._paths.get(path_id) or _Known()
        if known.ids.get(known.first) == b"":
            raise PeerError(PROTOCOL_VIOLATION, "a connection id where none are in use", kind)
        if frame.seq < known.first:
            self._retire(path_id, range(frame.seq, frame.seq + 1), kind)
            return
        if frame.seq >= max(known.first, frame.retire_prior_to) + ACTIVE_LIMIT:
            raise PeerError(CONNECTION_ID_LIMIT_ERROR, "too many connection ids", kind)
        there = known.ids.get(frame.seq)
        if there is None:
            if frame.cid in self._token_of:
                raise PeerError(PROTOCOL_VIOLATION, _TWICE, kind)
            known.ids[frame.seq] = frame.cid
            self._token_of[frame.cid] = frame.token
            self._paths[path_id] = known
        elif there != frame.cid or self._token_of[there] not in (None, frame.token):
            raise PeerError(PROTOCOL_VIOLATION, _TWICE, kind)
        if frame.retire_prior_to > known.first:
            self._retire_prior_to(path_id, known, frame.retire_prior_to, kind)

    def take_frames(self, now: float, budget: int) -> list[tuple[Frame, Any]]:
        """Give frames of up to `budget` bytes with their tokens. Any validated path may carry them.

        The packet must not be addressed by an id that it retires; `active` never gives one.
        """
        return list(self.outbox.take(budget, self._build)) if self.outbox.pending else []

    def on_acked(self, token: tuple[int, int]) -> None:
        """A frame arrived."""
        self.outbox.on_acked(token)

    def on_lost(self, token: tuple[int, int]) -> None:
        """A frame is lost."""
        self.outbox.on_lost(token)

    # -- inside --------------------------------------------------------------------------------

    def _forget(self, known: _Known | None) -> None:
        for cid in known.ids.values() if known else ():
            del self._token_of[cid]

    def _retire_prior_to(self, path_id: int, known: _Known, bound: int, kind: int) -> None:
        # Where nothing was sent yet, ids of a gap may still come and be the first to be used.
        target = min(seq for seq in known.ids if seq >= bound) if known.used else bound
        self._retire(path_id, range(known.first, target), kind)
        self._move_to(path_id, known, target)

    def _move_to(self, path_id: int, known: _Known, target: int) -> None:
        """Make `target` the first id that is not retired."""
        self._queue_retirements(path_id, range(known.first, target))
        for seq in [seq for seq in known.ids if seq < target]:
            del self._token_of[known.ids.pop(seq)]
        known.first = target
        if known.used:
            self._use(path_id, known)

    def _retire(self, path_id: int, seqs: range, kind: int) -> None:
        self._queue_retirements(path_id, seqs)
        if len(self.outbox) > MAX_RETIRING:
            raise PeerError(CONNECTION_ID_LIMIT_ERROR, "too many ids to retire at once", kind)

    def _queue_retirements(self, path_id: int, seqs: range) -> None:
        # Numbers beyond the window were never issued: should they come, each is retired then. So
        # a jump to any number costs us five frames (noq `CidQueue::insert`).
        for seq in seqs[:ACTIVE_LIMIT]:
            if (path_id, seq) not in self.outbox:
                self.outbox.add((path_id, seq))

    def _use(self, path_id: int, known: _Known) -> None:
        cid = self._active[path_id] = known.ids[known.first]
        token = self._token_of[cid]
        if self._tokens.get(path_id) != token:
            self.forget_token(path_id)
            if token is not None:
                self._tokens[path_id] = token
                self._changes.append(TokenChange(True, token))

    def _build(self, key: tuple[int, int]) -> Frame | None:
        path_id, seq = key
        if path_id not in self._paths:
            return None
        return RetireConnectionId(seq, path_id if self.multipath else None)
