"""From the first packet to a confirmed handshake: keys, transport parameters, completion.

TLS gives             we do
--------------------- ------------------------------------------------------------------
secrets               protect and open packets of their level
CRYPTO bytes          queue them in their level
the peer's parameters check ids, set limits
complete              server: confirmed, sends HANDSHAKE_DONE; both: Connected, multipath on
HANDSHAKE_DONE        client: confirmed
confirmed             Handshake keys and space are dropped (RFC 9001 section 4.9.2); connection ids
                      are issued
"""

from typing import TYPE_CHECKING, Any

from iroh.quic import stage
from iroh.quic.errors import PeerError
from iroh.quic.events import Connected, HandshakeDataReady
from iroh.quic.frames import HANDSHAKE, INITIAL, ONE_RTT, ZERO_RTT, HandshakeDone
from iroh.quic.key_phase import DataKeys
from iroh.quic.keys import initial_keys
from iroh.quic.own_params import (
    check_cids,
    idle_timeout,
    observed_roles,
)
from iroh.quic.params import TransportParameters

if TYPE_CHECKING:
    from iroh.quic.parts import Parts


class Establisher:
    """Moves the handshake of one connection forward. It is the owner of HANDSHAKE_DONE."""

    def __init__(self, parts: "Parts") -> None:
        self._p = parts
        self._alpn_told = False
        self._data_secrets: dict[bool, tuple[int, bytes]] = {}
        self.done_pending: bool = False
        """HANDSHAKE_DONE waits to be sent (server)."""

    def start(self, dcid: bytes) -> None:
        """Make the Initial keys from the id that the client's first packet goes to."""
        level = self._p.levels[INITIAL]
        is_client = self._p.is_client
        level.send_keys = initial_keys(dcid, is_client)
        level.recv_keys = initial_keys(dcid, not is_client)

    def on_crypto(self, epoch: int, offset: int, data: bytes, now: float) -> None:
        """Take a CRYPTO frame. Raises PeerError."""
        stream = self._p.crypto(epoch)
        fresh = stream.receive(offset, data)
        if fresh:
            try:
                self._p.tls.receive(epoch, fresh, now)
            finally:
                self.pump(now)

    def pump(self, now: float) -> None:
        """Take what TLS has for us. Raises PeerError."""
        p, tls = self._p, self._p.tls
        for epoch, is_send, suite, secret in tls.take_keys():
            self._set_secret(epoch, is_send, suite, secret)
        if p.early.keys is not None and p.peer_params is None and p.is_client:
            remembered = p.early.remembered()
            if remembered is not None:
                self._set_limits(remembered)
        for epoch in (INITIAL, HANDSHAKE, ONE_RTT):
            data = tls.take(epoch)
            if data:
                p.crypto(epoch).write(data)
        if p.peer_params is None and tls.peer_params is not None:
            p.early.decide()
            self._set_params(
                TransportParameters.decode(tls.peer_params, from_client=not p.is_client)
            )
        if not self._alpn_told and tls.alpn is not None:
            self._alpn_told = True
            p.alpn = tls.alpn
            if p.qlog is not None:
                p.qlog.alpn(tls.alpn)
            p.events.append(HandshakeDataReady(tls.alpn))
        if p.stage == stage.HANDSHAKING and tls.complete and p.keys is not None:
            self._complete(now)

    def _set_secret(self, epoch: int, is_send: bool, suite: int, secret: bytes) -> None:
        if epoch == HANDSHAKE:
            level = self._p.levels[HANDSHAKE]
            (level.set_send if is_send else level.set_recv)(suite, secret)
        elif epoch == ZERO_RTT:
            self._p.early.set_secret(suite, secret)
        elif self._p.keys is None:
            self._data_secrets[is_send] = (suite, secret)
            following = self._p.tls.following_secret()
            if following is not None and self._p.tls.early_data_accepted:
                self._data_secrets[False] = (suite, following)  # to answer early data at once
            if len(self._data_secrets) == 2:
                suite, send = self._data_secrets[True]
                keys = self._p.keys = DataKeys(suite, send, self._data_secrets[False][1])
                self._data_secrets.clear()
                if self._p.config.allow_spin:
                    keys.begin_spin(self._p.is_client, self._p.rng(1)[0])
                if self._p.is_client:
                    self._p.early.end()
                if self._p.qlog is not None:
                    keys.on_update = self._p.qlog.key_updated

    def _set_params(self, params: TransportParameters) -> None:
        p = self._p
        check_cids(
            params,
            peer_source=p.peer_source_cid,
            original_destination=p.original_dcid if p.is_client else None,
            retry_source=p.retry_source_cid,
        )
        p.peer_params = params
        if p.qlog is not None:
            p.qlog.parameters("remote", params)
        p.idle_timeout = idle_timeout(p.config.max_idle_timeout, params.max_idle_timeout)
        p.mp.ack_frequency.set_peer_delay(params.max_ack_delay / 1000)
        p.recovery.mtud.limit(params.max_udp_payload_size)
        p.mp.local_cids.set_peer_limit(params.active_connection_id_limit)
        if params.stateless_reset_token is not None:
            p.mp.remote_cids.set_initial_token(params.stateless_reset_token)
        reports, receives = observed_roles(p.params, params)
        if reports or receives:
            p.mp.set_observed_roles(reports, receives)
        self._set_limits(params)

    def _set_limits(self, params: TransportParameters) -> None:
        """Take the limits that hold for 0-RTT too (RFC 9000 section 7.4.1)."""
        p = self._p
        p.datagrams.set_peer_limit(params.max_datagram_frame_size)
        p.streams.set_peer_params(
            params.initial_max_data,
            params.initial_max_stream_data_bidi_local,
            params.initial_max_stream_data_bidi_remote,
            params.initial_max_stream_data_uni,
            params.initial_max_streams_bidi,
            params.initial_max_streams_uni,
        )

    def _complete(self, now: float) -> None:
        p = self._p
        assert p.tls.peer is not None
        assert p.alpn is not None
        assert p.peer_params is not None
        p.stage = stage.step(p.stage, stage.COMPLETE)
        p.early.end()
        p.peer = p.tls.peer
        p.events.append(Connected(p.alpn, p.peer))
        p.paths.established = True
        offered = p.params.initial_max_path_id is not None
        if offered and p.peer_params.initial_max_path_id is not None:
            local_max = p.config.max_concurrent_multipath_paths - 1
            p.paths.enable_multipath(local_max, p.peer_params.initial_max_path_id, now)
            if p.peer_params.max_nat_traversal_addresses is not None:
                limit = p.peer_params.max_nat_traversal_addresses
                p.mp.enable_nat_traversal(limit, p.config.max_remote_nat_traversal_addresses)
        path = p.paths.get(0)
        if p.is_client and path is not None and p.mp.nat is None:
            # With n0's NAT traversal a server takes packets from everywhere (noq); without, only
            # the address of the handshake is meant (RFC 9000 section 18.2).
            p.paths.fixed = path.remote if p.peer_params.disable_active_migration else None
        if not p.is_client:
            self.done_pending = True
            if p.mp.token_giver is not None and path is not None:
                p.mp.token_giver.give(path.remote, p.config.new_tokens)
            self.confirm(now)

    def confirm(self, now: float) -> None:
        """The handshake is confirmed (RFC 9001 section 4.1.2): its keys are dropped."""
        p = self._p
        if p.confirmed:
            return
        p.confirmed = True
        p.recovery.peer_validated = True
        p.mp.migration.confirmed = True
        path = p.paths.get(0)
        if path is not None:
            path.recovery.pto_allowed = True
        if p.peer_params is not None:
            delay = p.peer_params.max_ack_delay / 1000
            p.mp.ack_frequency.begin(delay, p.peer_params.min_ack_delay)
        p.paths.confirmed = True
        p.paths.issue_cids()
        p.drop_level(INITIAL)
        p.drop_level(HANDSHAKE)

    def on_handshake_done(self, now: float) -> None:
        """Take HANDSHAKE_DONE. Raises PeerError on the server."""
        if not self._p.is_client:
            raise PeerError(0xA, "HANDSHAKE_DONE from a client", HandshakeDone.TYPES[0])
        self.confirm(now)

    # -- as the owner of HANDSHAKE_DONE ----------------------------------------------------------

    def on_acked(self, _info: Any) -> None:
        """HANDSHAKE_DONE arrived."""

    def on_lost(self, _info: Any) -> None:
        """HANDSHAKE_DONE is lost: once more."""
        self.done_pending = True
