"""Protocols as ordinary handlers, to be used and to be learnt from.

echo    what comes on a stream or as a datagram goes back
ping    one round trip, as n0's iroh-ping counts it
pipe    a stream joined to a socket or a terminal, as n0's dumbpipe does
"""

from iroh.protocols.echo import ECHO_ALPN, Echo
from iroh.protocols.ping import PING_ALPN, Ping, PingError, ping, ping_once
from iroh.protocols.pipe import (
    PIPE_ALPN,
    Pipe,
    PipeError,
    forward,
    open_pipe,
    to_tcp,
    to_unix,
)

__all__ = [
    "ECHO_ALPN",
    "PING_ALPN",
    "PIPE_ALPN",
    "Echo",
    "Ping",
    "PingError",
    "Pipe",
    "PipeError",
    "forward",
    "open_pipe",
    "ping",
    "ping_once",
    "to_tcp",
    "to_unix",
]
