"""What a configuration file of `iroh-relay` says, after reading: values, and defaults of their own.

    enable_relay, http_bind_addr, enable_metrics, metrics_bind_addr, key_cache_capacity
    access                      AccessChoice
    limits                      accept_limit, rx_limit, qad_limits
    tls                         TlsChoice
    enable_quic_addr_discovery

Defaults that follow from other values are methods. Source: iroh-relay `main.rs` (`Config`).
"""

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from iroh_base.addr import SocketAddr
from iroh_base.keys import PublicKey

from ..qad.limits import QadLimits
from ..server.accept_limit import AcceptLimit
from ..server.bucket import RxLimit

__all__ = ["AccessChoice", "AccessMode", "CertMode", "FileConfig", "TlsChoice"]

DEFAULT_HTTP_PORT: Final = 80
DEFAULT_HTTPS_PORT: Final = 443
DEV_HTTP_PORT: Final = 3340
"""`http_bind_addr` with --dev (`DEV_MODE_HTTP_PORT`)."""
DEFAULT_METRICS_PORT: Final = 9090
DEFAULT_QUIC_PORT: Final = 7842
"""Of QUIC address discovery (`DEFAULT_RELAY_QUIC_PORT`)."""
DEFAULT_KEY_CACHE_CAPACITY: Final = 1_048_576


class AccessMode(enum.Enum):
    """Who may use the relay; the value is the key of the file."""

    EVERYONE = "everyone"
    ALLOWLIST = "allowlist"
    DENYLIST = "denylist"
    SHARED_TOKEN = "shared_token"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessChoice:
    """A mode, and what belongs to it."""

    mode: AccessMode = AccessMode.EVERYONE
    ids: tuple[PublicKey, ...] = ()
    tokens: tuple[str, ...] = field(default=(), repr=False)
    url: str = ""
    bearer_token: str | None = field(default=None, repr=False)


class CertMode(enum.Enum):
    """Where certificates come from; the value is what the file says."""

    MANUAL = "Manual"
    RELOADING = "Reloading"
    LETS_ENCRYPT = "LetsEncrypt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsChoice:
    """The table `[tls]`."""

    cert_mode: CertMode
    https_bind_addr: SocketAddr | None = None
    quic_bind_addr: SocketAddr | None = None
    hostnames: tuple[str, ...] = ()
    cert_dir: Path = Path()
    manual_cert_path: Path | None = None
    manual_key_path: Path | None = None
    prod_tls: bool = True
    contact: str | None = None
    dangerous_http_only: bool = False

    @property
    def cert_path(self) -> Path:
        """The certificate chain, PEM."""
        return self.manual_cert_path or self.cert_dir / "default.crt"

    @property
    def key_path(self) -> Path:
        """Its private key, PEM."""
        return self.manual_key_path or self.cert_dir / "default.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileConfig:
    """A whole file. None where it says nothing and the default depends on something else."""

    enable_relay: bool = True
    http_bind_addr: SocketAddr | None = None
    enable_quic_addr_discovery: bool = False
    enable_metrics: bool = True
    metrics_bind_addr: SocketAddr | None = None
    key_cache_capacity: int = DEFAULT_KEY_CACHE_CAPACITY
    access: AccessChoice = AccessChoice()
    accept_limit: AcceptLimit | None = None
    rx_limit: RxLimit | None = None
    qad_limits: QadLimits = field(default_factory=QadLimits)
    tls: TlsChoice | None = None

    def http_addr(self, dev: bool = False) -> SocketAddr:
        """Where plain HTTP is served."""
        port = DEV_HTTP_PORT if dev else DEFAULT_HTTP_PORT
        return self.http_bind_addr or SocketAddr("::", port)

    def metrics_addr(self, dev: bool = False) -> SocketAddr:
        """Where metrics are served."""
        default = SocketAddr(self.http_addr(dev).ip, DEFAULT_METRICS_PORT)
        return self.metrics_bind_addr or default

    def https_addr(self) -> SocketAddr:
        """Where HTTPS is served, if there is a `[tls]`."""
        default = SocketAddr(self.http_addr().ip, DEFAULT_HTTPS_PORT)
        return (self.tls.https_bind_addr if self.tls else None) or default

    def quic_addr(self, dev: bool = False) -> SocketAddr:
        """Where QUIC address discovery is served."""
        chosen = self.tls.quic_bind_addr if self.tls else None
        https = self.http_addr(dev) if dev or not self.tls else self.https_addr()
        return chosen or SocketAddr(https.ip, DEFAULT_QUIC_PORT)
