"""The endpoint of the aioquic engine: who owns a datagram, and what to do with strangers.

    datagram
      short header --- id known ------------> connection
                   \\-- token known ---------> stateless reset of a connection
                    \\- else ----------------> counted, perhaps answered with a stateless reset
      long header ---- id known ------------> connection, or an attempt that waits
                   \\-- version unknown -----> version negotiation
                    \\- Initial >= 1200 -----> a new attempt, below
                     \\ else ----------------> counted

    a new attempt
      not accepting -----------------------> refused
      half-open < SOFT, or a Retry token --> AioquicIncoming
      half-open < HARD --------------------> Retry
      else --------------------------------> dropped

Half-open are attempts that wait and server connections whose handshake is not complete.
"""

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from aioquic_engine import packets
from aioquic_engine.connection import AioquicConnection
from aioquic_engine.incoming import MAX_HELD, AioquicIncoming
from aioquic_engine.packets import FirstPacket
from aioquic_engine.shared import CONNECTION_ID_LENGTH, Shared
from iroh.quic.api import Connection, Incoming, QuicEndpoint, Received, Rng, ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.errors import CONNECTION_REFUSED
from iroh.quic.limits import Limits
from iroh.quic.tls.context import check_alpns
from iroh.quic.tokens import RetryTokens, TokenExpired, TokenMisplaced
from iroh_base import SecretKey

INVALID_TOKEN = 0xB  # RFC 9000 section 20.1
MIN_RESET_INTERVAL = 0.02
"""Seconds between stateless resets (noq EndpointConfig::min_reset_interval)."""
MAX_OUTBOX = 1024
"""Answers to strangers that wait to be sent; more are dropped."""
_KEY_LENGTH = 32


@dataclass(slots=True)
class _Batch:
    """What one call of receive collects."""

    now: float
    touched: dict[AioquicConnection, None]
    incoming: list[Incoming]


class AioquicEndpoint(QuicEndpoint):
    """Connections over aioquic.

    server_config: None for an endpoint that only dials; `Incoming.accept` takes the one to use.
    transport: for `connect` when it is given none. rng: for ids, tokens and keys of this layer;
    aioquic itself draws from os.urandom.
    """

    def __init__(
        self,
        secret_key: SecretKey,
        server_config: ServerConfig | None = None,
        transport: TransportConfig | None = None,
        rng: Rng = os.urandom,
        limits: Limits | None = None,
    ) -> None:
        self._shared = Shared(secret_key, rng)
        self.dropped = self._shared.dropped
        self._accepting = server_config is not None
        self._transport = transport or TransportConfig()
        self._limits = limits or Limits()
        self._tokens = RetryTokens(rng)
        self._outbox: deque[Datagrams] = deque()
        self._waiting: set[AioquicIncoming] = set()
        self._waiting_bytes = 0
        self._last_reset: float | None = None

    # -- the seam ------------------------------------------------------------------------------

    def connect(
        self,
        remote: Address,
        peer: bytes,
        alpns: Sequence[bytes],
        now: float,
        transport: TransportConfig | None = None,
        early_data: bool = False,
    ) -> AioquicConnection:
        """Start a handshake, never with 0-RTT.

        Raises ValueError for no ALPN, one that cannot be, or a bad key.
        """
        names = check_alpns(alpns)
        if not names or len(peer) != _KEY_LENGTH:
            raise ValueError("a dial needs a 32-byte key and at least one ALPN")
        return AioquicConnection(
            shared=self._shared,
            transport=transport or self._transport,
            alpns=names,
            remote=remote,
            now=now,
            peer=bytes(peer),
        )

    def receive(self, batches: Sequence[Datagrams], now: float) -> Received:
        """Sort datagrams by connection id and feed them to their connections."""
        batch = _Batch(now, {}, [])
        by_cid = self._shared.routes.by_cid
        for datagrams in batches:
            remote, local = datagrams.remote, datagrams.local
            for data in datagrams:
                if data[0] & packets.LONG_HEADER:
                    target = by_cid.get(packets.destination_of(data) or b"")
                else:
                    target = by_cid.get(data[1 : 1 + CONNECTION_ID_LENGTH])
                if isinstance(target, AioquicConnection):
                    target.feed(data, remote, local, now)
                    batch.touched[target] = None
                elif isinstance(target, AioquicIncoming):
                    self._hold(target, data, remote)
                else:
                    self._on_stranger(data, datagrams, batch)
        for connection in batch.touched:
            connection.settle()
        return Received(list(batch.touched), batch.incoming)

    def transmit(self) -> list[Datagrams]:
        """Give packets of no connection."""
        out = list(self._outbox)
        self._outbox.clear()
        return out

    def set_accepting(self, accepting: bool) -> None:
        """False refuses new attempts at once."""
        self._accepting = accepting

    def forget(self, connection: Connection) -> None:
        """Drop a connection and its ids."""
        self._shared.routes.forget(connection)
        self._shared.half_open.discard(connection)

    # -- attempts ------------------------------------------------------------------------------

    def accept_incoming(
        self, incoming: AioquicIncoming, config: ServerConfig, now: float
    ) -> AioquicConnection:
        """Make the connection of an attempt and give it what was held."""
        self.drop_incoming(incoming)
        first, token = incoming.first, incoming.token
        connection = AioquicConnection(
            shared=self._shared,
            transport=config.transport,
            alpns=check_alpns(config.alpns),
            remote=incoming.remote,
            now=now,
            local=incoming.local,
            original_destination=token.original_destination if token else first.destination,
            retry_source=token.retry_source if token else None,
        )
        # Retransmitted Initials still carry the id that the client made up.
        self._shared.routes.add(first.destination, connection)
        self._shared.half_open.add(connection)
        for data in incoming.held:
            connection.feed(data, incoming.remote, incoming.local, now)
        connection.settle()
        return connection

    def refuse_incoming(self, incoming: AioquicIncoming) -> None:
        """Answer CONNECTION_REFUSED."""
        self.drop_incoming(incoming)
        self._refuse(incoming.first, incoming.remote, incoming.local, CONNECTION_REFUSED)

    def retry_incoming(self, incoming: AioquicIncoming, now: float) -> None:
        """Answer Retry."""
        self.drop_incoming(incoming)
        self._retry(incoming.first, incoming.remote, incoming.local, now)

    def drop_incoming(self, incoming: AioquicIncoming) -> None:
        """Forget an attempt."""
        self._waiting.discard(incoming)
        self._waiting_bytes -= incoming.size
        self._shared.routes.forget(incoming)

    def _hold(self, incoming: AioquicIncoming, data: bytes, remote: Address) -> None:
        room = self._limits.waiting_bytes - self._waiting_bytes
        if remote != incoming.remote:
            self.dropped["unexpected remote"] += 1
        elif len(incoming.held) >= MAX_HELD or len(data) > room:
            self.dropped["too much waits"] += 1
        else:
            incoming.held.append(data)
            self._waiting_bytes += len(data)

    # -- strangers -----------------------------------------------------------------------------

    def _on_stranger(self, data: bytes, datagrams: Datagrams, batch: _Batch) -> None:
        if not data[0] & packets.LONG_HEADER:
            self._on_unknown_short(data, datagrams, batch)
            return
        version = int.from_bytes(data[1:5], "big")
        if len(data) < packets.MIN_INITIAL_DATAGRAM or version == 0:
            self.dropped["unknown connection"] += 1
        elif version != packets.VERSION:
            self._negotiate_version(data, datagrams)
        else:
            first = packets.parse_first(data)
            if first is None:
                self.dropped["unknown connection"] += 1
            else:
                self._on_attempt(first, data, datagrams, batch)

    def _on_unknown_short(self, data: bytes, datagrams: Datagrams, batch: _Batch) -> None:
        owner = self._shared.routes.by_token.get(data[-packets.RESET_TOKEN :])
        if isinstance(owner, AioquicConnection):
            owner.on_stateless_reset(batch.now)
            batch.touched[owner] = None
            return
        self.dropped["unknown connection"] += 1
        if self._last_reset is not None and batch.now < self._last_reset + MIN_RESET_INTERVAL:
            return
        token = self._shared.reset_token(data[1 : 1 + CONNECTION_ID_LENGTH])
        answer = packets.stateless_reset(len(data), token, self._shared.rng)
        if answer is not None:
            self._last_reset = batch.now
            self._answer(datagrams.remote, datagrams.local, answer)

    def _negotiate_version(self, data: bytes, datagrams: Datagrams) -> None:
        self.dropped["unknown version"] += 1
        answer = packets.version_negotiation(data, self._shared.rng)
        if answer is not None and self._accepting:
            self._answer(datagrams.remote, datagrams.local, answer)

    def _on_attempt(
        self, first: FirstPacket, data: bytes, datagrams: Datagrams, batch: _Batch
    ) -> None:
        remote, local = datagrams.remote, datagrams.local
        half_open = len(self._waiting) + len(self._shared.half_open)
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
        if not packets.is_authentic(data, first):
            self.dropped["not authentic or duplicate"] += 1
        elif not self._accepting:
            self._refuse(first, remote, local, CONNECTION_REFUSED)
        elif token is None and (
            half_open >= self._limits.half_open_soft
            or self._waiting_bytes + len(data) > self._limits.waiting_bytes
        ):
            self._retry(first, remote, local, batch.now)
        else:
            incoming = AioquicIncoming(self, first, remote, local, token)
            self._waiting.add(incoming)
            self._shared.routes.add(first.destination, incoming)
            self._hold(incoming, data, remote)
            batch.incoming.append(incoming)

    # -- answers -------------------------------------------------------------------------------

    def _refuse(
        self, first: FirstPacket, remote: Address, local: Address | None, code: int
    ) -> None:
        self._answer(remote, local, packets.refusal(first, self._shared.new_cid(), code))

    def _retry(
        self, first: FirstPacket, remote: Address, local: Address | None, now: float
    ) -> None:
        source = self._shared.new_cid()
        token = self._tokens.make(first.destination, source, remote, now)
        self._answer(remote, local, packets.retry(first, source, token))

    def _answer(self, remote: Address, local: Address | None, data: bytes) -> None:
        if len(self._outbox) < MAX_OUTBOX:
            self._outbox.append(Datagrams(remote, data, local=local))
        else:
            self.dropped["outbox full"] += 1
