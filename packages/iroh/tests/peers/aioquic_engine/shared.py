"""What the connections of one endpoint share: identity, randomness, routes, counters."""

import hmac
import os
from collections import Counter

from iroh.quic.api import Rng
from iroh_base import SecretKey

CONNECTION_ID_LENGTH = 8  # noq RandomConnectionIdGenerator default, so iroh's
RESET_TOKEN_LENGTH = 16  # RFC 9000 section 10.3


class Routes:
    """Connection ids and stateless reset tokens, and whom they belong to."""

    def __init__(self) -> None:
        self.by_cid: dict[bytes, object] = {}
        self.by_token: dict[bytes, object] = {}
        self._cids: dict[object, set[bytes]] = {}
        self._token: dict[object, bytes] = {}

    def add(self, cid: bytes, target: object) -> None:
        """Lead `cid` to `target`."""
        self.by_cid[cid] = target
        self._cids.setdefault(target, set()).add(cid)

    def drop(self, cid: bytes) -> None:
        """Lead `cid` nowhere."""
        target = self.by_cid.pop(cid, None)
        if target is not None:
            self._cids[target].discard(cid)

    def set_token(self, token: bytes, target: object) -> None:
        """Let `token` be the one that resets `target`; an empty one for none."""
        old = self._token.pop(target, None)
        if old is not None:
            del self.by_token[old]
        if token and token not in self.by_token:
            self._token[target] = token
            self.by_token[token] = target

    def forget(self, target: object) -> None:
        """Drop all that leads to `target`."""
        for cid in self._cids.pop(target, ()):
            del self.by_cid[cid]
        self.set_token(b"", target)


class Shared:
    """The state behind an endpoint's connections.

    dropped: reason -> datagrams that were not taken. half_open: server connections whose handshake
    is not complete.
    """

    def __init__(self, secret_key: SecretKey, rng: Rng = os.urandom) -> None:
        self.secret_key = secret_key
        self.rng = rng
        self.dropped: Counter[str] = Counter()
        self.half_open: set[object] = set()
        self.routes = Routes()
        self._reset_key = rng(32)

    def new_cid(self) -> bytes:
        """Make a connection id."""
        return self.rng(CONNECTION_ID_LENGTH)

    def reset_token(self, cid: bytes) -> bytes:
        """Give the reset token of a connection id, the same one whenever it is asked for."""
        return hmac.digest(self._reset_key, cid, "sha256")[:RESET_TOKEN_LENGTH]
