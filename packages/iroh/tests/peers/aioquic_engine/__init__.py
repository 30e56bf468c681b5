"""A second QUIC engine, over aioquic 1.7.2: one path, no multipath, no NAT traversal. For tests.

The first form of ours; endpoints ran on it once. Now it is an independent peer for plain QUIC.

It implements `iroh.quic.api` and nothing above knows that it is aioquic. It keeps aioquic's
packets, crypto, recovery and frame table, and replaces what fails a hostile peer or does not fit
iroh.
"""

from aioquic_engine.connection import AioquicConnection
from aioquic_engine.endpoint import AioquicEndpoint
from iroh.quic.limits import Limits

__all__ = ["AioquicConnection", "AioquicEndpoint", "Limits"]
