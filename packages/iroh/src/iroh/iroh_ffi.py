"""The bindings' module name, for programs that import it: everything is in `iroh`.

Beside that the twins that the bindings generate for typing, `EndpointProtocol` for `Endpoint` and
`PresetImpl` for `Preset` and so on: here they are the classes themselves.
"""

from asyncio import AbstractEventLoop

from iroh import public
from iroh.public import *  # noqa: F403

AcceptingProtocol = public.Accepting
BiStreamProtocol = public.BiStream
ConnectingProtocol = public.Connecting
ConnectionProtocol = public.Connection
EndpointProtocol = public.Endpoint
EndpointAddrProtocol = public.EndpointAddr
EndpointBuilderProtocol = public.EndpointBuilder
EndpointIdProtocol = public.EndpointId
EndpointTicketProtocol = public.EndpointTicket
IncomingProtocol = public.Incoming
IrohErrorProtocol = public.IrohError
RecvStreamProtocol = public.RecvStream
RelayMapProtocol = public.RelayMap
RelayModeProtocol = public.RelayMode
SecretKeyProtocol = public.SecretKey
SendStreamProtocol = public.SendStream
ServicesClientProtocol = public.ServicesClient
SignatureProtocol = public.Signature
WatchHandleProtocol = public.WatchHandle
AddrChangeCallbackImpl = public.AddrChangeCallback
HomeRelayCallbackImpl = public.HomeRelayCallback
NetworkChangeCallbackImpl = public.NetworkChangeCallback
PathChangeCallbackImpl = public.PathChangeCallback
PathEventCallbackImpl = public.PathEventCallback
PresetImpl = public.Preset
ProtocolCreatorImpl = public.ProtocolCreator
ProtocolHandlerImpl = public.ProtocolHandler

# Only `from iroh import *` leaves the bindings' names for type checkers out.
__all__ = [
    "AcceptingProtocol",
    "AddrChangeCallbackImpl",
    "BiStreamProtocol",
    "ConnectingProtocol",
    "ConnectionProtocol",
    "EndpointAddrProtocol",
    "EndpointBuilderProtocol",
    "EndpointIdProtocol",
    "EndpointProtocol",
    "EndpointTicketProtocol",
    "HomeRelayCallbackImpl",
    "IncomingProtocol",
    "IrohErrorProtocol",
    "NetworkChangeCallbackImpl",
    "PathChangeCallbackImpl",
    "PathEventCallbackImpl",
    "PresetImpl",
    "ProtocolCreatorImpl",
    "ProtocolHandlerImpl",
    "RecvStreamProtocol",
    "RelayMapProtocol",
    "RelayModeProtocol",
    "SecretKeyProtocol",
    "SendStreamProtocol",
    "ServicesClientProtocol",
    "SignatureProtocol",
    "WatchHandleProtocol",
]
__all__ += public.__all__


def uniffi_set_event_loop(eventloop: AbstractEventLoop) -> None:
    """Do nothing: each endpoint uses the loop it was bound on."""
