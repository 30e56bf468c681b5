"""The bindings' module name, for programs that import it: everything is in `iroh`.

Beside that the twins that the bindings generate for typing, `EndpointProtocol` for `Endpoint` and
`PresetImpl` for `Preset` and so on: here they are the classes themselves.
"""

from asyncio import AbstractEventLoop

import iroh
from iroh import *  # noqa: F403

_OBJECTS = (
    *("Accepting", "BiStream", "Connecting", "Connection", "Endpoint", "EndpointAddr"),
    *("EndpointBuilder", "EndpointId", "EndpointTicket", "Incoming", "IrohError", "RecvStream"),
    *("RelayMap", "RelayMode", "SecretKey", "SendStream", "Signature", "WatchHandle"),
)
_CALLBACKS = (
    *("AddrChangeCallback", "HomeRelayCallback", "NetworkChangeCallback"),
    *("PathChangeCallback", "PathEventCallback"),
    *("Preset", "ProtocolCreator", "ProtocolHandler"),
)
_TWINS = {
    **{f"{name}Protocol": getattr(iroh, name) for name in _OBJECTS},
    **{f"{name}Impl": getattr(iroh, name) for name in _CALLBACKS},
}
globals().update(_TWINS)

__all__ = [*iroh.__all__, *_TWINS]


def uniffi_set_event_loop(eventloop: AbstractEventLoop) -> None:
    """Do nothing: each endpoint uses the loop it was bound on."""
