"""A connection of the aioquic engine: time, packets and addresses around a `Core`.

Addresses. aioquic's client drops what comes from an address it does not know, but in iroh the
remote of a dial may stand for several addresses (`server_handshake_migration`). So:

- The client's core knows one constant address; the real remote is kept here. Until the first
  packet authenticates that only the server can have made (Handshake or 1-RTT), the remote is
  whatever address the last authentic packet, or a Retry, came from: the first answer wins the race.
  From then on it is frozen, as in noq, and packets from elsewhere are dropped and counted: a server
  does not migrate (RFC 9000 section 9), and this engine has no second path to probe with.
- The server answers the address of the first datagram until the handshake is complete; copies of
  the Initial from other addresses are dropped and counted. Then a client may migrate: aioquic
  validates the new path (RFC 9000 section 9).
"""

from collections.abc import Sequence

from aioquic.quic.connection import NetworkAddress
from aioquic.quic.events import HandshakeCompleted, ProtocolNegotiated

from aioquic_engine.commands import ConnectionCommands, check_code
from aioquic_engine.core import Core
from aioquic_engine.shared import Shared
from aioquic_engine.signals import Signals
from iroh.quic.api import ConnectionStats, PathInfo, PathStats
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.errors import CloseReason, LocallyClosed
from iroh.quic.events import Connected, Event, HandshakeDataReady, PathChanged

MAX_SEGMENTS = 10
"""Datagrams of one `Datagrams`: noq's MAX_TRANSMIT_SEGMENTS, and what a relay frame carries."""
MAX_LOCALS = 16
"""Remotes whose local address is remembered; aioquic keeps 8 paths."""
KEY_UPDATE_AFTER = 1 << 22
"""Datagrams sent with one key: half of what AES-GCM may (RFC 9001 section 6.6)."""

_SERVER = "the server, wherever it is"
"""The constant address of the client's core. No IP address: a preferred address is ignored."""


class AioquicConnection(ConnectionCommands):
    """One connection. Made by `AioquicEndpoint.connect` and `AioquicIncoming.accept`."""

    def __init__(
        self,
        *,
        shared: Shared,
        transport: TransportConfig,
        alpns: Sequence[bytes],
        remote: Address,
        now: float,
        local: Address | None = None,
        peer: bytes | None = None,
        original_destination: bytes | None = None,
        retry_source: bytes | None = None,
    ) -> None:
        self.is_client = peer is not None
        self.alpn: bytes | None = None
        self.peer: bytes | None = None
        self.close_reason: CloseReason | None = None
        self.remote = remote
        self._shared = shared
        self._signals = Signals(transport.datagram_receive_buffer_size)
        self._core = Core(
            shared=shared,
            owner=self,
            signals=self._signals,
            transport=transport,
            alpns=alpns,
            peer=peer,
            original_destination=original_destination,
            retry_source=retry_source,
        )
        self._keep_alive = transport.keep_alive_interval
        self._active_at = now
        self._is_frozen = False  # client: the remote no longer follows the server's packets
        self._locals: dict[Address, Address | None] = {remote: local}
        self._wants_to_send = True
        self._close_packets: list[Datagrams] = []
        self._close_asked = 0  # datagrams that came after our CONNECTION_CLOSE
        self._close_again = False
        self._token = b""
        self._tx_datagrams = self._tx_bytes = self._rx_datagrams = self._rx_bytes = 0
        self._key_update_at = KEY_UPDATE_AFTER
        if self.is_client:
            self._core.connect(_SERVER, now)
        else:
            self._core.start_server(remote, validated=retry_source is not None)

    # -- the five verbs ------------------------------------------------------------------------

    def receive(self, datagrams: Datagrams, now: float) -> None:
        """Take datagrams of this connection."""
        for data in datagrams:
            self.feed(data, datagrams.remote, datagrams.local, now)
        self.settle()

    def transmit(self, now: float) -> list[Datagrams]:
        """Give what wants to be sent now; at most 10 segments in one Datagrams."""
        if self._close_again:
            self._close_again = False
            return self._close_packets
        if not self._wants_to_send:
            return []
        pairs = self._core.produce(now)
        if not pairs:
            self.settle()
            self._wants_to_send = False
            return []
        self._active_at = now
        self._tx_datagrams += len(pairs)
        self._tx_bytes += sum(len(data) for data, _ in pairs)
        if self._tx_datagrams >= self._key_update_at and self._core.is_established:
            self._key_update_at = self._tx_datagrams + KEY_UPDATE_AFTER
            self._core.update_keys()
        batches = self._pack(pairs)
        if self._core.is_closing:
            self._close_packets = batches
        return batches

    def next_timeout(self) -> float | None:
        """Give the time at which handle_timeout is due."""
        if self._core.is_terminated:
            return None
        at = self._core.get_timer()
        if self._keep_alive is not None and self._core.is_established and not self.close_reason:
            ping_at = self._active_at + self._keep_alive
            at = ping_at if at is None else min(at, ping_at)
        return at

    def handle_timeout(self, now: float) -> None:
        """Do what time demands."""
        self._core.tick(now)
        if (
            self._keep_alive is not None
            and now >= self._active_at + self._keep_alive
            and self._core.is_established
            and not self.close_reason
        ):
            self._active_at = now
            self._core.request_ping()
        self.settle()

    def events(self) -> list[Event]:
        """Give and forget what happened."""
        return self._signals.take()

    # -- the connection ------------------------------------------------------------------------

    def close(self, code: int, reason: bytes, now: float) -> None:
        """Close with an application code. Raises ValueError for a code beyond 2**62 - 1."""
        check_code(code)
        if self._signals.reason is None:
            self._signals.close(LocallyClosed(code, bytes(reason)))
            self._core.close_application(code, bytes(reason))
            self.settle()

    def stats(self) -> ConnectionStats:
        """Totals since the start."""
        path = self._core.measure_path()
        return ConnectionStats(
            udp_tx_datagrams=self._tx_datagrams,
            udp_tx_bytes=self._tx_bytes,
            udp_rx_datagrams=self._rx_datagrams,
            udp_rx_bytes=self._rx_bytes,
            lost_packets=path.lost_packets,
            lost_bytes=path.lost_bytes,
        )

    def paths(self) -> list[PathInfo]:
        """The one path."""
        if self._core.is_terminated:
            return []
        return [PathInfo(0, self.remote, True, self.path_stats(0))]

    def path_stats(self, path_id: int) -> PathStats:
        """Totals of the one path."""
        return self._core.measure_path(
            udp_tx_datagrams=self._tx_datagrams,
            udp_tx_bytes=self._tx_bytes,
            udp_rx_datagrams=self._rx_datagrams,
            udp_rx_bytes=self._rx_bytes,
        )

    # -- for the endpoint ----------------------------------------------------------------------

    def feed(self, data: bytes, remote: Address, local: Address | None, now: float) -> None:
        """Take one datagram; `settle` has to follow."""
        self._rx_datagrams += 1
        self._rx_bytes += len(data)
        if self._signals.reason is not None:
            self._answer_late()
            return
        if remote != self.remote and self._is_foreign():
            self._shared.dropped["unexpected remote"] += 1
            return
        retries = self._core.retries
        if self._core.take(data, _SERVER if self.is_client else remote, now):
            self._active_at = now
            self._locals[remote] = local
            if len(self._locals) > MAX_LOCALS:
                del self._locals[next(key for key in self._locals if key != self.remote)]
        elif self._core.retries == retries:
            self._shared.dropped["not authentic or duplicate"] += 1
            return
        if self.is_client:
            self._move(remote)
            self._is_frozen = self._is_frozen or self._core.handshake_proven

    def settle(self) -> None:
        """Turn what happened in the core into events, once for any number of datagrams."""
        core, signals = self._core, self._signals
        self._wants_to_send = True
        for event in core.drain():
            if isinstance(event, ProtocolNegotiated) and event.alpn_protocol is not None:
                self.alpn = event.alpn_protocol.encode()
                signals.push(HandshakeDataReady(self.alpn))
            elif isinstance(event, HandshakeCompleted):
                self._on_connected()
        if not self.is_client:
            self._move(core.get_peer_address())
            core.leave_first_peer_cid()
        core.wake_writers()
        if core.is_terminated:
            signals.drained()
        self.close_reason = signals.reason
        if self.close_reason is not None:
            self._shared.half_open.discard(self)
        token = b"" if core.is_terminated else core.peer_reset_token
        if token != self._token:
            self._token = token
            self._shared.routes.set_token(token, self)

    def on_stateless_reset(self, now: float) -> None:
        """The peer has lost this connection's state."""
        self._core.on_stateless_reset(now)
        self.settle()

    # -- inside --------------------------------------------------------------------------------

    def _touch(self) -> None:
        self._wants_to_send = True

    def _on_connected(self) -> None:
        self.peer = self._core.peer_key
        self._shared.half_open.discard(self)
        if self.alpn is not None and self.peer is not None:
            self._signals.push(Connected(self.alpn, self.peer))

    def _is_foreign(self) -> bool:
        """Whether packets from other addresses than `remote` are refused at present."""
        return self._is_frozen if self.is_client else not self._core.is_established

    def _move(self, remote: Address) -> None:
        if remote is not None and remote != self.remote:
            self.remote = remote
            self._signals.push(PathChanged(remote))

    def _answer_late(self) -> None:
        """Repeat CONNECTION_CLOSE for the 1st, 2nd, 4th, ... late datagram (RFC 9000 10.2.1)."""
        if self._core.is_closing and self._close_packets:
            self._close_asked += 1
            self._close_again = not self._close_asked & (self._close_asked - 1)

    def _pack(self, pairs: list[tuple[bytes, NetworkAddress]]) -> list[Datagrams]:
        """Join runs of equal datagrams for one remote; the last of a run may be shorter."""
        batches: list[Datagrams] = []
        run: list[bytes] = []
        run_remote: Address = None
        for data, addr in pairs:
            remote = self.remote if self.is_client else addr
            fits = (
                run
                and remote == run_remote
                and len(data) <= len(run[0])
                and len(run[-1]) == len(run[0])
                and len(run) < MAX_SEGMENTS
            )
            if run and not fits:
                batches.append(self._batch(run_remote, run))
                run = []
            run.append(data)
            run_remote = remote
        batches.append(self._batch(run_remote, run))
        return batches

    def _batch(self, remote: Address, run: list[bytes]) -> Datagrams:
        data = run[0] if len(run) == 1 else b"".join(run)
        return Datagrams(remote, data, len(run[0]), local=self._locals.get(remote))
