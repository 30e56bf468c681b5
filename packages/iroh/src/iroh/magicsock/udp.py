"""One UDP socket on the event loop: batches in, batches out.

Where the kernel has it (Linux), one `recvmsg` takes a run of equal datagrams of one sender
(UDP_GRO) and one `sendmsg` sends one (UDP_SEGMENT); the destination address of what arrives
(IP_PKTINFO) is the source address of the answer, which matters on a host with several; the ECN
bits come along (IP_RECVTOS). Elsewhere the same calls move one datagram each.
"""

import asyncio
import errno
import ipaddress
import logging
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from iroh.magicsock.watch_socket import SocketWatch
from iroh.quic.datagrams import Datagrams
from iroh_base import SocketAddr

logger: logging.Logger = logging.getLogger(__name__)

BUFFER_BYTES = 7_340_032  # asked of the kernel for each direction (noq-udp: 7 MiB)
MAX_GSO_SEGMENTS = 44  # 44 x 1452 bytes stay below the 65,535 of one UDP send
_READS_PER_WAKE = 32  # then other sockets and timers get their turn
_BYTES_PER_WAKE = 512 * 1024  # the same; what is read but not yet taken is bounded, too
_READS_AT_END = 64  # times that, before a socket is replaced
_TRUSTED_WAKES = 8
"""After a wake-up that found one datagram, so many take a lone one for all there is: the read that
finds nothing is dear, and should there be more, the next turn of the loop comes at once."""
_SEND_QUEUE = 256  # batches waiting for a full kernel buffer; then the oldest is dropped
_MAX_DATAGRAM = 65_535

# Linux constants that the socket module of Python 3.11 lacks (linux/udp.h, linux/in6.h).
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_IP_PKTINFO, _IP_RECVTOS, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 8, 13, 10, 3
_IPV6_MTU_DISCOVER = 23
_DONT_FRAGMENT = {
    "darwin": (
        (socket.AF_INET, socket.IPPROTO_IP, 28),  # IP_DONTFRAG, <netinet/in.h>
        (socket.AF_INET6, socket.IPPROTO_IPV6, 62),  # IPV6_DONTFRAG, <netinet6/in6.h>
    ),
    "win32": (
        (socket.AF_INET, socket.IPPROTO_IP, 14),  # IP_DONTFRAGMENT, <ws2ipdef.h>
        (socket.AF_INET6, socket.IPPROTO_IPV6, 14),  # IPV6_DONTFRAG
    ),
}
"""Elsewhere than on Linux: else the search for the path's MTU finds what routers cut to pieces."""
_GSO_REFUSED = {errno.EIO, errno.EINVAL, errno.EOPNOTSUPP}
_SOURCE_REFUSED = {errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.ENODEV}
"""What `sendmsg` says when we no longer have the address or interface that it shall leave by."""
_IPV4_LENGTH = 4
_LINK_LOCAL = b"\xfe\x80"
_REMEMBERED = 4096
"""Senders and sets of control messages that are kept as objects; then it starts over."""

Ancillary = tuple[int, int, bytes]


def local_ip(local: object) -> str | None:
    """Say which address of ours `Datagrams.local` stands for."""
    if not isinstance(local, bytes):
        return None
    return str(ipaddress.ip_address(local if len(local) == _IPV4_LENGTH else local[:16]))


class UdpSocket:
    """A bound socket. `on_batches` gets what one wake-up of the loop brought, in order."""

    def __init__(
        self, sock: socket.socket, on_batches: Callable[[Sequence[Datagrams]], None]
    ) -> None:
        self._sock = sock
        self._is_v4 = sock.family == socket.AF_INET
        self._on_batches = on_batches
        self._buffer = bytearray(_MAX_DATAGRAM)
        self._view = memoryview(self._buffer)
        self._queue: deque[Datagrams] = deque()
        self._watch: SocketWatch | None = None
        self._flushed: asyncio.Future[None] | None = None
        self._trusted = 0
        self._peers: dict[tuple[object, ...], SocketAddr] = {}
        self._controls: dict[tuple[object, int, int], list[Ancillary]] = {}
        self._linux = sys.platform == "linux"
        self._gso = self._linux
        self.local_addr: SocketAddr = self._name()
        self._local = self._only_address()
        self.dropped: int = 0
        """Datagrams the kernel would not take, or that no route led to."""
        self._configure()

    def start(self) -> None:
        """Read from now on, on the running loop."""
        self._watch = SocketWatch(self._sock, self._readable, self._received, self._writable)

    def close(self) -> None:
        """Stop and release the port at once. Idempotent."""
        if self._watch is not None:
            self._watch.stop()
        self._sock.close()
        self._end_queue()

    @property
    def raw(self) -> socket.socket:
        """The socket of the operating system."""
        return self._sock

    @property
    def closed(self) -> bool:
        """Whether the port was released."""
        return self._sock.fileno() < 0

    def replace(self, sock: socket.socket) -> None:
        """Go on with another socket of the same family, and close the present one.

        What it has received is delivered first; what is queued leaves by the new one.
        """
        if self._watch is not None:
            for _ in range(_READS_AT_END):
                if self.closed or not self._readable():
                    break
            if self.closed:  # by whom we delivered to
                sock.close()
                return
            self._watch.stop()
        self._sock.close()
        self._sock = sock
        self._gso = self._linux
        self.local_addr = self._name()
        self._local = self._only_address()
        self._controls.clear()
        self._configure()
        if self._watch is not None:
            self.start()
            if self._queue:
                self._watch.await_room()

    async def flush(self) -> None:
        """Wait until the kernel has taken what is queued, or the socket is closed."""
        while self._queue and self._watch is not None:
            if self._flushed is None:
                self._flushed = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._flushed,))

    def send(self, batch: Datagrams) -> None:
        """Send, or queue behind a full kernel buffer. What cannot be sent is dropped, counted."""
        if self._queue:
            self._enqueue(batch)
            return
        rest = self._send_now(batch)
        if rest is not None:
            self._enqueue(rest)
            if self._watch is not None and self._sock.fileno() >= 0:
                self._watch.await_room()

    # -- set-up --------------------------------------------------------------------------------

    def _name(self) -> SocketAddr:
        name = self._sock.getsockname()
        return SocketAddr(name[0], name[1])

    def _only_address(self) -> bytes | None:
        """The address that all arrives at, as `Datagrams.local` has it; None on any address."""
        address = ipaddress.ip_address(self.local_addr.ip.partition("%")[0])
        if address.is_unspecified or address.is_link_local:
            return None
        return address.packed if self._is_v4 else address.packed + bytes(4)

    def _configure(self) -> None:
        sock = self._sock
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._try_option(socket.SOL_SOCKET, option, BUFFER_BYTES)
        if not self._linux:
            for family, level, option in _DONT_FRAGMENT.get(sys.platform, ()):
                if family == sock.family:
                    self._try_option(level, option, 1)
            return
        self._try_option(_SOL_UDP, _UDP_GRO, 1)
        if self._is_v4:
            if self._local is None:
                self._try_option(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            self._try_option(socket.IPPROTO_IP, _IP_RECVTOS, 1)
            self._try_option(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        else:
            if self._local is None:
                self._try_option(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._try_option(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            self._try_option(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_PROBE)

    def _try_option(self, level: int, option: int, value: int) -> None:
        try:
            self._sock.setsockopt(level, option, value)
        except OSError as error:  # a refinement this kernel lacks: go on without
            logger.debug("socket option %d/%d refused: %s", level, option, error)

    # -- receive -------------------------------------------------------------------------------

    def _readable(self) -> bool:
        """Receive and deliver; say whether there may be more."""
        more = True
        batches: list[Datagrams] = []
        receive = self._receive_message if self._linux else self._receive_plain
        trusted = self._trusted
        size = 0
        for _ in range(_READS_PER_WAKE):
            try:
                batch = receive()
            except (BlockingIOError, InterruptedError):
                more = False
                break
            except OSError as error:  # Windows reports ICMP errors of earlier sends here
                logger.debug("receive on %s: %s", self.local_addr, error)
                continue
            if batch is not None:
                batches.append(batch)
                size += len(batch.data)
                if size >= _BYTES_PER_WAKE or (trusted and len(batch.data) <= batch.segment_size):
                    break
            trusted = 0
        if trusted:
            self._trusted = trusted - 1
        else:
            self._trusted = _TRUSTED_WAKES if len(batches) == 1 else 0
        if batches:
            self._on_batches(batches)
        return more

    def _receive_message(self) -> Datagrams | None:
        size, ancillary, _flags, source = self._sock.recvmsg_into((self._buffer,), 128)
        if not size:
            return None  # a zero-length datagram is no QUIC packet
        segment = ecn = 0
        local = self._local
        for level, kind, data in ancillary:
            if level == _SOL_UDP and kind == _UDP_GRO:
                segment = int.from_bytes(data[:4], sys.byteorder)
            elif level == socket.IPPROTO_IP:
                if kind == _IP_PKTINFO:
                    local = data[4:8]  # ipi_spec_dst: our address the datagram was sent to
                else:
                    ecn = data[0] & 3
            elif level == socket.IPPROTO_IPV6:
                if kind == socket.IPV6_PKTINFO:
                    local = data[:20]
                else:
                    ecn = data[0] & 3
        peer = self._peers.get(source) or self._new_peer(source)
        return Datagrams(peer, bytes(self._view[:size]), segment, ecn, local)

    def _receive_plain(self) -> Datagrams | None:
        size, source = self._sock.recvfrom_into(self._buffer)
        peer = self._peers.get(source) or self._new_peer(source)
        return Datagrams(peer, bytes(self._view[:size])) if size else None

    def _received(self, data: bytes, source: Any) -> None:
        """Deliver a datagram that the loop has read (see watch_socket.py)."""
        if data:
            peer = self._peers.get(source) or self._new_peer(source)
            self._on_batches([Datagrams(peer, data)])

    def _new_peer(self, source: tuple[str, int] | tuple[str, int, int, int]) -> SocketAddr:
        if self._is_v4 or len(source) == 2 or not source[3] or "%" in source[0]:
            peer = SocketAddr(source[0], source[1])
        else:
            peer = SocketAddr(f"{source[0]}%{source[3]}", source[1])
        if len(self._peers) >= _REMEMBERED:
            self._peers.clear()
        self._peers[source] = peer
        return peer

    # -- send ----------------------------------------------------------------------------------

    def _enqueue(self, batch: Datagrams) -> None:
        if len(self._queue) >= _SEND_QUEUE:
            self.dropped += len(self._queue.popleft())
        self._queue.append(batch)

    def _writable(self) -> None:
        while self._queue:
            rest = self._send_now(self._queue[0])
            if rest is not None:
                self._queue[0] = rest
                return
            self._queue.popleft()
        if self._watch is not None:
            self._watch.has_room()
        self._end_queue()

    def _end_queue(self) -> None:
        """Drop what is left in the queue, if anything, and tell those who wait for its end."""
        self.dropped += sum(map(len, self._queue))
        self._queue.clear()
        flushed, self._flushed = self._flushed, None
        if flushed is not None and not flushed.done():
            flushed.set_result(None)

    def _send_now(self, batch: Datagrams) -> Datagrams | None:
        """Give what the kernel had no room for; None when the batch is gone, sent or dropped."""
        if len(batch.data) <= batch.segment_size:
            outcome = self._try(batch.data, batch)
            if outcome == errno.EAGAIN:
                return batch
            self.dropped += outcome != 0
            return None
        count = len(batch)
        if self._gso and count <= MAX_GSO_SEGMENTS:
            outcome = self._try(batch.data, batch, batch.segment_size)
            if outcome == 0:
                return None
            if outcome == errno.EAGAIN:
                return batch
            if outcome not in _GSO_REFUSED:
                self.dropped += count
                return None
            dropped = self.dropped
            rest = self._send_singly(batch)
            if rest is None and self.dropped == dropped:  # else the address was the trouble
                self._gso = False  # this kernel or device cannot: one by one from now on
            return rest
        return self._send_singly(batch)

    def _send_singly(self, batch: Datagrams) -> Datagrams | None:
        for index, data in enumerate(batch):
            outcome = self._try(data, batch)
            if outcome == errno.EAGAIN:
                left = batch.data[index * batch.segment_size :]
                size = min(batch.segment_size, len(left))
                return Datagrams(batch.remote, left, size, batch.ecn, batch.local)
            if outcome:
                self.dropped += 1
        return None

    def _try(self, data: bytes, batch: Datagrams, segment: int = 0) -> int:
        """Send one datagram, or a run of them with a `segment` size: 0, or the error's number."""
        remote, key = batch.remote, (batch.local, batch.ecn, segment)
        assert isinstance(remote, SocketAddr)
        try:
            control = self._controls.get(key)
            self._send_one(data, self._new_control(*key) if control is None else control, remote)
        except (BlockingIOError, InterruptedError):
            return errno.EAGAIN
        except OSError as error:
            if batch.local is not None and error.errno in _SOURCE_REFUSED:
                # We may have moved to another network: let the kernel choose our address.
                return self._try(data, Datagrams(remote, batch.data, 0, batch.ecn), segment)
            logger.debug("send to %s: %s", remote, error)
            return error.errno or errno.EIO
        return 0

    def _send_one(self, data: bytes, ancillary: Sequence[Ancillary], remote: SocketAddr) -> None:
        if self._linux:
            target = remote if self._is_v4 else self._target(remote)
            self._sock.sendmsg((data,), ancillary, 0, target)
        else:
            self._sock.sendto(data, self._target(remote))

    def _target(self, remote: SocketAddr) -> tuple[str, int] | tuple[str, int, int, int]:
        ip, _, scope = remote.ip.partition("%")
        return (ip, remote.port, 0, int(scope)) if scope.isdigit() else (remote.ip, remote.port)

    def _new_control(self, local: object, ecn: int, segment: int) -> list[Ancillary]:
        control = self._make_control(local, ecn, segment) if self._linux else []
        if len(self._controls) >= _REMEMBERED:
            self._controls.clear()
        self._controls[local, ecn, segment] = control
        return control

    def _make_control(self, local: object, ecn: int, segment: int) -> list[Ancillary]:
        control: list[Ancillary] = []
        if segment:
            control.append((_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", segment)))
        if local == self._local:
            local = None
        if self._is_v4:
            if ecn:
                control.append((socket.IPPROTO_IP, socket.IP_TOS, struct.pack("=i", ecn)))
            if isinstance(local, bytes) and len(local) == _IPV4_LENGTH:
                # in_pktinfo: any interface, source address, header address unused
                info = bytes(4) + local + bytes(4)
                control.append((socket.IPPROTO_IP, _IP_PKTINFO, info))
        else:
            if ecn:
                tclass = struct.pack("=i", ecn)
                control.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tclass))
            if isinstance(local, bytes) and len(local) > _IPV4_LENGTH:
                # in6_pktinfo: source address, interface; routing finds it but for link-local ones
                info = local if local.startswith(_LINK_LOCAL) else local[:16] + bytes(4)
                control.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info))
        return control
