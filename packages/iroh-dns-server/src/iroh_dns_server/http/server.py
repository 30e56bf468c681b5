"""The HTTP listener: an aiohttp application on a socket of ours, with limits on connections."""

import asyncio
import logging
import socket
import ssl
from typing import TYPE_CHECKING

from aiohttp import web

from iroh_dns_server.http.tls import Chooser, Factory, TlsProtocol, tls_protocol
from iroh_dns_server.listener import Listener
from iroh_dns_server.metrics import Metrics

if TYPE_CHECKING:
    from iroh_dns_server.http.http2 import Http2

__all__ = ["HttpServer"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 4096
"""Connections at a time; a further one is closed at once."""
IDLE_TIMEOUT = 30.0
"""Seconds for the next request's headers to arrive; upstream HTTP1_HEADER_READ_TIMEOUT."""
SHUTDOWN_TIMEOUT = 5.0
"""Seconds for requests under way to end when the server is closed."""


class _Refuse(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Reset it: nothing is buffered, nothing is waited for."""
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class HttpServer:
    """Serves `app` on `sock`, a listening TCP socket it then owns; with `context` over TLS,
    where `http2` serves those who ask for that."""

    def __init__(
        self,
        sock: socket.socket,
        app: web.Application,
        metrics: Metrics,
        *,
        max_connections: int = MAX_CONNECTIONS,
        idle_timeout: float = IDLE_TIMEOUT,
        context: ssl.SSLContext | None = None,
        http2: "Http2 | None" = None,
    ) -> None:
        self._metrics = metrics
        self._max_connections = max_connections
        self._context = context
        self._http2 = http2
        self._secured: set[TlsProtocol] = set()
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            keepalive_timeout=idle_timeout,
            lingering_time=0.0,  # see `http.body`
            auto_decompress=False,  # a packet is never compressed, and a bomb always is
            shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        self._listener = Listener(sock, self._protocol)

    async def start(self) -> None:
        """Begin to accept connections."""
        await self._runner.setup()
        self._listener.start()

    async def close(self) -> None:
        """Stop accepting, let the requests under way end, close every connection. Idempotent."""
        await self._listener.close()
        if self._http2 is not None:
            await self._http2.close()
        await self._runner.cleanup()
        for secured in list(self._secured):  # still in their handshake, or not saying goodbye
            secured.abort()
        await asyncio.sleep(0)  # so that their sockets are closed when we return

    def _protocol(self) -> asyncio.BaseProtocol:
        """A protocol for a new connection."""
        server = self._runner.server
        if (
            server is None
            or max(len(server.connections), len(self._secured)) >= self._max_connections
        ):
            self._metrics.http_connections_refused += 1
            return _Refuse()
        if self._context is None:
            return server()
        choices: dict[str, Factory] = {} if self._http2 is None else {"h2": self._http2}
        secured = tls_protocol(self._context, Chooser(choices, server), self._secured.discard)
        self._secured.add(secured)
        return secured
