"""DNS over UDP: one non-blocking socket, answered in the order of arrival.

A socket bound to a wildcard address asks the kernel for each datagram's destination and answers
from that very address (IP_PKTINFO, IPV6_PKTINFO): a host with several addresses would otherwise
answer from one that the asker does not expect. Layouts, native byte order:

    in_pktinfo  | interface (4) | address to answer from (4) | destination (4) |
    in6_pktinfo | destination (16) | interface (4) |
"""

import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Coroutine
from typing import Any

from iroh_dns_server.dns.service import DnsService, Pending
from iroh_dns_server.metrics import Metrics

__all__ = ["UdpServer"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_DATAGRAM = 4096
"""Bytes read of one request; a longer one is cut and then malformed."""
MAX_PER_TURN = 64
"""Datagrams answered before the event loop gets to do something else."""
MAX_LOOKUPS = 1024
"""Lookups that may wait for the store; more datagrams than that are dropped and counted."""

# The socket module may lack IP_PKTINFO; the numbers are those of <linux/in.h>, <netinet/in.h>.
_IP_PKTINFO: int | None = getattr(
    socket, "IP_PKTINFO", {"linux": 8, "darwin": 26}.get(sys.platform)
)
_IN_PKTINFO = struct.Struct("=I4s4s")
_IN6_PKTINFO = struct.Struct("=16sI")
_LINK_LOCAL = b"\xfe\x80"

Ancillary = list[tuple[int, int, bytes]]


class UdpServer:
    """Serves DNS on `sock`, a bound non-blocking UDP socket that it then owns."""

    def __init__(self, sock: socket.socket, service: DnsService, metrics: Metrics) -> None:
        self._sock = sock
        self._service = service
        self._metrics = metrics
        self._lookups: set[asyncio.Task[None]] = set()
        self._ancillary_size = _ask_for_destination(sock)
        self._reading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer."""
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(self._sock.fileno(), self._on_readable)
        except NotImplementedError:  # the loop that Windows has by default
            self._reading = loop.create_task(self._read())

    async def close(self) -> None:
        """Stop answering, drop the lookups that wait, close the socket. Idempotent."""
        if self._sock.fileno() < 0:
            return
        tasks = [*self._lookups]
        if self._reading is None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
        else:
            tasks.append(self._reading)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sock.close()

    def _on_readable(self) -> None:
        for _ in range(MAX_PER_TURN):
            try:
                request, ancillary, peer = self._receive()
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error for an earlier answer, on some systems
                logger.debug("DNS over UDP: receiving failed: %s", error)
                return
            self._respond(request, ancillary, peer)

    def _receive(self) -> tuple[bytes, Ancillary, Any]:
        if not hasattr(self._sock, "recvmsg"):  # Windows
            request, peer = self._sock.recvfrom(MAX_DATAGRAM)
            return request, [], peer
        request, ancillary, _, peer = self._sock.recvmsg(MAX_DATAGRAM, self._ancillary_size)
        return request, ancillary, peer

    async def _read(self) -> None:
        """Read where the loop cannot watch a socket, but read it."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                request, peer = await loop.sock_recvfrom(self._sock, MAX_DATAGRAM)
            except OSError as error:
                logger.debug("DNS over UDP: receiving failed: %s", error)
                peer = None
            if peer is not None:  # None: such an error, too
                self._respond(request, [], peer)
            await asyncio.sleep(0)  # a loop that has data at once does not let others run

    def _respond(self, request: bytes, ancillary: Ancillary, peer: Any) -> None:
        if peer[1] == 0:  # nobody can be answered there
            self._metrics.dns_dropped += 1
            return
        reply = self._service.respond(request, udp=True)
        if isinstance(reply, bytes):
            self._send(reply, ancillary, peer)
        elif reply is not None:
            self._look_up(reply, ancillary, peer)

    def _look_up(self, pending: Pending, ancillary: Ancillary, peer: Any) -> None:
        if len(self._lookups) >= MAX_LOOKUPS:
            self._metrics.dns_overload += 1
            return
        self._spawn(self._finish(pending, ancillary, peer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _finish(self, pending: Pending, ancillary: Ancillary, peer: Any) -> None:
        self._send(await self._service.finish(pending), ancillary, peer)

    def _send(self, reply: bytes, ancillary: Ancillary, peer: Any) -> None:
        try:
            if ancillary:
                self._sock.sendmsg([reply], _answer_from(ancillary), 0, peer)
            else:
                self._sock.sendto(reply, peer)
        except OSError as error:  # a full buffer or an unreachable asker: UDP may lose answers
            self._metrics.dns_dropped += 1
            logger.debug("DNS over UDP: no answer to %s: %s", peer, error)


def _ask_for_destination(sock: socket.socket) -> int:
    """Switch destination addresses on for a wildcard socket; returns the buffer size they need."""
    if sock.getsockname()[0] not in ("::", "0.0.0.0") or not hasattr(sock, "recvmsg"):
        return 0
    try:
        if sock.family == socket.AF_INET6 and hasattr(socket, "IPV6_RECVPKTINFO"):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif sock.family == socket.AF_INET and _IP_PKTINFO is not None:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            return 0
    except OSError as error:
        logger.debug("DNS over UDP: no destination addresses here: %s", error)
        return 0
    return socket.CMSG_SPACE(_IN6_PKTINFO.size) + socket.CMSG_SPACE(_IN_PKTINFO.size)


def _answer_from(ancillary: Ancillary) -> Ancillary:
    """The ancillary data that sends an answer from where its request went to.

    The interface is left to the routing table, except for link-local addresses, which mean nothing
    without it.
    """
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == getattr(socket, "IPV6_PKTINFO", None):
            address, interface = _IN6_PKTINFO.unpack_from(data)
            if address[:1] == b"\xff":  # a multicast address is nobody's to answer from
                return []
            scoped = interface if address[:2] == _LINK_LOCAL else 0
            return [(level, kind, _IN6_PKTINFO.pack(address, scoped))]
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, _ = _IN_PKTINFO.unpack_from(data)
            return [(level, kind, _IN_PKTINFO.pack(0, local, bytes(4)))]
    return []
