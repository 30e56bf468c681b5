"""The bounds of address discovery, apart from the server: configuration needs no QUIC engine."""

from dataclasses import dataclass

__all__ = ["QadLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QadLimits:
    """What strangers can make us hold. Ours: Rust has no limit but noq's 65,536 attempts."""

    max_connections: int = 16_384
    """Connections of all clients together, complete or not."""
    max_per_host: int = 512
    """Connections of one IPv4 address, or of one IPv6 /64."""
    soft_half_open: int = 64
    """Handshakes in progress, beyond which newcomers have to answer a Retry first."""
    hard_half_open: int = 512
    """Handshakes in progress, beyond which newcomers are ignored."""
    handshake_timeout: float = 5.0
    """Seconds that a handshake may take."""
