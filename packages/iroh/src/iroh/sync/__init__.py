"""iroh without async: the same classes and names, whose methods block.

    from iroh import presets
    from iroh.sync import Endpoint

    with Endpoint.bind(presets.N0) as endpoint:
        with endpoint.connect(peer_id, b"my/protocol/1", timeout=10) as conn:
            send, recv = conn.open_bi()
            send.write_all(b"hello")
            send.finish()
            print(recv.read_to_end(1000, timeout=5))

Everything happens in a thread with an event loop, one for each endpoint, or a `Portal` that several
share. Methods that wait take `timeout` in seconds and then raise TimeoutError; Ctrl-C interrupts
them. Either is to the operation what cancelling is to a task, so docstrings that speak of it apply.
What serves may block, too: `Endpoint.bind(protocols={alpn: function_of_a_connection})` calls it in
a thread for each connection. All objects may be used by several threads at once. A child process
that was forked cannot use what its parent has bound (RuntimeError); it can bind endpoints of its
own.

`send.makefile()`, `recv.makefile()` and `stream.as_socket()` are for code that wants files and
sockets. Values, options and exceptions are those of `iroh`.
"""

from iroh.sync.beside import ZeroRttStatus
from iroh.sync.bistream import BiStream
from iroh.sync.connection import Connection
from iroh.sync.endpoint import Endpoint
from iroh.sync.files import ReadFile, StreamSocket, WriteFile
from iroh.sync.front import Steps, Watch
from iroh.sync.handlers import EndpointHooks, ProtocolCreator, ProtocolHandler
from iroh.sync.incoming import Accepting, Connecting, Incoming
from iroh.sync.portal import Portal, PortalClosedError
from iroh.sync.router import EndpointBuilder, Router
from iroh.sync.streams import RecvStream, SendStream
from iroh.sync.zero_rtt import IncomingZeroRttConnection, OutgoingZeroRttConnection

__all__ = [
    "Accepting",
    "BiStream",
    "Connecting",
    "Connection",
    "Endpoint",
    "EndpointBuilder",
    "EndpointHooks",
    "Incoming",
    "IncomingZeroRttConnection",
    "OutgoingZeroRttConnection",
    "Portal",
    "PortalClosedError",
    "ProtocolCreator",
    "ProtocolHandler",
    "ReadFile",
    "RecvStream",
    "Router",
    "SendStream",
    "Steps",
    "StreamSocket",
    "Watch",
    "WriteFile",
    "ZeroRttStatus",
]
