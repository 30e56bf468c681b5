"""What the connections of one endpoint share: identity, randomness, tickets, routes, counters.

    short header    8-byte id -------> (connection, path id)     by_cid
    long header     the same, or the id that a client made up
                    ----------------> connection or attempt      by_first_id
    the last 16 bytes of what nobody knows
                    ----------------> connection to reset        by_token

An id of ours is the only carrier of its packets' path id.
"""

import hmac
import os
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

from iroh.quic.api import Rng
from iroh.quic.local_cids import CID_LENGTH
from iroh.quic.strangers import RESET_TOKEN
from iroh.quic.tls import KeyLog, TicketStore
from iroh_base import SecretKey

if TYPE_CHECKING:
    from iroh.quic.qlog import QlogFactory

C = TypeVar("C")
"""What connections are."""


class Routes(Generic[C]):
    """Which connection ids and reset tokens belong to whom."""

    def __init__(self) -> None:
        self.by_cid: dict[bytes, tuple[C, int]] = {}
        self.by_first_id: dict[bytes, object] = {}
        self.by_token: dict[bytes, C] = {}
        self._cids: dict[C, set[bytes]] = {}
        self._tokens: dict[C, set[bytes]] = {}
        self._first_ids: dict[object, bytes] = {}

    @property
    def connections(self) -> Iterable[C]:
        """Those that have an id."""
        return self._cids.keys()

    def register(self, connection: C, cids: Iterable[tuple[bytes, int]]) -> None:
        """Lead ids to paths: (id, path id). An id that is taken stays where it is."""
        own = self._cids.setdefault(connection, set())
        for cid, path_id in cids:
            if cid not in self.by_cid:
                self.by_cid[cid] = (connection, path_id)
                own.add(cid)

    def unregister(self, connection: C, cids: Iterable[bytes]) -> None:
        """Lead ids of a connection nowhere."""
        own = self._cids.get(connection, set())
        for cid in cids:
            if cid in own:
                own.remove(cid)
                del self.by_cid[cid]

    def watch(self, connection: C, token: bytes) -> None:
        """Let a token reset a connection; the first connection that names it has it."""
        if token not in self.by_token:
            self.by_token[token] = connection
            self._tokens.setdefault(connection, set()).add(token)

    def unwatch(self, connection: C, token: bytes) -> None:
        """Let a token reset nothing."""
        own = self._tokens.get(connection, set())
        if token in own:
            own.remove(token)
            del self.by_token[token]

    def set_first_id(self, first_id: bytes, target: object) -> None:
        """Lead the id that a client made up to its attempt or connection."""
        self.by_first_id[first_id] = target
        self._first_ids[target] = first_id

    def forget_first_id(self, target: object) -> None:
        """Lead it nowhere."""
        first_id = self._first_ids.pop(target, None)
        if first_id is not None:
            del self.by_first_id[first_id]

    def forget(self, connection: C) -> None:
        """Drop all that leads to a connection."""
        for cid in self._cids.pop(connection, ()):
            del self.by_cid[cid]
        for token in self._tokens.pop(connection, ()):
            del self.by_token[token]
        self.forget_first_id(connection)


class Shared:
    """What a connection needs of its endpoint.

    dropped: reason -> datagrams that were not taken. received_tickets, issued_tickets: the
    ticket_store of a Handshake as a client and as a server. keylog: told every secret, if any.
    qlog: asked where each new connection is logged, if anywhere.
    """

    def __init__(
        self,
        secret_key: SecretKey,
        rng: Rng = os.urandom,
        keylog: KeyLog | None = None,
        qlog: "QlogFactory | None" = None,
    ) -> None:
        self.secret_key = secret_key
        self.rng = rng
        self.keylog = keylog
        self.qlog = qlog
        self.dropped: Counter[str] = Counter()
        self.received_tickets = TicketStore()
        self.issued_tickets = TicketStore()
        self._reset_key = rng(32)

    def new_cid(self) -> bytes:
        """Make a connection id."""
        return self.rng(CID_LENGTH)

    def reset_token(self, cid: bytes) -> bytes:
        """Give the reset token of a connection id, the same one whenever it is asked for."""
        return hmac.digest(self._reset_key, cid, "sha256")[:RESET_TOKEN]
