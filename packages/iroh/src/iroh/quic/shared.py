"""What the connections of one endpoint share: identity, randomness, tickets, routes, counters.

    short header    8-byte id -------> (connection, path id)     by_cid
    long header     the same, or the id that a client made up
                    ----------------> connection or attempt      by_first_id
    the last 16 bytes of what nobody knows
                    ----------------> connection to reset        by_token

An id of ours is the only carrier of its packets' path id.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from iroh.quic.address_tokens import AddressTokens, ReceivedTokens
from iroh.quic.api import Rng
from iroh.quic.local_cids import CID_LENGTH, CidChange
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
        self.change(connection, [CidChange(True, cid, path_id) for cid, path_id in cids])

    def change(self, connection: C, changes: Iterable[CidChange]) -> None:
        """Lead ids of a connection to its paths, or nowhere."""
        own, by_cid = self._cids.setdefault(connection, set()), self.by_cid
        route = (connection, -1)
        for added, cid, path_id in changes:
            if not added:
                if cid in own:
                    own.remove(cid)
                    del by_cid[cid]
            elif cid not in by_cid:
                if route[1] != path_id:  # ids come path by path: they share where they lead
                    route = (connection, path_id)
                by_cid[cid] = route
                own.add(cid)

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
    ticket_store of a Handshake as a client and as a server. received_tokens, address_tokens: what
    proves our address to servers, and that of clients to us. keylog: told every secret, if any.
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
        self.received_tickets: TicketStore = TicketStore()
        self.issued_tickets: TicketStore = TicketStore()
        self.received_tokens: ReceivedTokens = ReceivedTokens()
        self.address_tokens: AddressTokens = AddressTokens(rng)
        self._reset_cipher = Cipher(algorithms.AES(rng(32)), modes.ECB()).encryptor()

    def new_cid(self) -> bytes:
        """Make a connection id."""
        return self.rng(CID_LENGTH)

    def reset_tokens(self, cids: Sequence[bytes]) -> list[bytes]:
        """Give the reset tokens of connection ids, the same ones whenever they are asked for.

        A token is the id, padded to one block, under a block cipher whose key nobody else knows
        (RFC 9000 section 10.3.2 asks for a pseudorandom function): one call for ids of all paths.
        """
        blocks = b"".join([cid.ljust(RESET_TOKEN, b"\0") for cid in cids])
        tokens = self._reset_cipher.update(blocks)
        return [tokens[at : at + RESET_TOKEN] for at in range(0, len(tokens), RESET_TOKEN)]

    def reset_token(self, cid: bytes) -> bytes:
        """Give the reset token of one connection id."""
        return self.reset_tokens((cid,))[0]
