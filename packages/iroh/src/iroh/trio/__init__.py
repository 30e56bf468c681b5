"""iroh for trio: the same classes and names, whose methods trio awaits and cancels.

    import trio
    from iroh import presets
    from iroh.trio import open_endpoint

    async def main():
        async with open_endpoint(presets.N0) as endpoint:
            async with await endpoint.connect(peer_id, b"my/protocol/1") as conn:
                async with await conn.open_bi() as stream:
                    await stream.send_all(b"hello")
                    await stream.send_eof()
                    print(await stream.receive_some())

    trio.run(main)

Streams are those of `trio.abc`, too, and raise trio's errors from its methods; the methods that
`iroh` has raise what they raise there. A cancelled scope is to an operation what cancelling is to a
task, so docstrings that speak of it apply.

It stands on trio-asyncio (`pip install` with the extra `trio`), in whose event loop the endpoint
runs: `open_endpoint` opens one unless there is one. Importing it changes the event loop policy of
the process, so that a later `asyncio.run` runs on trio; hence it is imported by nothing else here.
"""

from iroh.trio.beside import ZeroRttStatus
from iroh.trio.bistream import BiStream
from iroh.trio.connection import Connection
from iroh.trio.endpoint import Endpoint
from iroh.trio.front import Steps, Watch
from iroh.trio.handlers import EndpointHooks, ProtocolCreator, ProtocolHandler
from iroh.trio.incoming import Accepting, Connecting, Incoming
from iroh.trio.router import EndpointBuilder, Router, open_endpoint
from iroh.trio.serving import StreamListener, serve_connections
from iroh.trio.streams import RecvStream, SendStream
from iroh.trio.zero_rtt import IncomingZeroRttConnection, OutgoingZeroRttConnection

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
    "ProtocolCreator",
    "ProtocolHandler",
    "RecvStream",
    "Router",
    "SendStream",
    "Steps",
    "StreamListener",
    "Watch",
    "ZeroRttStatus",
    "open_endpoint",
    "serve_connections",
]
