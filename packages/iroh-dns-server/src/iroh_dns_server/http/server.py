"""The HTTP listener: an aiohttp application on a socket of ours, with limits on connections."""

import asyncio
import logging
import socket

from aiohttp import web

from iroh_dns_server.listener import Listener
from iroh_dns_server.metrics import Metrics

__all__ = ["HttpServer"]

logger = logging.getLogger(__name__)

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
    """Serves `app` on `sock`, a listening TCP socket that it then owns."""

    def __init__(
        self,
        sock: socket.socket,
        app: web.Application,
        metrics: Metrics,
        *,
        max_connections: int = MAX_CONNECTIONS,
        idle_timeout: float = IDLE_TIMEOUT,
    ) -> None:
        self._metrics = metrics
        self._max_connections = max_connections
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
        await self._runner.cleanup()

    def _protocol(self) -> asyncio.BaseProtocol:
        """A protocol for a new connection."""
        server = self._runner.server
        if server is None or len(server.connections) >= self._max_connections:
            self._metrics.http_connections_refused += 1
            return _Refuse()
        return server()
