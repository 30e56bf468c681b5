"""Congestion controllers: how many bytes may be in flight on a path (RFC 9002, RFC 9438)."""

from iroh.quic.congestion.base import INITIAL_WINDOW, MIN_PACKETS, Controller
from iroh.quic.congestion.cubic import Cubic
from iroh.quic.congestion.newreno import NewReno

__all__ = ["Controller", "Cubic", "NewReno", "make_controller"]


def make_controller(name: str, mtu: int) -> Controller:
    """Make the controller that `TransportConfig.congestion` names."""
    window = max(INITIAL_WINDOW, MIN_PACKETS * mtu)
    return NewReno(mtu, window) if name == "newreno" else Cubic(mtu, window)
