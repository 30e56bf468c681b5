"""Tokens that prove an address: of a Retry, and of a connection before (RFC 9000 section 8.1).

    NEW_TOKEN   | nonce 12 | sealed |       AES-128-GCM of: | host 16 | issued, ms 8 |

A server gives NEW_TOKENs to clients, as many as `TransportConfig.new_tokens` says; a client sends
one with its next first packet, and while others have to answer a Retry, it need not. A token is
good for one connection, from the host that it was given to (whatever the port), for LIFETIME, as
long as the endpoint lives. Rust peers take such tokens and send them back; they give none unless
built with `bloom`.
"""

import hashlib
from collections import OrderedDict

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iroh.quic.api import Rng
from iroh.quic.datagrams import Address
from iroh.quic.frames import Frame, NewToken
from iroh.quic.tokens import RetryToken, RetryTokens

LIFETIME = 14 * 86_400.0
"""Seconds a NEW_TOKEN is good for (noq ValidationTokenConfig::lifetime)."""
MAX_USED = 4096
"""Used tokens that are remembered. When there are more, all issued so far are void."""
MAX_PEERS = 256
"""Servers whose tokens a client keeps (noq TokenMemoryCache)."""
MAX_PER_PEER = 2
"""Tokens of one server (noq the same): the newest."""
MAX_LENGTH = 256
"""A longer token would leave no room for the ClientHello; it is not kept."""
_NONCE, _KEY, _HOST, _TIME = 12, 16, 16, 8
_PLAIN = _HOST + _TIME


class AddressTokens:
    """What an endpoint gives out, and takes back, to prove addresses. As a server."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._retry = RetryTokens(rng)
        self._aead = AESGCM(rng(_KEY))
        self._used: set[bytes] = set()
        self._void_before = float("-inf")

    def for_retry(
        self, original_destination: bytes, retry_source: bytes, remote: Address, now: float
    ) -> bytes:
        """Make the token of a Retry: see RetryToken."""
        return self._retry.make(original_destination, retry_source, remote, now)

    def for_later(self, remote: Address, now: float) -> bytes:
        """Make a token for a later connection."""
        nonce = self._rng(_NONCE)
        issued = int(now * 1000).to_bytes(_TIME, "big", signed=True)
        return nonce + self._aead.encrypt(nonce, _digest(remote) + issued, None)

    def open(
        self, sealed: bytes, remote: Address, destination: bytes, now: float
    ) -> RetryToken | None:
        """Check the token of an Initial that was sent to `destination` from `remote`.

        None for one that proves nothing. One of NEW_TOKEN is used up by this. Raises TokenExpired,
        TokenMisplaced for one of a Retry.
        """
        if not sealed:
            return None
        token = self._retry.open(sealed, remote, destination, now)
        if token is None and self._redeem(sealed, remote, now):
            return RetryToken(destination, None)
        return token

    def _redeem(self, sealed: bytes, remote: Address, now: float) -> bool:
        nonce = sealed[:_NONCE]
        try:
            plain = self._aead.decrypt(nonce, sealed[_NONCE:], None)
        except (InvalidTag, ValueError):  # ValueError: less than a nonce
            return False
        issued = int.from_bytes(plain[_HOST:_PLAIN], "big", signed=True) / 1000
        fresh = issued > self._void_before and 0 <= now - issued <= LIFETIME
        if plain[:_HOST] != _digest(remote) or not fresh or nonce in self._used:
            return False
        if len(self._used) >= MAX_USED:
            self._used.clear()
            self._void_before = now
        self._used.add(nonce)
        return True


class ReceivedTokens:
    """What servers gave us, by their keys; each is sent once."""

    def __init__(self) -> None:
        self._peers: OrderedDict[bytes, list[bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._peers)

    def add(self, peer: bytes, token: bytes) -> None:
        """Keep a token for the next connection to this server."""
        if len(token) > MAX_LENGTH:
            return
        tokens = self._peers.setdefault(peer, [])
        self._peers.move_to_end(peer)
        tokens.append(token)
        del tokens[:-MAX_PER_PEER]
        if len(self._peers) > MAX_PEERS:
            self._peers.popitem(last=False)

    def take(self, peer: bytes) -> bytes:
        """Take out the newest token of a server; empty when there is none."""
        tokens = self._peers.get(peer)
        if tokens is None:
            return b""
        token = tokens.pop()
        if not tokens:
            del self._peers[peer]
        return token


class TokenGiver:
    """Sends NEW_TOKENs to the peer of one connection."""

    __slots__ = ("_due", "_remote", "_tokens")

    def __init__(self, tokens: AddressTokens) -> None:
        self._tokens = tokens
        self._remote: Address = None
        self._due = 0

    def give(self, remote: Address, count: int) -> None:
        """Give so many, for this address."""
        self._remote = remote
        self._due = count

    def take_frames(self, now: float, budget: int) -> list[tuple[Frame, None]]:
        """Give what is due."""
        frames: list[tuple[Frame, None]] = []
        while self._due and budget >= _FRAME:
            self._due -= 1
            budget -= _FRAME
            frames.append((NewToken(self._tokens.for_later(self._remote, now)), None))
        return frames

    def on_acked(self, _token: None) -> None:
        """One arrived."""

    def on_lost(self, _token: None) -> None:
        """Another one in its place."""
        self._due += 1


_FRAME = 2 + _NONCE + _PLAIN + 16


def _digest(remote: Address) -> bytes:
    """Hash the host of an address: a client's port is another one each time."""
    host = remote[0] if isinstance(remote, tuple) else repr(remote)
    return hashlib.sha256(str(host).encode("utf-8", "surrogatepass")).digest()[:_HOST]
