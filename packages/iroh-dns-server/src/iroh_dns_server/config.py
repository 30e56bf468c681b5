"""The configuration as values; `config_toml` reads them from a file.

Names and defaults are those of the Rust server (iroh-dns-server/src/config.rs, 1.4.1), so that its
files work here as far as the features exist.
"""

import dataclasses
import enum
import os
import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from iroh_base.mainline import DEFAULT_BOOTSTRAP

__all__ = [
    "CertMode",
    "Config",
    "DnsConfig",
    "HttpConfig",
    "HttpsConfig",
    "MainlineConfig",
    "MetricsConfig",
    "PostgresConfig",
    "RateLimit",
    "StoreConfig",
    "default_data_dir",
]

DATA_DIR_VARIABLE = "IROH_DNS_DATA_DIR"
"""Environment variable that names the data directory when the configuration does not."""
METRICS_IP = IPv4Address("127.0.0.1")
"""Metrics are not for the world."""


class CertMode(enum.Enum):
    """Where the certificate for HTTPS comes from."""

    MANUAL = "manual"
    """`<data_dir>/cert_cache/<domain>.crt` and `.key`, PEM; read again when they change."""
    LETS_ENCRYPT = "lets_encrypt"
    """From Let's Encrypt or another ACME server, which looks at `[http]` on port 80. Needs the
    extra `acme`."""
    SELF_SIGNED = "self_signed"
    """Made anew at every start, for development."""


class RateLimit(enum.Enum):
    """How PUTs are limited per client."""

    DISABLED = "disabled"
    SIMPLE = "simple"
    """By the address the connection comes from."""
    SMART = "smart"
    """By the address a reverse proxy reports, else by the connection's."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """`[http]`: where pkarr PUT and GET are served."""

    port: int = 8080
    bind_addr: IPv4Address | IPv6Address | None = None
    """None: every address of both families."""
    listen_backlog: int = 1024
    """Connections the kernel keeps ready; upstream `DEFAULT_LISTEN_BACKLOG`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpsConfig:
    """`[https]`: the same over TLS, with HTTP/2 for those who ask for it."""

    port: int = 8443
    bind_addr: IPv4Address | IPv6Address | None = None
    """None: every address of both families."""
    domains: tuple[str, ...] = ("localhost",)
    """Whom the certificate is for; with MANUAL exactly one."""
    cert_mode: CertMode = CertMode.SELF_SIGNED
    letsencrypt_contact: str | None = None
    """An e-mail address, which LETS_ENCRYPT needs."""
    letsencrypt_prod: bool = False
    """False asks Let's Encrypt's staging server, whose certificates nobody trusts (as upstream)."""
    acme_directory: str | None = None
    """URL of another ACME server's directory, instead of Let's Encrypt's."""
    acme_ca: Path | None = None
    """PEM with the CAs trusted for that server; None: the usual ones."""
    listen_backlog: int = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """`[metrics]`: where the metrics page is served."""

    port: int = 9117
    bind_addr: IPv4Address | IPv6Address | None = METRICS_IP
    """None: every address of both families."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    """`[dns]`: where DNS is served, and for which zones."""

    port: int = 5300
    """UDP and TCP; 0 takes a port that is free for both."""
    bind_addr: IPv4Address | IPv6Address | None = None
    """None: every address of both families."""
    default_soa: str = "irohdns.example hostmaster.irohdns.example 0 10800 3600 604800 3600"
    """Data of each origin's SOA record. Its last number is the time in seconds for which resolvers
    may remember that a name does not exist."""
    default_ttl: int = 900
    """Read and not used, as upstream: answers carry the TTL of the signed packet."""
    origins: tuple[str, ...] = ("irohdns.example.", ".")
    """The zones below which keys are resolved."""
    rr_a: IPv4Address | None = None
    rr_aaaa: IPv6Address | None = None
    rr_ns: str | None = None
    """Records of each origin itself."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """`[zone_store]`: batches and expiry; times in seconds."""

    max_batch_size: int = 512
    """Packets in one commit. (Upstream 65536, which it holds open for a second.)"""
    max_batch_time: float = 1.0
    """The longest a PUT may wait for others to share its commit with. Here a commit starts as soon
    as the one before it has ended, which is always sooner."""
    eviction: float = 7 * 24 * 3600.0
    """Age, by its own timestamp, at which a packet is removed."""
    eviction_interval: float = 10.0
    """Time between two looks for packets that are too old."""
    max_future: float = 24 * 3600.0
    """How far a packet's timestamp may be ahead of our clock. The Rust server takes any, and then
    one packet dated in the year 3000 keeps its key from publishing until then."""
    max_packets: int = 10_000_000
    """Packets kept, at most about 10 GB; beyond that the oldest go at the next look. Endpoints that
    live publish every five minutes and are never among them."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PostgresConfig:
    """`[postgres]`: packets in a database that several servers share."""

    url: str
    """`postgresql://user@host/database`; see `PostgresStore.open`."""

    def __repr__(self) -> str:
        return "PostgresConfig(url=...)"  # there may be a password in it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MainlineConfig:
    """`[mainline]`: looking for keys without a packet here in the BitTorrent DHT."""

    bootstrap: tuple[str, ...] = DEFAULT_BOOTSTRAP
    """"host:port" of nodes to begin at."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a `DnsServer` needs to know."""

    http: HttpConfig | None = HttpConfig()
    https: HttpsConfig | None = None
    dns: DnsConfig = DnsConfig(rr_a=IPv4Address("127.0.0.1"), rr_ns="ns1.irohdns.example.")
    zone_store: StoreConfig = StoreConfig()
    postgres: PostgresConfig | None = None
    """None: sqlite in `data_dir`."""
    mainline: MainlineConfig | None = None
    """None: a key without a packet here does not exist."""
    metrics: MetricsConfig | None = None
    """None: no metrics page, so that servers in one process or test never share a port. The program
    and a file without `[metrics]` mean `MetricsConfig()`."""
    pkarr_put_rate_limit: RateLimit = RateLimit.SIMPLE
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Whose headers SMART believes; empty: everybody's, as upstream."""
    data_dir: Path | None = None
    """None: `default_data_dir()`."""


def default_data_dir() -> Path:
    """Where data goes when nothing else is said: the variable, else the platform's usual place."""
    if named := os.environ.get(DATA_DIR_VARIABLE):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "iroh-dns"
