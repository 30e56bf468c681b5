"""The relay protocol without any input or output: frames, handshake, versions, pings.

Nothing in here imports an event loop, a socket or a clock. Both the client and the server of
this package, and programs that embed neither, stand on it.
"""

from .errors import (
    AuthDeniedError,
    ClientAuthHeaderError,
    FrameError,
    FrameTooLargeError,
    HandshakeError,
    RelayProtocolError,
    UnknownFrameError,
)
from .frames import (
    MAX_BATCH_CONTENTS,
    MAX_FRAME_SIZE,
    MAX_PACKET_SIZE,
    MAX_SINGLE_CONTENTS,
    ClientToRelayDatagrams,
    ClientToRelayFrame,
    Datagrams,
    EndpointGone,
    Health,
    Ping,
    Pong,
    RelayToClientDatagrams,
    RelayToClientFrame,
    Restarting,
    Status,
    decode_client_to_relay,
    decode_relay_to_client,
    encode_datagrams,
    read_datagrams,
)
from .handshake import ClientHandshake, HandshakeState, Mechanism, ServerHandshake
from .keying import Exporter, KeyMaterialClientAuth
from .ping import PingTracker
from .versions import SUPPORTED_VERSIONS, ProtocolVersion, negotiate, offer

__all__ = [
    "MAX_BATCH_CONTENTS",
    "MAX_FRAME_SIZE",
    "MAX_PACKET_SIZE",
    "MAX_SINGLE_CONTENTS",
    "SUPPORTED_VERSIONS",
    "AuthDeniedError",
    "ClientAuthHeaderError",
    "ClientHandshake",
    "ClientToRelayDatagrams",
    "ClientToRelayFrame",
    "Datagrams",
    "EndpointGone",
    "Exporter",
    "FrameError",
    "FrameTooLargeError",
    "HandshakeError",
    "HandshakeState",
    "Health",
    "KeyMaterialClientAuth",
    "Mechanism",
    "Ping",
    "PingTracker",
    "Pong",
    "ProtocolVersion",
    "RelayProtocolError",
    "RelayToClientDatagrams",
    "RelayToClientFrame",
    "Restarting",
    "ServerHandshake",
    "Status",
    "UnknownFrameError",
    "decode_client_to_relay",
    "decode_relay_to_client",
    "encode_datagrams",
    "negotiate",
    "offer",
    "read_datagrams",
]
