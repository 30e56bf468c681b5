"""The QUIC engine in its first form, over aioquic 1.7.2: one path, no multipath, no NAT traversal.

It implements `iroh.quic.api` and nothing above knows that it is aioquic. It keeps aioquic's
packets, crypto, recovery and frame table, and replaces what fails a hostile peer or does not fit
iroh.
"""

from iroh.quic.aioquic_engine.connection import AioquicConnection
from iroh.quic.aioquic_engine.endpoint import AioquicEndpoint
from iroh.quic.limits import Limits

__all__ = ["AioquicConnection", "AioquicEndpoint", "Limits"]
