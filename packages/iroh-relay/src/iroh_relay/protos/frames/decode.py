"""Which frames a side may receive after the handshake, and how each is read.

Anything else is an error that ends the connection: frames of the other direction, handshake
frames, frames of the other protocol version, unknown types. There is no skipping.

    type                          at the relay     at a client of v1   at a client of v2
    0-3  handshake                no               no                  no
    4,5  ClientToRelayDatagram*   yes              no                  no
    6,7  RelayToClientDatagram*   no               yes                 yes
    8    EndpointGone             no               yes                 yes
    9,10 Ping, Pong               yes              yes                 yes
    11   Health                   no               yes                 no
    12   Restarting               no               yes                 yes
    13   Status                   no               no                  yes

Source: iroh-relay `protos/relay.rs` (`ClientToRelayMsg::from_bytes`,
`RelayToClientMsg::from_bytes`).
"""

from collections.abc import Callable
from typing import Final

from ..errors import FrameError
from ..versions import ProtocolVersion
from .control import EndpointGone, Health, Ping, Pong, Restarting, Status
from .datagrams import ClientToRelayDatagrams, RelayToClientDatagrams
from .types import (
    CLIENT_TO_RELAY_DATAGRAM,
    CLIENT_TO_RELAY_DATAGRAM_BATCH,
    ENDPOINT_GONE,
    HEALTH,
    PING,
    PONG,
    RELAY_TO_CLIENT_DATAGRAM,
    RELAY_TO_CLIENT_DATAGRAM_BATCH,
    RESTARTING,
    STATUS,
    Buffer,
    frame_name,
    split_frame,
)

__all__ = [
    "ClientToRelayFrame",
    "RelayToClientFrame",
    "decode_client_to_relay",
    "decode_relay_to_client",
]

ClientToRelayFrame = ClientToRelayDatagrams | Ping | Pong
RelayToClientFrame = (
    RelayToClientDatagrams | EndpointGone | Ping | Pong | Health | Restarting | Status
)

_TO_RELAY: Final[dict[int, Callable[[Buffer], Ping | Pong]]] = {
    PING: Ping.decode,
    PONG: Pong.decode,
}
_TO_CLIENT: Final[dict[int, Callable[[Buffer], RelayToClientFrame]]] = {
    ENDPOINT_GONE: EndpointGone.decode,
    PING: Ping.decode,
    PONG: Pong.decode,
    HEALTH: Health.decode,
    RESTARTING: Restarting.decode,
    STATUS: Status.decode,
}
_ONLY_IN: Final = {HEALTH: ProtocolVersion.V1, STATUS: ProtocolVersion.V2}


def decode_client_to_relay(frame: Buffer) -> ClientToRelayFrame:
    """Read a frame as the relay. Raises `FrameError` for anything that must end the connection."""
    frame_type, payload = split_frame(frame)
    if frame_type in (CLIENT_TO_RELAY_DATAGRAM, CLIENT_TO_RELAY_DATAGRAM_BATCH):
        return ClientToRelayDatagrams.decode(frame)
    known = _TO_RELAY.get(frame_type)
    if known is None:
        raise FrameError(f"a client must not send {frame_name(frame_type)}")
    return known(payload)


def decode_relay_to_client(frame: Buffer, version: ProtocolVersion) -> RelayToClientFrame:
    """Read a frame as a client of `version`.

    Raises `FrameError` for anything that must end the connection.
    """
    frame_type, payload = split_frame(frame)
    if frame_type in (RELAY_TO_CLIENT_DATAGRAM, RELAY_TO_CLIENT_DATAGRAM_BATCH):
        return RelayToClientDatagrams.decode(frame)
    known = _TO_CLIENT.get(frame_type)
    if known is None:
        raise FrameError(f"a relay must not send {frame_name(frame_type)}")
    if _ONLY_IN.get(frame_type, version) is not version:
        raise FrameError(f"{frame_name(frame_type)} is not allowed in {version.subprotocol}")
    return known(payload)
