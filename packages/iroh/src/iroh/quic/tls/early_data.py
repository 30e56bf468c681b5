"""What 0-RTT may rely on: the server's limits, remembered from an earlier connection.

The client sends within the remembered limits, so a server that takes early data must not have
lowered them (RFC 9000 section 7.4.1), nor changed what the extensions fixed.
"""

from typing import Final

from iroh.quic.errors import PeerError
from iroh.quic.params import TransportParameters

# noq TransportParameters::validate_resumption_from
_MUST_NOT_SHRINK: Final = (
    "active_connection_id_limit",
    "initial_max_data",
    "initial_max_stream_data_bidi_local",
    "initial_max_stream_data_bidi_remote",
    "initial_max_stream_data_uni",
    "initial_max_streams_bidi",
    "initial_max_streams_uni",
    "max_datagram_frame_size",
    "grease_quic_bit",
)
_MUST_NOT_CHANGE: Final = ("observed_address_role", "max_nat_traversal_addresses")


def limits_shrank(remembered: bytes, present: bytes) -> bool:
    """Whether a server's parameters do not allow what it once allowed. Raises nothing.

    Parameters that cannot be decoded count as shrunk: nothing can be relied on.
    """
    try:
        old = TransportParameters.decode(remembered, from_client=False)
        new = TransportParameters.decode(present, from_client=False)
    except PeerError:
        return True
    return any(getattr(new, name) < getattr(old, name) for name in _MUST_NOT_SHRINK) or any(
        getattr(new, name) != getattr(old, name) for name in _MUST_NOT_CHANGE
    )
