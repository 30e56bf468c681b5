"""TLS 1.3 as iroh uses it in QUIC: raw public keys on both ends, over aioquic's TLS.

handshake       one end of a handshake, driven by a connection
crypto_stream   the CRYPTO frames of one encryption level, in order and sent until they arrive
context         aioquic's TLS state machine with raw public keys (RFC 7250)
hello, certificate, opaque   messages and keys as bytes
web, web_trust   the exception: a client of servers with X.509 certificates
"""

from iroh.quic.frames.base import HANDSHAKE, INITIAL, ONE_RTT, ZERO_RTT
from iroh.quic.tls.crypto_stream import CryptoStream
from iroh.quic.tls.handshake import Handshake, KeyLog, Secret
from iroh.quic.tls.tickets import Ticket, TicketStore

__all__ = [
    "HANDSHAKE",
    "INITIAL",
    "ONE_RTT",
    "ZERO_RTT",
    "CryptoStream",
    "Handshake",
    "KeyLog",
    "Secret",
    "Ticket",
    "TicketStore",
]
