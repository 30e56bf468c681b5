"""A pkarr and DNS server for the iroh network.

Endpoints publish signed packets over HTTP (`PUT /pkarr/<key>`); anyone resolves them over DNS
(`TXT _iroh.<key>.<origin>`). Use it as a program, `iroh-dns-server --help`, or inside another one
through `DnsServer`.
"""

from iroh_dns_server.config import (
    CertMode,
    Config,
    DnsConfig,
    HttpConfig,
    HttpsConfig,
    MainlineConfig,
    MetricsConfig,
    PostgresConfig,
    RateLimit,
    StoreConfig,
)
from iroh_dns_server.config_toml import load_config, parse_config
from iroh_dns_server.errors import (
    BindError,
    CertificateError,
    ConfigError,
    DhtUnavailableError,
    DnsServerError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
)
from iroh_dns_server.metrics import Metrics
from iroh_dns_server.server import DnsServer
from iroh_dns_server.store import PacketStore, PutOutcome, SharedStore, SqliteStore

__version__ = "0.1.0"

__all__ = [
    "BindError",
    "CertMode",
    "CertificateError",
    "Config",
    "ConfigError",
    "DhtUnavailableError",
    "DnsConfig",
    "DnsServer",
    "DnsServerError",
    "HttpConfig",
    "HttpsConfig",
    "MainlineConfig",
    "Metrics",
    "MetricsConfig",
    "PacketStore",
    "PostgresConfig",
    "PutOutcome",
    "RateLimit",
    "SharedStore",
    "SqliteStore",
    "StoreBusyError",
    "StoreConfig",
    "StoreError",
    "StoreUnavailableError",
    "load_config",
    "parse_config",
]
