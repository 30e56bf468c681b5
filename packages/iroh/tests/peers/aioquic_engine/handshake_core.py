"""aioquic's connection with iroh's handshake and connection ids.

- TLS is `RawKeyContext`; transport parameters are `params`.
- Connection ids and reset tokens come from `Shared`, so an endpoint can route and reset.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    QuicConnectionError,
    QuicConnectionId,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicHeader, QuicProtocolVersion

from aioquic_engine import params
from aioquic_engine.log import QUIET
from aioquic_engine.raw_keys import RawKeyCertificate, RawKeyContext, RawKeySigner
from aioquic_engine.shared import CONNECTION_ID_LENGTH, Shared
from aioquic_engine.signals import Signals
from aioquic_engine.stream_core import StreamCore
from aioquic_engine.streams import crypto_stream
from iroh.quic.config import TransportConfig
from iroh.quic.errors import VersionMismatch

MAX_DATAGRAM_SIZE = 1200
"""UDP payload sent: what every QUIC path carries (RFC 9000 section 14), relays included."""
INITIAL_DESTINATION_LENGTH = 20
"""Bytes of a client's first destination id, as the Rust peer has it."""
MAX_RETIRED = 32
"""Retired ids that still lead here, so that late packets are not answered with a reset."""
FOREVER = 1e9
"""Seconds that stand for no idle timeout at all."""


class HandshakeCore(StreamCore):
    """The handshake and the ids of one connection.

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
        configuration = QuicConfiguration(
            certificate=RawKeyCertificate(shared.secret_key),
            connection_id_length=CONNECTION_ID_LENGTH,
            idle_timeout=transport.max_idle_timeout or FOREVER,
            initial_rtt=transport.initial_rtt,
            is_client=peer is not None,
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
        self._local_active_connection_id_limit = params.ACTIVE_CONNECTION_ID_LIMIT
        self._owner = owner
        self._retired: deque[bytes] = deque()
        self._shared = shared
        self._use_own_ids()

    @property
    def peer_key(self) -> bytes | None:
        """The peer's proven key."""
        return self._context.peer_key

    @property
    def peer_reset_token(self) -> bytes:
        """The token with which the peer would reset this connection, b"" for none."""
        return self._peer_cid.stateless_reset_token or b""

    @property
    def retries(self) -> int:
        """How many Retry packets a client has followed."""
        return self._retry_count

    def export(self, length: int, label: bytes, context: bytes) -> bytes:
        """Derive exporter bytes; the handshake is complete. Raises ValueError."""
        return self._context.export_keying_material(length, label, context)

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

    def _use_own_ids(self) -> None:
        cid = self._shared.new_cid()
        token: Any = None if self._is_client else self._shared.reset_token(cid)
        self._host_cids = [QuicConnectionId(cid, 0, token, was_sent=True)]
        self.host_cid = self._local_initial_source_connection_id = cid
        self._shared.routes.add(cid, self._owner)
        if self._is_client:
            self._peer_cid.cid = self._shared.rng(INITIAL_DESTINATION_LENGTH)
            self._original_destination_connection_id = self._peer_cid.cid

    def leave_first_peer_cid(self) -> None:
        """Leave a client's first id, which has no reset token, for one that has (as noq does)."""
        if not self.peer_reset_token and self._handshake_complete and self._peer_cid_available:
            self.change_connection_id()
