"""The public names of `iroh`, gathered from where they are defined.

`iroh/__init__.py` imports this when the first of them is asked for: `import iroh` alone, and with
it the command line's start, costs next to nothing.
"""

from iroh import presets
from iroh.asyncio_streams import asyncio_streams
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
    HandshakePendingError,
    InternalError,
    InvalidAlpnError,
    KeyFileError,
    LocallyRejectedError,
    LookupFailedError,
    ReadTooLongError,
    StreamError,
    StreamResetError,
    StreamStoppedError,
)
from iroh.hooks import EndpointHooks, Reject
from iroh.incoming import Accepting, Connecting, Incoming, IncomingAddr, IncomingLocalAddr
from iroh.key_files import load_secret_key, save_secret_key, secret_key_from_env
from iroh.log_level import LogLevel, set_log_level
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
from iroh.metrics_server import MetricsServer, serve_metrics
from iroh.net_report import NetReportConfig, Probe, Report
from iroh.options import BindOpts, EndpointBuilder, EndpointOptions, Preset
from iroh.paths import PathEvent, PathSnapshot, PathStatsRecord
from iroh.presets import preset_minimal, preset_n0, preset_n0_disable_relay
from iroh.quic.config import AckFrequencyConfig, TransportConfig
from iroh.quic.config import TransportConfig as QuicTransportConfig
from iroh.relay_mode import RelayMode
from iroh.remote_info import RemoteInfo, TransportAddrInfo, TransportAddrUsage
from iroh.resolver import DnsResolver
from iroh.router import (
    IncomingFilterOutcome,
    ProtocolCreator,
    ProtocolHandler,
    Router,
)
from iroh.services import (
    DiagnosticsSummary,
    ServicesClient,
    ServicesError,
    ServicesOptions,
    ServicesPresetOptions,
    preset_iroh_services,
)
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
from iroh.zero_rtt import (
    IncomingZeroRttConnection,
    OutgoingZeroRttConnection,
    ZeroRttStatus,
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
    TransportAddr,
    UserData,
)
from iroh_relay.relay_map import RelayConfig, RelayMap

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
    "DiagnosticsSummary",
    "DnsResolver",
    "Endpoint",
    "EndpointAddr",
    "EndpointBuilder",
    "EndpointClosedError",
    "EndpointHooks",
    "EndpointId",
    "EndpointOptions",
    "EndpointTicket",
    "FinishedEarlyError",
    "HandshakePendingError",
    "HomeRelayCallback",
    "Incoming",
    "IncomingAddr",
    "IncomingFilterOutcome",
    "IncomingLocalAddr",
    "IncomingZeroRttConnection",
    "InternalError",
    "InvalidAlpnError",
    "IrohError",
    "IrohErrorKind",
    "KeyFileError",
    "LocallyRejectedError",
    "LogLevel",
    "LookupFailedError",
    "MetricsServer",
    "NetReportConfig",
    "NetworkChangeCallback",
    "OutgoingZeroRttConnection",
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
    "QuicTransportConfig",
    "ReadTooLongError",
    "RecvStream",
    "Reject",
    "RelayConfig",
    "RelayMap",
    "RelayMode",
    "RelayUrl",
    "RemoteInfo",
    "Report",
    "Router",
    "SecretKey",
    "SendStream",
    "ServicesClient",
    "ServicesError",
    "ServicesOptions",
    "ServicesPresetOptions",
    "Side",
    "Signature",
    "SocketAddr",
    "StreamError",
    "StreamResetError",
    "StreamStoppedError",
    "Tier",
    "TransportAddr",
    "TransportAddrInfo",
    "TransportAddrUsage",
    "TransportBias",
    "TransportConfig",
    "UserData",
    "WatchHandle",
    "Way",
    "ZeroRttStatus",
    "asyncio_streams",
    "load_secret_key",
    "preset_iroh_services",
    "preset_minimal",
    "preset_n0",
    "preset_n0_disable_relay",
    "presets",
    "save_secret_key",
    "secret_key_from_env",
    "serve_metrics",
    "set_log_level",
]
