"""The QAD server: one UDP socket, one small connection per client, and a bound on everything.

    datagram -> the connection of its id, if there is one
             -> an Initial of at least 1200 bytes, from somebody new
                  connections at their limit, or half-open at HARD  -> dropped
                  half-open below SOFT, or it shows a Retry token   -> a connection
                  else                                              -> Retry
             -> counted, dropped

Half-open are connections whose handshake is not complete; they have `handshake_timeout`. So a
flood of spoofed Initials costs at most SOFT handshakes per timeout; after that each costs one
HMAC and one small answer, and honest clients go on at the price of one round trip.
"""

import asyncio
import ipaddress
import logging
import os
import socket
from collections import Counter
from typing import Any, Final, Self

from aioquic._buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from iroh_base.addr import SocketAddr

from ..server.certs import Certificates
from ..server.listen import bound_addr, udp_socket
from ..server.metrics import RelayMetrics
from . import ALPN, CLOSE_CODE, CLOSE_REASON
from .connection import QadConnection
from .limits import QadLimits
from .retry import CID_LENGTH, RetryTokens, Token

__all__ = ["QadLimits", "QadServer"]

logger: logging.Logger = logging.getLogger(__name__)

IDLE_TIMEOUT: Final = 30.0  # seconds; noq `max_idle_timeout`
MIN_INITIAL: Final = 1200  # RFC 9000 section 14.1
MIN_DCID: Final = 8  # RFC 9000 section 7.2
MAX_DATAGRAM: Final = 1452
RECEIVE_BUFFER: Final = 1 << 20
"""Bytes asked of the kernel: bursts of a relay that was restarted."""


class _Client:
    """One connection and its timer."""

    __slots__ = ("cids", "complete", "connection", "deadline", "host", "timer")

    def __init__(self, connection: QadConnection, host: str, deadline: float) -> None:
        self.connection = connection
        self.host = host
        self.deadline = deadline
        self.complete = False
        self.cids: set[bytes] = set()
        self.timer: asyncio.TimerHandle | None = None


class QadServer(asyncio.DatagramProtocol):
    """`start` it, `close` it; or use it as an async context manager."""

    def __init__(
        self,
        bind_addr: SocketAddr,
        certificates: Certificates,
        metrics: RelayMetrics | None = None,
        limits: QadLimits | None = None,
    ) -> None:
        self.metrics: RelayMetrics = metrics or RelayMetrics()
        self.limits: QadLimits = limits or QadLimits()
        self.dropped: Counter[str] = Counter()
        """Reason -> datagrams that were not taken."""
        self._bind_addr = bind_addr
        self._addr: SocketAddr | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._tokens = RetryTokens()
        self._configuration = QuicConfiguration(
            is_client=False,
            alpn_protocols=[ALPN.decode()],
            connection_id_length=CID_LENGTH,
            idle_timeout=IDLE_TIMEOUT,
            max_data=0,
            max_stream_data=0,
            supported_versions=[QuicProtocolVersion.VERSION_1],
        )
        self._certificates = certificates
        self._show_certificate()
        certificates.on_change(self._show_certificate)
        self._clients: dict[bytes, _Client] = {}
        self._all: set[_Client] = set()
        self._half_open = 0
        self._hosts: Counter[str] = Counter()

    def _show_certificate(self) -> None:
        """Show what there is now in handshakes that begin from now on."""
        chain = x509.load_pem_x509_certificates(self._certificates.chain_pem)
        key: Any = load_pem_private_key(self._certificates.key_pem, None)
        self._configuration.certificate = chain[0]
        self._configuration.certificate_chain = chain[1:]
        self._configuration.private_key = key

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind and serve. Raises `ListenError`."""
        sock = udp_socket(self._bind_addr)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self._addr = bound_addr(sock)
            await self._loop.create_datagram_endpoint(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise
        logger.debug("address discovery on UDP %s", self._addr)

    @property
    def addr(self) -> SocketAddr:
        """Where it listens, after `start`."""
        assert self._addr is not None
        return self._addr

    async def close(self) -> None:
        """Close all connections with code 1 "finished", and the socket; safe to repeat."""
        for client in list(self._all):
            client.connection.close(CLOSE_CODE, reason_phrase=CLOSE_REASON.decode())
            self._flush(client)
            self._forget(client)
        if self._transport is not None:
            self._transport.close()
            await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    # -- asyncio's side ------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Take the socket."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if not self._closed.done():
            self._closed.set_result(None)

    def error_received(self, exc: Exception) -> None:
        """Count an error that the kernel reports about something sent before."""
        self.dropped["icmp"] += 1

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take a datagram. Nothing that is in it makes this raise."""
        try:
            self._take(data, addr)
        except Exception:  # the root of whatever strangers send: the others must go on
            self.dropped["bug"] += 1
            logger.exception("a datagram was lost by a bug in address discovery")

    # -- sorting -------------------------------------------------------------------------------

    def _take(self, data: bytes, addr: Any) -> None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CID_LENGTH)
        except ValueError:
            self.dropped["malformed"] += 1
            return
        client = self._clients.get(header.destination_cid)
        if client is None:
            client = self._on_stranger(header, data, addr)
        if client is not None:
            client.connection.receive_datagram(data, addr, now=self._loop.time())
            self._move(client)

    def _on_stranger(self, header: QuicHeader, data: bytes, addr: Any) -> _Client | None:
        """Make a connection for somebody new, or say why not by a counter."""
        known = header.version in (None, QuicProtocolVersion.VERSION_1)
        if len(data) < MIN_INITIAL:
            self.dropped["unknown"] += 1
        elif not known and header.packet_type != QuicPacketType.VERSION_NEGOTIATION:
            self._send(
                encode_quic_version_negotiation(
                    source_cid=header.destination_cid,
                    destination_cid=header.source_cid,
                    supported_versions=self._configuration.supported_versions,
                ),
                addr,
            )
        elif header.packet_type != QuicPacketType.INITIAL or len(header.destination_cid) < MIN_DCID:
            self.dropped["unknown"] += 1
        else:
            return self._admit(header, addr)
        return None

    def _admit(self, header: QuicHeader, addr: Any) -> _Client | None:
        limits, now, host = self.limits, self._loop.time(), _host(addr)
        if len(self._all) >= limits.max_connections or self._half_open >= limits.hard_half_open:
            self.dropped["too many connections"] += 1
            return None
        if self._hosts[host] >= limits.max_per_host:
            self.dropped["too many connections of one host"] += 1
            return None
        token = self._tokens.open(addr, header.token, now) if header.token else None
        if token is not None and token.retry_source != header.destination_cid:
            token = None
        if token is None and self._half_open >= limits.soft_half_open:
            self._retry(header, addr, now)
            return None
        self.metrics.qad_incoming += 1
        connection = QadConnection(
            self._configuration,
            token.original_destination if token else header.destination_cid,
            token.retry_source if token else None,
        )
        client = _Client(connection, host, now + limits.handshake_timeout)
        self._all.add(client)
        self._half_open += 1
        self._hosts[host] += 1
        self._lead(client, header.destination_cid)
        self._lead(client, connection.host_cid)
        return client

    def _retry(self, header: QuicHeader, addr: Any, now: float) -> None:
        source = os.urandom(CID_LENGTH)
        token = self._tokens.make(addr, Token(header.destination_cid, source), now)
        assert header.version is not None
        self._send(
            encode_quic_retry(
                version=header.version,
                source_cid=source,
                destination_cid=header.source_cid,
                original_destination_cid=header.destination_cid,
                retry_token=token,
            ),
            addr,
        )
        self.dropped["asked to retry"] += 1

    # -- moving connections --------------------------------------------------------------------

    def _move(self, client: _Client) -> None:
        """Act on events, send, set the timer."""
        ended = self._take_events(client)
        self._flush(client)
        ended = self._take_events(client) or ended
        if ended:
            self._forget(client)
        else:
            self._arm(client)

    def _take_events(self, client: _Client) -> bool:
        """Act on what happened; whether the connection is over."""
        connection = client.connection
        while (event := connection.next_event()) is not None:
            if isinstance(event, events.ConnectionIdIssued):
                self._lead(client, event.connection_id)
            elif isinstance(event, events.ConnectionIdRetired):
                client.cids.discard(event.connection_id)
                self._clients.pop(event.connection_id, None)
            elif isinstance(event, events.HandshakeCompleted):
                client.complete = True
                connection.settle()
                self._half_open -= 1
                self.metrics.qad_connections += 1
            elif isinstance(event, events.ConnectionTerminated):
                self._count_end(client, event)
                return True
        return False

    def _count_end(self, client: _Client, event: events.ConnectionTerminated) -> None:
        metrics = self.metrics
        if not client.complete:
            metrics.qad_incoming_error += 1
            return
        metrics.qad_connections_closed += 1
        if event.frame_type is not None or event.error_code != CLOSE_CODE:
            metrics.qad_connections_errored += 1

    def _flush(self, client: _Client) -> None:
        for data, addr in client.connection.datagrams_to_send(now=self._loop.time()):
            self._send(data, addr)

    def _send(self, data: bytes, addr: Any) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, addr)

    def _arm(self, client: _Client) -> None:
        due = client.connection.get_timer()
        if not client.complete:
            due = client.deadline if due is None else min(due, client.deadline)
        timer = client.timer
        if timer is not None:
            if due is not None and timer.when() <= due and not timer.cancelled():
                return  # an early timer looks again
            timer.cancel()
        client.timer = None if due is None else self._loop.call_at(due, self._on_timer, client)

    def _on_timer(self, client: _Client) -> None:
        client.timer = None
        now = self._loop.time()
        if not client.complete and now >= client.deadline:
            self.metrics.qad_incoming_error += 1
            self._forget(client)
            return
        due = client.connection.get_timer()
        if due is not None and due <= now:
            client.connection.handle_timer(now=now)
        self._move(client)

    def _lead(self, client: _Client, cid: bytes) -> None:
        if cid not in self._clients:
            self._clients[cid] = client
            client.cids.add(cid)

    def _forget(self, client: _Client) -> None:
        """Drop a connection and all that leads to it."""
        if client not in self._all:
            return
        self._all.remove(client)
        if not client.complete:
            self._half_open -= 1
        self._hosts[client.host] -= 1
        if not self._hosts[client.host]:
            del self._hosts[client.host]
        for cid in client.cids:
            del self._clients[cid]
        if client.timer is not None:
            client.timer.cancel()
            client.timer = None


def _host(addr: Any) -> str:
    """Give what counts as one host: an IPv4 address, or the /64 of an IPv6 one."""
    ip = ipaddress.ip_address(addr[0].partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.IPv6Network((ip, 64), strict=False))
    return str(ip)
