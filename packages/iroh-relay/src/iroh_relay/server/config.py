"""How a relay server is set up: addresses, limits and times, with the values of the Rust relay.

Times are seconds. Every limit is a bound on something that a stranger could make us hold.
"""

from dataclasses import dataclass, field
from typing import Final

from iroh_base.addr import SocketAddr

from ..qad.limits import QadLimits
from .accept_limit import AcceptLimit
from .bucket import RxLimit

__all__ = ["DEFAULT_HTTP_BIND_ADDR", "RelayServerConfig"]

DEFAULT_HTTP_BIND_ADDR: Final = SocketAddr("::", 80)
"""`http_bind_addr` if none is given (`main.rs`, `DEFAULT_HTTP_PORT`)."""

DEFAULT_HTTPS_BIND_ADDR: Final = SocketAddr("::", 443)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayServerConfig:
    """Settings of one `RelayServer`; none of them changes while it runs."""

    http_bind_addr: SocketAddr = DEFAULT_HTTP_BIND_ADDR
    """Where to listen. `[::]` takes IPv4 as well; port 0 means any free port."""
    quic_bind_addr: SocketAddr | None = None
    """Where to serve QUIC address discovery, UDP; None does not (`enable_quic_addr_discovery`).
    The port is 7842 unless endpoints are told another one."""
    enable_relay: bool = True
    """False serves address discovery and metrics only (`enable_relay`)."""
    https_bind_addr: SocketAddr = DEFAULT_HTTPS_BIND_ADDR
    """Where to listen with TLS, if the server has certificates."""
    metrics_bind_addr: SocketAddr | None = None
    """Where to show metrics; None shows none."""

    establish_timeout: float = 30.0
    """How long a TCP connection may take to send a request (`ESTABLISH_TIMEOUT`)."""
    handshake_timeout: float = 30.0
    """How long the handshake after the upgrade may take, access control included. Ours: Rust has
    none, and a silent client stays for ever."""
    write_timeout: float = 2.0
    """How long a client may take to accept one frame (`SERVER_WRITE_TIMEOUT`)."""
    accept_limit: AcceptLimit | None = None
    """New TCP connections per second (`limits.accept_conn_limit`); None: all that come. Ours:
    Rust knows the key and does not use it."""
    qad_limits: QadLimits = field(default_factory=QadLimits)
    """The bounds of address discovery. Ours: Rust has none of its own."""
    rx_limit: RxLimit | None = None
    """What is read from one client per second (`limits.client.rx`); None: all it sends.
    `RelayServer.set_rx_limit` changes it while the relay runs."""
    ping_interval: float = 15.0
    """Silence after which a client is asked for a pong (`PING_INTERVAL`); 1 to 5 seconds are
    added at random, so that not all clients are asked at once."""
    queue_depth: int = 512
    """Packets, and separately control frames, that may wait for one client
    (`PER_CLIENT_SEND_QUEUE_DEPTH`). Beyond that, new ones are dropped and counted."""
    max_inactive: int = 16
    """Displaced connections of one endpoint id that are kept; the oldest is closed beyond that.
    Ours: Rust keeps any number."""
    max_sent_to: int = 4096
    """Peers of one endpoint that are told when it leaves; the oldest is forgotten beyond that.
    Ours: Rust remembers any number."""
    max_point_checks: int = 64
    """Unknown destinations of one client that are checked to be keys at all, per ping interval;
    beyond that their packets are dropped unchecked. Ours: a check costs 0.2 ms here."""
