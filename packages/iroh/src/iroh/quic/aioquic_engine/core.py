"""aioquic's connection with iroh's handshake, connection ids, close and error handling.

    FIRSTFLIGHT --> CONNECTED --close--> CLOSING ----3 PTO----\\
                        |                                      +--> TERMINATED
                        \\---CONNECTION_CLOSE--> DRAINING ------/

The states are aioquic's. What this class changes:

- TLS is `RawKeyContext`; transport parameters are `params`.
- Connection ids and reset tokens come from `Shared`, so an endpoint can route and reset.
- A frame that fails closes with the right code; a bug of aioquic closes the connection with
  INTERNAL_ERROR instead of raising into the caller (`take`, `produce`).
- Close reasons are bytes, cut to what fits.
"""

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic import events as aioquic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    END_STATES,
    NetworkAddress,
    QuicConnectionError,
    QuicConnectionId,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
)
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicProtocolVersion,
)
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicPacketBuilderStop

from iroh.quic.aioquic_engine import params
from iroh.quic.aioquic_engine.certificate import RawKeyCertificate, RawKeySigner
from iroh.quic.aioquic_engine.log import QUIET
from iroh.quic.aioquic_engine.opaque import OpaqueText
from iroh.quic.aioquic_engine.recovery import Recovery
from iroh.quic.aioquic_engine.shared import CONNECTION_ID_LENGTH, Shared
from iroh.quic.aioquic_engine.signals import Signals
from iroh.quic.aioquic_engine.stream_core import StreamCore
from iroh.quic.aioquic_engine.streams import crypto_stream
from iroh.quic.aioquic_engine.tls import RawKeyContext
from iroh.quic.api import PathStats
from iroh.quic.config import TransportConfig
from iroh.quic.errors import (
    ApplicationClosed,
    ConnectionClosed,
    Reset,
    TimedOut,
    TransportError,
    VersionMismatch,
)

logger = logging.getLogger(__name__)

MAX_DATAGRAM_SIZE = 1200
"""UDP payload sent: what every QUIC path carries (RFC 9000 section 14), relays included."""
INITIAL_DESTINATION_LENGTH = 20
"""Bytes of a client's first destination id, as the Rust peer has it."""
MAX_RETIRED = 32
"""Retired ids that still lead here, so that late packets are not answered with a reset."""
FOREVER = 1e9
"""Seconds that stand for no idle timeout at all."""
CLOSE_OVERHEAD = 1 + 3 * 8
"""CONNECTION_CLOSE without its reason: type and three varints (RFC 9000 section 19.19)."""
NO_FRAME = 0
"""The frame type of an error that no frame caused (RFC 9000 section 19.19)."""
_FIRST_SKIP = 64
"""A packet number below this is the first to be skipped (noq PacketNumberFilter)."""

ENGINE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    QuicPacketBuilderStop,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a bug in aioquic may raise on hostile input; it must not reach the caller."""


class Core(StreamCore):
    """One connection, driven by `AioquicConnection`.

    owner: whom our connection ids lead to. peer: the key to dial, None on the server.
    """

    def __init__(
        self,
        *,
        shared: Shared,
        owner: object,
        signals: Signals,
        transport: TransportConfig,
        alpns: Sequence[bytes],
        peer: bytes | None = None,
        original_destination: bytes | None = None,
        retry_source: bytes | None = None,
    ) -> None:
        is_client = peer is not None
        configuration = QuicConfiguration(
            certificate=RawKeyCertificate(shared.secret_key),
            connection_id_length=CONNECTION_ID_LENGTH,
            idle_timeout=transport.max_idle_timeout or FOREVER,
            initial_rtt=transport.initial_rtt,
            is_client=is_client,
            max_data=transport.receive_window,
            max_datagram_size=MAX_DATAGRAM_SIZE,
            max_stream_data=transport.stream_receive_window,
            private_key=RawKeySigner(shared.secret_key),
            supported_versions=[QuicProtocolVersion.VERSION_1],
        )
        super().__init__(
            configuration,
            transport,
            signals,
            original_destination_connection_id=original_destination,
            retry_source_connection_id=retry_source,
        )
        self.authenticated = 0
        """Packets that were decrypted and new."""
        self.handshake_proven = False
        """Whether a packet came that only the real peer can have made."""
        self._alpns = alpns
        self._expected_peer = peer
        self._owner = owner
        self._retired: deque[bytes] = deque()
        self._shared = shared
        self._skip_at = int.from_bytes(shared.rng(1), "big") % _FIRST_SKIP
        quiet: Any = QUIET
        self._logger = quiet
        self._use_own_ids()
        self.recovery = Recovery(
            initial_rtt=transport.initial_rtt,
            is_client=is_client,
            max_datagram_size=MAX_DATAGRAM_SIZE,
            send_probe=self._send_probe,
            logger=quiet,
        )
        self._loss = self.recovery
        self._local_active_connection_id_limit = params.ACTIVE_CONNECTION_ID_LIMIT

    def _use_own_ids(self) -> None:
        cid = self._shared.new_cid()
        token: Any = None if self._is_client else self._shared.reset_token(cid)
        self._host_cids = [QuicConnectionId(cid, 0, token, was_sent=True)]
        self.host_cid = self._local_initial_source_connection_id = cid
        self._shared.routes.add(cid, self._owner)
        if self._is_client:
            self._peer_cid.cid = self._shared.rng(INITIAL_DESTINATION_LENGTH)
            self._original_destination_connection_id = self._peer_cid.cid

    # -- state ---------------------------------------------------------------------------------

    @property
    def is_established(self) -> bool:
        """Whether the handshake is complete: the peer's key is proven."""
        return self._handshake_complete

    @property
    def is_closing(self) -> bool:
        """Whether our CONNECTION_CLOSE is out and the peer's packets are answered with it."""
        return self._state == QuicConnectionState.CLOSING

    @property
    def is_terminated(self) -> bool:
        """Whether closing or draining is over."""
        return self._state == QuicConnectionState.TERMINATED

    @property
    def peer_key(self) -> bytes | None:
        """The peer's proven key."""
        return self._context.peer_key

    @property
    def peer_reset_token(self) -> bytes:
        """The token with which the peer would reset this connection, b"" for none."""
        return self._peer_cid.stateless_reset_token or b""

    def leave_first_peer_cid(self) -> None:
        """Leave a client's first id, which has no reset token, for one that has (as noq does)."""
        if not self.peer_reset_token and self._handshake_complete and self._peer_cid_available:
            self.change_connection_id()

    @property
    def retries(self) -> int:
        """How many Retry packets a client has followed."""
        return self._retry_count

    def export(self, length: int, label: bytes, context: bytes) -> bytes:
        """Derive exporter bytes; the handshake is complete. Raises ValueError."""
        return self._context.export_keying_material(length, label, context)

    def measure_path(self, **counters: int) -> PathStats:
        """Give what recovery knows about the path; the datagram counters are the caller's."""
        return PathStats(
            **counters,
            lost_packets=self.recovery.lost_packets,
            lost_bytes=self.recovery.lost_bytes,
            rtt=self.recovery.rtt,
            cwnd=self.recovery.congestion_window,
            congestion_events=self.recovery.congestion_events,
            current_mtu=self._max_datagram_size,
        )

    # -- verbs ---------------------------------------------------------------------------------

    def start_server(self, remote: NetworkAddress, validated: bool) -> None:
        """Say where the first datagram came from, and whether a Retry has proven the address."""
        self._network_paths = [QuicNetworkPath(remote, is_validated=validated)]

    def take(self, data: bytes, addr: NetworkAddress, now: float) -> bool:
        """Take a datagram. False when nothing in it authenticated."""
        before = self.authenticated
        try:
            self.receive_datagram(data, addr, now)
        except ENGINE_ERRORS:
            self._on_bug("receive")
        return self.authenticated > before

    def produce(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        """Give datagrams to send."""
        if self._packet_number >= self._skip_at:
            self._skip_packet_number()
        try:
            return self.datagrams_to_send(now)
        except ENGINE_ERRORS:
            self._on_bug("send")
            self._close_end()
            return []

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.is_terminated or self._close_at is None:
            return
        self.get_timer()  # computes what handle_timer compares with
        self.handle_timer(now)

    def drain(self) -> list[aioquic_events.QuicEvent]:
        """Give and forget aioquic's own events."""
        events = list(self._events)
        self._events.clear()
        return events

    def request_ping(self) -> None:
        """Send a PING soon."""
        if not self._ping_pending:
            self._ping_pending.append(0)

    def update_keys(self) -> None:
        """Start a key update (RFC 9001 section 6)."""
        self.request_key_update()

    def _skip_packet_number(self) -> None:
        """Leave a number out: who acknowledges it lies (RFC 9000 section 21.4)."""
        self._packet_number += 1
        step = max(self._packet_number, _FIRST_SKIP)
        self._skip_at = self._packet_number + step + int.from_bytes(self._shared.rng(4)) % step

    def _on_bug(self, doing: str) -> None:
        logger.debug("aioquic failed to %s", doing, exc_info=True)
        self._shared.dropped["internal error"] += 1
        self.close(QuicErrorCode.INTERNAL_ERROR, NO_FRAME, "internal error")

    # -- handshake -----------------------------------------------------------------------------

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls = self._context = RawKeyContext(
            is_client=self._is_client,
            secret_key=self._shared.secret_key,
            alpns=self._alpns,
            transport_parameters=self._serialize_transport_parameters(),
            expected_peer=self._expected_peer,
            logger=QUIET,
        )
        self.tls.alpn_cb = self._alpn_handler
        self.tls.update_traffic_key_cb = self._update_traffic_key
        streams: Any = {epoch: crypto_stream() for epoch in self._crypto_streams}
        self._crypto_streams = streams

    def _serialize_transport_parameters(self) -> bytes:
        ids = params.ConnectionIds(initial_source=self._local_initial_source_connection_id)
        if not self._is_client:
            ids = params.ConnectionIds(
                initial_source=self._local_initial_source_connection_id,
                original_destination=self._original_destination_connection_id,
                retry_source=self._retry_source_connection_id,
                reset_token=self._host_cids[0].stateless_reset_token,
            )
        return params.encode(self._transport, ids)

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        try:
            exponent = params.check(data)
        except ValueError as error:
            raise QuicConnectionError(
                error_code=QuicErrorCode.TRANSPORT_PARAMETER_ERROR,
                frame_type=QuicFrameType.CRYPTO,
                reason_phrase=str(error),
            ) from error
        super()._parse_transport_parameters(data, from_session_ticket)
        self._remote_ack_delay_exponent = exponent  # aioquic forgets to

    def _handle_crypto_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        self._context.epoch = context.epoch
        super()._handle_crypto_frame(context, frame_type, buf)

    def _payload_received(
        self, context: QuicReceiveContext, plain: bytes, crypto_frame_required: bool = False
    ) -> tuple[bool, bool]:
        self.authenticated += 1
        if context.epoch != tls.Epoch.INITIAL:  # Initial keys are known to everybody
            self.handshake_proven = True
        return super()._payload_received(context, plain, crypto_frame_required)

    def _receive_version_negotiation_packet(self, header: QuicHeader, now: float) -> None:
        if (
            self._is_client
            and self._state == QuicConnectionState.FIRSTFLIGHT
            and header.source_cid == self._peer_cid.cid
            and self._version not in header.supported_versions
        ):
            self.signals.close(VersionMismatch())
            self._close_end()

    def _idle_timeout(self) -> float:
        idle = self._configuration.idle_timeout
        if self._remote_max_idle_timeout:  # 0 means none (RFC 9000 section 18.2)
            idle = min(idle, self._remote_max_idle_timeout)
        return max(idle, 3 * self._loss.get_probe_timeout())

    # -- connection ids ------------------------------------------------------------------------

    def _replenish_connection_ids(self) -> None:
        limit = min(self._remote_active_connection_id_limit, params.ACTIVE_CONNECTION_ID_LIMIT)
        while len(self._host_cids) < limit:
            cid = self._shared.new_cid()
            token = self._shared.reset_token(cid)
            self._host_cids.append(QuicConnectionId(cid, self._host_cid_seq, token))
            self._shared.routes.add(cid, self._owner)
            self._host_cid_seq += 1

    def _handle_retire_connection_id_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        before = {connection_id.cid for connection_id in self._host_cids}
        super()._handle_retire_connection_id_frame(context, frame_type, buf)
        self._retired.extend(before - {connection_id.cid for connection_id in self._host_cids})
        while len(self._retired) > MAX_RETIRED:
            self._shared.routes.drop(self._retired.popleft())

    def _consume_peer_cid(self) -> None:
        if not self._peer_cid_available:
            # aioquic would pop from an empty list: the peer retired the id in use with a frame
            # that repeats an id we have already.
            raise QuicConnectionError(
                error_code=QuicErrorCode.PROTOCOL_VIOLATION,
                frame_type=QuicFrameType.NEW_CONNECTION_ID,
                reason_phrase="no connection ID is left",
            )
        super()._consume_peer_cid()

    # -- the end -------------------------------------------------------------------------------

    def close_application(self, code: int, reason: bytes) -> None:
        """Close as the application asked."""
        super().close(error_code=code, frame_type=None, reason_phrase=OpaqueText(reason))

    def close(
        self, error_code: int = 0, frame_type: int | None = None, reason_phrase: str = ""
    ) -> None:
        """Close because the peer broke the protocol: aioquic calls this."""
        self.signals.close(TransportError(int(error_code), reason_phrase))
        # Without a frame type aioquic would send an application close.
        super().close(error_code, NO_FRAME if frame_type is None else frame_type, reason_phrase)

    def on_stateless_reset(self, now: float) -> None:
        """The peer has lost our state (RFC 9000 section 10.3): drain."""
        if self._state not in END_STATES:
            self.signals.close(Reset())
            self._close_event = aioquic_events.ConnectionTerminated(0, NO_FRAME, "stateless reset")
            self._close_begin(is_initiator=False, now=now)

    def _close_end(self) -> None:
        event = self._close_event
        if event is None or event.error_code != QuicErrorCode.NO_VIABLE_PATH:
            self.signals.close(TimedOut())
        else:
            self.signals.close(TransportError(int(event.error_code), event.reason_phrase))
        super()._close_end()

    def _handle_connection_close_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        code = buf.pull_uint_var()
        is_application = frame_type == QuicFrameType.APPLICATION_CLOSE
        cause = None if is_application else buf.pull_uint_var()
        reason = buf.pull_bytes(buf.pull_uint_var())
        if self._close_event is not None:
            return
        if is_application:
            self.signals.close(ApplicationClosed(code, reason))
        else:
            self.signals.close(ConnectionClosed(code, reason, cause))
        self._close_event = aioquic_events.ConnectionTerminated(code, cause, OpaqueText(reason))
        self._close_begin(is_initiator=False, now=context.time)

    def _write_connection_close_frame(
        self,
        builder: QuicPacketBuilder,
        epoch: tls.Epoch,
        error_code: int,
        frame_type: int | None,
        reason_phrase: str,
    ) -> None:
        room = builder.remaining_buffer_space - CLOSE_OVERHEAD
        reason = reason_phrase.encode("utf-8")[: max(0, room)]
        super()._write_connection_close_frame(
            builder, epoch, error_code, frame_type, OpaqueText(reason)
        )
