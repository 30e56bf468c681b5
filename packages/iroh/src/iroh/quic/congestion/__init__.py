"""Congestion controllers: how many bytes may be in flight on a path (RFC 9002, RFC 9438)."""

from iroh.quic.congestion.base import Controller
from iroh.quic.congestion.cubic import Cubic
from iroh.quic.congestion.newreno import NewReno

__all__ = ["Controller", "Cubic", "NewReno"]
