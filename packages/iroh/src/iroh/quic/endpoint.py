"""The endpoint of the multipath engine: who owns a datagram, and what to do with strangers.

    batch of datagrams
      all short headers of one id ---------> receive_run, the batch as it is
      else, datagram by datagram:
        short header --- id known ---------> receive_run, neighbours of one id together
                     \\-- token known ------> stateless reset of a connection
                      \\- else -------------> counted, perhaps answered with a stateless reset
        long header ---- id known ---------> receive_long, or an attempt that waits
                     \\-- version unknown --> version negotiation
                      \\- Initial >= 1200 --> a new attempt, below
                       \\ else -------------> counted

    a new attempt
      not accepting -----------------------> refused
      half-open < SOFT, or a valid token --> EngineIncoming
      half-open < HARD --------------------> Retry
      else --------------------------------> dropped

Half-open are attempts that wait and server connections whose handshake is not complete.

Ids and reset tokens change inside connections; they are asked for them after every receive. What
changed at another time (a path that was given up by a timer) is asked for when a datagram seems to
belong to nobody, before it is believed.
"""

import os
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from iroh.quic import packet as pk
from iroh.quic import strangers
from iroh.quic.api import (
    Connection,
    Incoming,
    QuicEndpoint,
    Received,
    Rng,
    ServerConfig,
    WebServer,
)
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.errors import CONNECTION_REFUSED, INVALID_TOKEN, CloseReason, Reset
from iroh.quic.incoming import MAX_HELD, EngineIncoming, Held
from iroh.quic.limits import Limits
from iroh.quic.local_cids import CID_LENGTH, CidChange
from iroh.quic.remote_cids import TokenChange
from iroh.quic.roles import Attempt, Dial, Role
from iroh.quic.shared import Routes, Shared
from iroh.quic.strangers import FirstPacket
from iroh.quic.tls import KeyLog
from iroh.quic.tls.context import check_alpns
from iroh.quic.tokens import TokenExpired, TokenMisplaced
from iroh_base import SecretKey

if TYPE_CHECKING:
    from iroh.quic.qlog import QlogFactory

MIN_RESET_INTERVAL = 0.02
"""Seconds between stateless resets (noq EndpointConfig::min_reset_interval)."""
MAX_OUTBOX = 1024
"""Answers to strangers that wait to be sent; more are dropped."""
_KEY_LENGTH = 32
_CID_END = 1 + CID_LENGTH


class EngineConnection(Protocol):
    """What the endpoint needs of a connection, beside `api.Connection`. Nothing here raises."""

    @property
    def peer(self) -> bytes | None:
        """The proven key: set once the handshake is complete."""

    @property
    def close_reason(self) -> CloseReason | None:
        """Why it ended."""

    def receive_run(self, path_id: int, datagrams: Datagrams, now: float) -> None:
        """Take short-header packets whose ids all belong to one path."""

    def receive_long(
        self, data: bytes, remote: Address, local: Address | None, ecn: int, now: float
    ) -> None:
        """Take a datagram that starts with a long header."""

    def vanish(self, reason: CloseReason, now: float) -> None:
        """The peer has lost the connection (stateless reset)."""

    def take_cid_changes(self) -> list[CidChange]:
        """Give and forget which of our ids came and went."""

    def take_token_changes(self) -> list[TokenChange]:
        """Give and forget which of the peer's reset tokens came and went."""


class MakeConnection(Protocol):
    """How connections are made."""

    def __call__(
        self,
        *,
        shared: Shared,
        transport: TransportConfig,
        alpns: Sequence[bytes],
        remote: Address,
        local: Address | None,
        now: float,
        role: Role,
    ) -> EngineConnection:
        """Make one end of a connection."""


class _Batch:
    """What one call of receive collects."""

    __slots__ = ("incoming", "now", "swept", "touched")

    def __init__(self, now: float) -> None:
        self.now = now
        self.touched: dict[EngineConnection, None] = {}
        self.incoming: list[Incoming] = []
        self.swept = False


class Endpoint(QuicEndpoint):
    """Connections of the multipath engine.

    server_config: None for an endpoint that only dials; `Incoming.accept` takes the one to use.
    transport: for `connect` when it is given none.
    """

    def __init__(
        self,
        make_connection: MakeConnection,
        secret_key: SecretKey,
        server_config: ServerConfig | None = None,
        transport: TransportConfig | None = None,
        rng: Rng = os.urandom,
        limits: Limits | None = None,
        keylog: KeyLog | None = None,
        qlog: "QlogFactory | None" = None,
    ) -> None:
        self.shared: Shared = Shared(secret_key, rng, keylog, qlog)
        self.dropped: Counter[str] = self.shared.dropped
        self.routes: Routes[EngineConnection] = Routes()
        self._make = make_connection
        self._accepting = server_config is not None
        self._transport = transport or TransportConfig()
        self._limits = limits or Limits()
        self._tokens = self.shared.address_tokens
        self._outbox: deque[Datagrams] = deque()
        self._waiting: set[EngineIncoming] = set()
        self._waiting_bytes = 0
        self._half_open: set[EngineConnection] = set()
        self._last_reset = self._last_sweep = float("-inf")

    # -- the seam ------------------------------------------------------------------------------

    def connect(
        self,
        remote: Address,
        peer: bytes,
        alpns: Sequence[bytes],
        now: float,
        transport: TransportConfig | None = None,
        early_data: bool = False,
    ) -> Connection:
        """Start a handshake. Raises ValueError for no ALPN, one that cannot be, or a bad key."""
        names = check_alpns(alpns)
        if not names or len(peer) != _KEY_LENGTH:
            raise ValueError("a dial needs a 32-byte key and at least one ALPN")
        role = Dial(bytes(peer), early_data)
        return self._dial(remote, role, names, now, transport or self._transport)

    def connect_web(
        self,
        remote: Address,
        server: WebServer,
        alpns: Sequence[bytes],
        now: float,
        transport: TransportConfig,
    ) -> Connection:
        """Start a handshake with a server known by name. Raises ValueError for a bad ALPN."""
        return self._dial(remote, server, check_alpns(alpns), now, transport)

    def _dial(
        self,
        remote: Address,
        role: Dial | WebServer,
        alpns: Sequence[bytes],
        now: float,
        transport: TransportConfig,
    ) -> Connection:
        connection = self._make(
            shared=self.shared,
            transport=transport,
            alpns=alpns,
            remote=remote,
            local=None,
            now=now,
            role=role,
        )
        self.update(connection)
        return cast(Connection, connection)

    def receive(self, batches: Sequence[Datagrams], now: float) -> Received:
        """Sort datagrams by connection id and feed them to their connections."""
        batch = _Batch(now)
        by_cid, touched = self.routes.by_cid, batch.touched
        for datagrams in batches:
            data = datagrams.data
            route = by_cid.get(data[1:_CID_END])
            if route is not None and is_one_run(data, datagrams.segment_size):
                connection, path_id = route
                connection.receive_run(path_id, datagrams, now)
                touched[connection] = None
            else:
                self._sort(datagrams, batch)
        for connection in touched:
            self.update(connection)
        return Received(cast(list[Connection], list(touched)), batch.incoming)

    def transmit(self) -> list[Datagrams]:
        """Give packets of no connection."""
        if not self._outbox:
            return []
        out = list(self._outbox)
        self._outbox.clear()
        return out

    def set_accepting(self, accepting: bool) -> None:
        """False refuses new attempts at once."""
        self._accepting = accepting

    def forget(self, connection: Connection) -> None:
        """Drop a connection and its ids."""
        engine_connection = cast(EngineConnection, connection)
        self.routes.forget(engine_connection)
        self._half_open.discard(engine_connection)

    def remembered(self) -> int:
        """How many ids, tokens and attempts are kept: 0 once all connections are forgotten."""
        routes = self.routes
        ids = len(routes.by_cid) + len(routes.by_first_id)
        return ids + len(routes.by_token) + len(self._waiting) + len(self._half_open)

    # -- connections ---------------------------------------------------------------------------

    def update(self, connection: EngineConnection) -> None:
        """Learn what ids, reset tokens and state a connection has now."""
        routes = self.routes
        changes = connection.take_cid_changes()
        if changes:
            routes.change(connection, changes)
        for change in connection.take_token_changes():
            (routes.watch if change.added else routes.unwatch)(connection, change.token)
        if connection in self._half_open and (
            connection.peer is not None or connection.close_reason is not None
        ):
            self._half_open.remove(connection)

    def _sweep(self, batch: _Batch) -> None:
        """Learn it of all, at most once in a while."""
        if not batch.swept and batch.now >= self._last_sweep + MIN_RESET_INTERVAL:
            self._last_sweep = batch.now
            for connection in list(self.routes.connections):
                self.update(connection)
        batch.swept = True

    # -- sorting -------------------------------------------------------------------------------

    def _sort(self, datagrams: Datagrams, batch: _Batch) -> None:
        """Take a batch apart: long headers one by one, short headers in runs of one id."""
        data, size = datagrams.data, datagrams.segment_size
        run_at = 0
        run_cid: bytes | None = None
        for at in range(0, len(data), size or 1):
            end = min(at + _CID_END, at + size)
            cid = None if data[at] & pk.LONG else data[at + 1 : end]
            if cid is not None and cid == run_cid:
                continue
            self._on_run(datagrams, run_at, at, run_cid, batch)
            run_at, run_cid = at, cid
            if cid is None:
                self._on_long(data[at : at + size], datagrams, batch)
                run_at = at + size
        self._on_run(datagrams, run_at, len(data), run_cid, batch)

    def _on_run(
        self, datagrams: Datagrams, start: int, end: int, cid: bytes | None, batch: _Batch
    ) -> None:
        """Take neighbours of one id: datagrams.data[start:end]; cid is None when there are none."""
        if cid is None:
            return
        route = self.routes.by_cid.get(cid)
        if route is None:
            self._sweep(batch)
            route = self.routes.by_cid.get(cid)
        size = datagrams.segment_size
        if route is None:
            for at in range(start, end, size):
                self._on_unknown_short(datagrams.data[at : min(at + size, end)], datagrams, batch)
            return
        connection, path_id = route
        run = Datagrams(
            datagrams.remote, datagrams.data[start:end], size, datagrams.ecn, datagrams.local
        )
        connection.receive_run(path_id, run, batch.now)
        batch.touched[connection] = None

    def _on_long(self, data: bytes, datagrams: Datagrams, batch: _Batch) -> None:
        cid = data[6 : 6 + data[5]] if len(data) > 5 else b""
        route = self.routes.by_cid.get(cid)
        target = self.routes.by_first_id.get(cid) if route is None else route[0]
        if target is None:
            self._on_strange_long(data, datagrams, batch)
        elif isinstance(target, EngineIncoming):
            self._hold(target, data, datagrams)
        else:
            connection = cast(EngineConnection, target)
            connection.receive_long(
                data, datagrams.remote, datagrams.local, datagrams.ecn, batch.now
            )
            batch.touched[connection] = None

    # -- attempts ------------------------------------------------------------------------------

    def accept_incoming(
        self, incoming: EngineIncoming, config: ServerConfig, now: float
    ) -> Connection:
        """Make the connection of an attempt and give it what was held."""
        self.drop_incoming(incoming)
        first, token = incoming.first, incoming.token
        role = Attempt(first.source, first.destination, None, False)
        if token is not None:
            role = Attempt(first.source, token.original_destination, token.retry_source, True)
        connection = self._make(
            shared=self.shared,
            transport=config.transport,
            alpns=check_alpns(config.alpns),
            remote=incoming.remote,
            local=incoming.local,
            now=now,
            role=role,
        )
        # Retransmitted Initials still carry the id that the client made up.
        self.routes.set_first_id(first.destination, connection)
        self._half_open.add(connection)
        for data, ecn in incoming.held:
            connection.receive_long(data, incoming.remote, incoming.local, ecn, now)
        self.update(connection)
        return cast(Connection, connection)

    def refuse_incoming(self, incoming: EngineIncoming) -> None:
        """Answer CONNECTION_REFUSED."""
        self.drop_incoming(incoming)
        self._refuse(incoming.first, incoming.remote, incoming.local, CONNECTION_REFUSED)

    def retry_incoming(self, incoming: EngineIncoming, now: float) -> None:
        """Answer Retry."""
        self.drop_incoming(incoming)
        self._retry(incoming.first, incoming.remote, incoming.local, now)

    def drop_incoming(self, incoming: EngineIncoming) -> None:
        """Forget an attempt."""
        self._waiting.discard(incoming)
        self._waiting_bytes -= incoming.size
        self.routes.forget_first_id(incoming)

    def _hold(self, incoming: EngineIncoming, data: bytes, datagrams: Datagrams) -> None:
        room = self._limits.waiting_bytes - self._waiting_bytes
        if datagrams.remote != incoming.remote:
            self.dropped["unexpected remote"] += 1
        elif len(incoming.held) >= MAX_HELD or len(data) > room:
            self.dropped["too much waits"] += 1
        else:
            incoming.held.append(Held(data, datagrams.ecn))
            self._waiting_bytes += len(data)

    # -- strangers -----------------------------------------------------------------------------

    def _on_strange_long(self, data: bytes, datagrams: Datagrams, batch: _Batch) -> None:
        first = None
        if len(data) >= pk.MIN_INITIAL:
            try:
                first = strangers.parse_first(data)
            except pk.UnknownVersion as unknown:
                self.dropped["unknown version"] += 1
                if self._accepting:
                    answer = strangers.version_negotiation(unknown, self.shared.rng)
                    self._answer(datagrams.remote, datagrams.local, answer)
                return
        if first is None:
            self.dropped["unknown connection"] += 1
        else:
            self._on_attempt(first, data, datagrams, batch)

    def _on_unknown_short(self, data: bytes, datagrams: Datagrams, batch: _Batch) -> None:
        owner = self.routes.by_token.get(data[-strangers.RESET_TOKEN :])
        if owner is not None:
            owner.vanish(Reset(), batch.now)
            batch.touched[owner] = None
            return
        self.dropped["unknown connection"] += 1
        if not data[0] & pk.FIXED_BIT or batch.now < self._last_reset + MIN_RESET_INTERVAL:
            return
        token = self.shared.reset_token(data[1:_CID_END])
        answer = strangers.stateless_reset(len(data), token, self.shared.rng)
        if answer is not None:
            self._last_reset = batch.now
            self._answer(datagrams.remote, datagrams.local, answer)

    def _on_attempt(
        self, first: FirstPacket, data: bytes, datagrams: Datagrams, batch: _Batch
    ) -> None:
        remote, local = datagrams.remote, datagrams.local
        half_open = len(self._waiting) + len(self._half_open)
        if half_open >= self._limits.half_open_hard:
            self.dropped["too many half-open"] += 1
            return
        try:
            token = self._tokens.open(first.token, remote, first.destination, batch.now)
        except TokenExpired:
            self._refuse(first, remote, local, INVALID_TOKEN)
            return
        except TokenMisplaced:
            self.dropped["unexpected remote"] += 1
            return
        if not strangers.is_authentic(data, first):
            self.dropped["not authentic or duplicate"] += 1
        elif not self._accepting:
            self._refuse(first, remote, local, CONNECTION_REFUSED)
        elif token is None and (
            half_open >= self._limits.half_open_soft
            or self._waiting_bytes + len(data) > self._limits.waiting_bytes
        ):
            self._retry(first, remote, local, batch.now)
        else:
            incoming = EngineIncoming(self, first, remote, local, token)
            self._waiting.add(incoming)
            self.routes.set_first_id(first.destination, incoming)
            self._hold(incoming, data, datagrams)
            batch.incoming.append(incoming)

    # -- answers -------------------------------------------------------------------------------

    def _refuse(
        self, first: FirstPacket, remote: Address, local: Address | None, code: int
    ) -> None:
        self._answer(remote, local, strangers.refusal(first, self.shared.new_cid(), code))

    def _retry(
        self, first: FirstPacket, remote: Address, local: Address | None, now: float
    ) -> None:
        source = self.shared.new_cid()
        token = self._tokens.for_retry(first.destination, source, remote, now)
        self._answer(remote, local, strangers.retry(first, source, token))

    def _answer(self, remote: Address, local: Address | None, data: bytes) -> None:
        if len(self._outbox) < MAX_OUTBOX:
            self._outbox.append(Datagrams(remote, data, local=local))
        else:
            self.dropped["outbox full"] += 1


def is_one_run(data: bytes, size: int) -> bool:
    """Whether all datagrams of a batch have a short header and one connection id."""
    if data[0] & pk.LONG:
        return False
    if len(data) <= size:
        return True
    count = -(-len(data) // size)
    if not data[::size].isascii():  # the form bit is the highest one
        return False
    return all(data[at::size] == data[at : at + 1] * count for at in range(1, _CID_END))
