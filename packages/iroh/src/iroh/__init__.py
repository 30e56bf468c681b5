"""Dial any machine by its public key.

    import asyncio
    from iroh import Endpoint, presets

    async def main():
        async with Endpoint.bind(presets.N0, alpns=[b"my/protocol/1"]) as endpoint:
            conn = await endpoint.connect(peer_id, b"my/protocol/1")
            send, recv = await conn.open_bi()
            await send.write_all(b"hello")
            await send.finish()
            print(await recv.read_to_end(1000))

Endpoint        an identity that dials and accepts       Connection  streams and datagrams
Router          serves protocols by ALPN                 presets     bundles of settings
address_lookup  how peers are found                      protocols   echo, as an example
"""

from iroh import presets
from iroh.ca_tls import CaTlsConfig
from iroh.connection import (
    Closed,
    Connection,
    ConnectionStats,
    Side,
)
from iroh.endpoint import Endpoint
from iroh.errors import (
    BindError,
    ConnectError,
    ConnectionLostError,
    ConnectionTimedOutError,
    ConnectTimeoutError,
    DatagramError,
    EndpointClosedError,
    FinishedEarlyError,
    LookupFailedError,
    ReadTooLongError,
    StreamError,
    StreamResetError,
    StreamStoppedError,
)
from iroh.incoming import Accepting, Connecting, Incoming, IncomingAddr, IncomingLocalAddr
from iroh.magicsock.selector import (
    AddrKind,
    BiasedRttPathSelector,
    PathCandidate,
    PathSelectionContext,
    PathSelector,
    Tier,
    TransportBias,
    Way,
)
from iroh.magicsock.transports.custom import CustomTransport, Deliver
from iroh.metrics import CounterStats
from iroh.net_report import NetReportConfig, Probe, Report
from iroh.options import BindOpts, EndpointBuilder, EndpointOptions, Preset
from iroh.paths import PathEvent, PathSnapshot, PathStatsRecord
from iroh.presets import preset_minimal, preset_n0, preset_n0_disable_relay
from iroh.quic.config import AckFrequencyConfig, TransportConfig
from iroh.relay_mode import RelayMode
from iroh.remote_info import RemoteInfo, TransportAddrInfo, TransportAddrUsage
from iroh.resolver import DnsResolver
from iroh.router import ProtocolCreator, ProtocolHandler, Router
from iroh.streams import BiStream, RecvStream, SendStream
from iroh.watchers import (
    AddrChangeCallback,
    CallbackError,
    HomeRelayCallback,
    NetworkChangeCallback,
    PathChangeCallback,
    PathEventCallback,
    WatchHandle,
)
from iroh_base import (
    AddrFilter,
    CustomAddr,
    EndpointAddr,
    EndpointId,
    EndpointTicket,
    IrohError,
    IrohErrorKind,
    PublicKey,
    RelayUrl,
    SecretKey,
    Signature,
    SocketAddr,
)
from iroh_relay.relay_map import RelayConfig, RelayMap

__version__ = "0.1.0"

__all__ = [
    "Accepting",
    "AckFrequencyConfig",
    "AddrChangeCallback",
    "AddrFilter",
    "AddrKind",
    "BiStream",
    "BiasedRttPathSelector",
    "BindError",
    "BindOpts",
    "CaTlsConfig",
    "CallbackError",
    "Closed",
    "ConnectError",
    "ConnectTimeoutError",
    "Connecting",
    "Connection",
    "ConnectionLostError",
    "ConnectionStats",
    "ConnectionTimedOutError",
    "CounterStats",
    "CustomAddr",
    "CustomTransport",
    "DatagramError",
    "Deliver",
    "DnsResolver",
    "Endpoint",
    "EndpointAddr",
    "EndpointBuilder",
    "EndpointClosedError",
    "EndpointId",
    "EndpointOptions",
    "EndpointTicket",
    "FinishedEarlyError",
    "HomeRelayCallback",
    "Incoming",
    "IncomingAddr",
    "IncomingLocalAddr",
    "IrohError",
    "IrohErrorKind",
    "LookupFailedError",
    "NetReportConfig",
    "NetworkChangeCallback",
    "PathCandidate",
    "PathChangeCallback",
    "PathEvent",
    "PathEventCallback",
    "PathSelectionContext",
    "PathSelector",
    "PathSnapshot",
    "PathStatsRecord",
    "Preset",
    "Probe",
    "ProtocolCreator",
    "ProtocolHandler",
    "PublicKey",
    "ReadTooLongError",
    "RecvStream",
    "RelayConfig",
    "RelayMap",
    "RelayMode",
    "RelayUrl",
    "RemoteInfo",
    "Report",
    "Router",
    "SecretKey",
    "SendStream",
    "Side",
    "Signature",
    "SocketAddr",
    "StreamError",
    "StreamResetError",
    "StreamStoppedError",
    "Tier",
    "TransportAddrInfo",
    "TransportAddrUsage",
    "TransportBias",
    "TransportConfig",
    "WatchHandle",
    "Way",
    "preset_minimal",
    "preset_n0",
    "preset_n0_disable_relay",
    "presets",
]


def __getattr__(name: str) -> object:
    """Import `iroh.iroh_ffi` when a program written for the bindings first asks for it."""
    if name == "iroh_ffi":
        import importlib

        return importlib.import_module("iroh.iroh_ffi")
    raise AttributeError(f"module 'iroh' has no attribute {name!r}")
