"""The messages between a client and its relay after the handshake. See `types` for the framing."""

from .control import EndpointGone, Health, Ping, Pong, Restarting, Status
from .datagrams import (
    MAX_BATCH_CONTENTS,
    MAX_SINGLE_CONTENTS,
    ClientToRelayDatagrams,
    Datagrams,
    RelayToClientDatagrams,
    encode_datagrams,
    read_datagrams,
)
from .decode import (
    ClientToRelayFrame,
    RelayToClientFrame,
    decode_client_to_relay,
    decode_relay_to_client,
)
from .types import (
    ID_LEN,
    MAX_FRAME_SIZE,
    MAX_PACKET_SIZE,
    Buffer,
    frame_name,
    minimal,
    split_frame,
)

__all__ = [
    "ID_LEN",
    "MAX_BATCH_CONTENTS",
    "MAX_FRAME_SIZE",
    "MAX_PACKET_SIZE",
    "MAX_SINGLE_CONTENTS",
    "Buffer",
    "ClientToRelayDatagrams",
    "ClientToRelayFrame",
    "Datagrams",
    "EndpointGone",
    "Health",
    "Ping",
    "Pong",
    "RelayToClientDatagrams",
    "RelayToClientFrame",
    "Restarting",
    "Status",
    "decode_client_to_relay",
    "decode_relay_to_client",
    "encode_datagrams",
    "frame_name",
    "minimal",
    "read_datagrams",
    "split_frame",
]
