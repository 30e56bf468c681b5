"""The transport parameters we send, and what we make of the peer's (spec/quic.md section 2)."""

from iroh.quic.config import TransportConfig
from iroh.quic.errors import TRANSPORT_PARAMETER_ERROR, PeerError
from iroh.quic.params import (
    RECEIVE_ONLY,
    SEND_AND_RECEIVE,
    SEND_ONLY,
    TransportParameters,
)

MAX_UDP_PAYLOAD = 1472  # noq `EndpointConfig::max_udp_payload_size`; seen of Rust iroh
ACTIVE_CID_LIMIT = 5  # noq CidQueue::LEN
MAX_DATAGRAM_FRAME = 65_535  # noq `datagram_receive_buffer_size` saturates it
MIN_ACK_DELAY_US = 1000  # noq TIMER_GRANULARITY
MAX_ACK_DELAY = 0.025  # RFC 9000 section 18.2: the default, which is not sent


def own_params(config: TransportConfig, source_cid: bytes) -> TransportParameters:
    """Return what both sides of an iroh connection send."""
    return TransportParameters(
        max_idle_timeout=round((config.max_idle_timeout or 0) * 1000),
        max_udp_payload_size=max(MAX_UDP_PAYLOAD, config.mtu_upper_bound),
        initial_max_data=config.receive_window,
        initial_max_stream_data_bidi_local=config.stream_receive_window,
        initial_max_stream_data_bidi_remote=config.stream_receive_window,
        initial_max_stream_data_uni=config.stream_receive_window,
        initial_max_streams_bidi=config.max_concurrent_bidi_streams,
        initial_max_streams_uni=config.max_concurrent_uni_streams,
        active_connection_id_limit=ACTIVE_CID_LIMIT,
        initial_source_connection_id=source_cid,
        max_datagram_frame_size=MAX_DATAGRAM_FRAME if config.datagram_receive_buffer_size else 0,
        initial_max_path_id=config.max_concurrent_multipath_paths - 1,
        max_nat_traversal_addresses=config.max_remote_nat_traversal_addresses,
        min_ack_delay=MIN_ACK_DELAY_US,
        observed_address_role=_observed_role(
            config.send_observed_address_reports, config.receive_observed_address_reports
        ),
    )


def _observed_role(sends: bool, receives: bool) -> int | None:
    """What we say of address reports; None, for neither, is the absence of the parameter."""
    if sends:
        return SEND_AND_RECEIVE if receives else SEND_ONLY
    return RECEIVE_ONLY if receives else None


def web_params(config: TransportConfig, source_cid: bytes) -> TransportParameters:
    """Return what we send to a server that tells us our address (iroh-relay `quic.rs`).

    It has nothing to send but that: no streams, no datagrams, and so no windows.
    """
    return TransportParameters(
        max_idle_timeout=round((config.max_idle_timeout or 0) * 1000),
        max_udp_payload_size=MAX_UDP_PAYLOAD,
        active_connection_id_limit=ACTIVE_CID_LIMIT,
        initial_source_connection_id=source_cid,
        min_ack_delay=MIN_ACK_DELAY_US,
        observed_address_role=RECEIVE_ONLY,
    )


def observed_roles(ours: TransportParameters, theirs: TransportParameters) -> tuple[bool, bool]:
    """Whether we report the peer's address to it, and whether it reports ours to us."""
    mine, others = ours.observed_address_role, theirs.observed_address_role
    if mine is None or others is None:
        return False, False
    return (
        mine != RECEIVE_ONLY and others != SEND_ONLY,
        mine != SEND_ONLY and others != RECEIVE_ONLY,
    )


def check_cids(
    params: TransportParameters,
    *,
    peer_source: bytes,
    original_destination: bytes | None,
    retry_source: bytes | None,
) -> None:
    """Check that nobody changed ids on the way (RFC 9000 section 7.3). Raises PeerError.

    original_destination: what the client sent its first Initial to; None on the server, which
    is not told. retry_source: the id of the Retry the client got, None for none.
    """
    mismatch = params.initial_source_connection_id != peer_source
    if original_destination is not None:
        mismatch = (
            mismatch
            or params.original_destination_connection_id != original_destination
            or params.retry_source_connection_id != retry_source
        )
    if mismatch:
        raise PeerError(TRANSPORT_PARAMETER_ERROR, "CID authentication failure")


def idle_timeout(ours: float | None, theirs_ms: int) -> float | None:
    """The connection's idle timeout, seconds: the smaller one that is not 0 (RFC 9000 10.1)."""
    theirs = theirs_ms / 1000
    if not ours or not theirs:
        return ours or theirs or None
    return min(ours, theirs)
