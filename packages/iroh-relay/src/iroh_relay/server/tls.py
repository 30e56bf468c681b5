"""TLS for many clients: asyncio's, with one buffer to read into for all of them.

asyncio gives every TLS connection 256 KiB to read into (`SSLProtocol.max_size`), which for 10,000
clients that mostly say nothing are 2.5 GB. On a selector loop that buffer is used only between two
lines of one function (asking for it, reading the socket into it, copying it to OpenSSL), so all
connections of a listener can share one. Elsewhere (Windows) the kernel writes into it while other
code runs, so there each connection has its own, of 16 KiB.

How much is read at once is a trade. Batches of 14 kB over TLS: 32 KiB cost 24 us of CPU a frame,
128 KiB 20, 256 KiB 16; a ping beside a flood then takes 0.3, 0.9 and 2.0 ms (median).

The same class knows the connections that are still in their handshake, which belong to nobody yet.
"""

import asyncio
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import Final

__all__ = ["TLS_BUFFER", "TlsFactory"]

TLS_BUFFER: Final = 128 * 1024
"""Bytes read from a socket before the other clients get their turn."""
_RECORD: Final = 16 * 1024
"""Bytes of a TLS record at most (RFC 8446 section 5.1): what OpenSSL gives at once."""


class _Tls(sslproto.SSLProtocol):
    """TLS on one connection, from before its handshake to its end."""

    max_size = _RECORD

    def __init__(self, factory: "TlsFactory", inner: asyncio.Protocol) -> None:
        super().__init__(
            factory.loop,
            inner,
            factory.context,
            None,  # type: ignore[arg-type] # nobody waits for the handshake
            server_side=True,
            ssl_handshake_timeout=factory.timeout,  # type: ignore[arg-type] # seconds, of any kind
        )
        self._shared = factory.shared
        if self._shared is not None:
            self._ssl_buffer = bytearray()  # let go of the own one
            self._ssl_buffer_view = self._shared  # here the base class finds what was read
        self.tcp: asyncio.BaseTransport | None = None
        self._alive = factory.alive

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is there; begin the handshake."""
        self.tcp = transport
        self._alive.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The TCP connection has ended."""
        self.tcp = None
        self._alive.discard(self)
        super().connection_lost(exc)

    def get_buffer(self, n: int) -> memoryview:
        """Where to read into."""
        return super().get_buffer(n) if self._shared is None else self._shared


class TlsFactory:
    """What makes a connection's protocol: TLS, and `inner()` within it. Belongs to one loop.

    handshake_timeout: seconds. Needs a running loop.
    """

    def __init__(
        self,
        inner: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        handshake_timeout: float,
    ) -> None:
        self._inner = inner
        self.context = context
        self.timeout = handshake_timeout
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.alive: set[_Tls] = set()
        """Connections, also those in their handshake."""
        shares = isinstance(self.loop, asyncio.SelectorEventLoop)
        self.shared: memoryview | None = memoryview(bytearray(TLS_BUFFER)) if shares else None

    def __call__(self) -> asyncio.BaseProtocol:
        """Make the protocol of one connection."""
        return _Tls(self, self._inner())

    def abort(self) -> None:
        """End all connections, also those in their handshake."""
        for connection in list(self.alive):
            if isinstance(connection.tcp, asyncio.Transport):
                connection.tcp.abort()
