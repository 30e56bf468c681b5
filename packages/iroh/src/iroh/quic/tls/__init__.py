"""TLS 1.3 as iroh uses it in QUIC: raw public keys on both ends.

handshake       one end of a handshake, driven by a connection
crypto_stream   the CRYPTO frames of one encryption level, in order and sent until they arrive
client, server  their state machines; context: what both have in common
schedule        secrets and transcript          groups         key agreement
messages, certificate, alerts                   the bytes of messages, keys, refusals
tickets, early_data                             resumption and 0-RTT
web, web_trust  the exception, on aioquic's TLS: a client of servers with X.509 certificates
opaque          bytes as text, for aioquic's TLS
"""

from iroh.quic.frames.base import HANDSHAKE, INITIAL, ONE_RTT, ZERO_RTT
from iroh.quic.tls.context import Secret
from iroh.quic.tls.crypto_stream import CryptoStream
from iroh.quic.tls.handshake import Handshake, KeyLog
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
