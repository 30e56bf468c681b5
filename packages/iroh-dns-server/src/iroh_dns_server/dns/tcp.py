"""DNS over TCP (RFC 1035 section 4.2.2, RFC 7766).

    | length (2, big-endian) | message | length (2) | message | ...

Queries of one connection may be pipelined; they are answered in order. A connection is closed when
it is idle, when a message arrives too slowly, when its owner does not read, or when it sends
something that deserves no answer.
"""

import asyncio
import logging
import socket
from collections import Counter

from iroh_dns_server.dns.service import DnsService, Pending
from iroh_dns_server.listener import Listener
from iroh_dns_server.metrics import Metrics

__all__ = ["TcpServer"]

logger: logging.Logger = logging.getLogger(__name__)

IDLE_TIMEOUT = 10.0
"""Seconds for the next message to arrive in full, and for an answer to be taken. RFC 7766 section
6.2.3 asks for a few seconds at least; the Rust server gives 1."""
MAX_CONNECTIONS = 512
"""Connections at a time; a further one is closed at once."""
MAX_PER_HOST = 64
"""Connections at a time from one address."""
READ_LIMIT = 4096
"""Bytes that asyncio reads ahead of us, twice; a larger message still arrives, in parts."""
FAIRNESS = 16
"""Pipelined queries answered before other tasks get their turn."""


class TcpServer:
    """Serves DNS on `sock`, a listening TCP socket that it then owns."""

    def __init__(
        self,
        sock: socket.socket,
        service: DnsService,
        metrics: Metrics,
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        max_connections: int = MAX_CONNECTIONS,
        max_per_host: int = MAX_PER_HOST,
    ) -> None:
        self._service = service
        self._metrics = metrics
        self._idle_timeout = idle_timeout
        self._max_connections = max_connections
        self._max_per_host = max_per_host
        self._listener = Listener(sock, self._protocol)
        self._connections: set[asyncio.Task[None]] = set()
        self._hosts: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to accept connections."""
        self._listener.start()

    async def close(self) -> None:
        """Stop accepting and end every connection. Idempotent."""
        await self._listener.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _protocol(self) -> asyncio.BaseProtocol:
        """A protocol for a new connection."""
        reader = asyncio.StreamReader(limit=READ_LIMIT)
        return asyncio.StreamReaderProtocol(reader, self._on_connection)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Start a task for a new connection, or refuse it."""
        host = str((writer.get_extra_info("peername") or ("?",))[0])
        full = len(self._connections) >= self._max_connections
        if full or self._hosts[host] >= self._max_per_host:
            self._metrics.dns_tcp_refused += 1
            writer.transport.abort()
            return
        self._hosts[host] += 1
        self._metrics.dns_tcp_connections += 1
        # A task of our own: asyncio reports the cancellation of one that it makes as an error.
        task = asyncio.get_running_loop().create_task(self._run(host, reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _run(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection to its end."""
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, TimeoutError, OSError) as error:
            logger.debug("DNS over TCP: %s: connection ended: %r", host, error)
        finally:
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]
            _close(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer message after message until there is a reason to stop."""
        served = 0
        while True:
            async with asyncio.timeout(self._idle_timeout):
                length = int.from_bytes(await reader.readexactly(2))
                request = await reader.readexactly(length)
            reply = self._service.respond(request, udp=False)
            if isinstance(reply, Pending):
                reply = await self._service.finish(reply)
            if reply is None:
                return
            writer.write(len(reply).to_bytes(2) + reply)
            async with asyncio.timeout(self._idle_timeout):
                await writer.drain()
            served += 1
            if served % FAIRNESS == 0:
                await asyncio.sleep(0)


def _close(writer: asyncio.StreamWriter) -> None:
    """Close without waiting: what is buffered is sent if the peer takes it within the kernel."""
    if writer.transport.get_write_buffer_size():
        writer.transport.abort()  # a peer that does not read would hold the buffer for ever
    else:
        writer.close()
