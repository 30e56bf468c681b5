"""The UDP transport: one socket per address family, or those the user asked for.

Unless told otherwise it binds 0.0.0.0:0, which must work, and [::]:0, which need not (iroh
`Builder::empty`). A `bind_addr` replaces the socket of its family. Without defaults only the
sockets asked for are bound, perhaps none: such an endpoint is reached over relays only.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence

from iroh.errors import BindError
from iroh.magicsock.local_addrs import regular_addresses
from iroh.magicsock.mapped import MAPPED_PREFIX
from iroh.magicsock.udp import UdpSocket
from iroh.metrics import SocketMetrics
from iroh.quic.datagrams import Datagrams
from iroh_base import SocketAddr

logger = logging.getLogger(__name__)

DEFAULT_BINDS = ((SocketAddr("0.0.0.0", 0), True), (SocketAddr("::", 0), False))
"""What is bound, and whether it must be (iroh `Builder::empty`)."""
FLUSH_TIMEOUT = 0.5  # seconds a full kernel buffer may hold up the end


class IpTransport:
    """The UDP sockets of an endpoint."""

    def __init__(
        self,
        on_batches: Callable[[Sequence[Datagrams]], None],
        bind_addrs: Sequence[SocketAddr] = (),
        metrics: SocketMetrics | None = None,
        defaults: bool = True,
    ) -> None:
        self.dropped_mapped_source = 0
        """Datagrams that claimed a source inside the mapped prefix: nobody routes it."""
        self._metrics = metrics or SocketMetrics()
        self._deliver = on_batches
        self._sockets: dict[bool, UdpSocket] = {}  # is_ipv4 -> socket
        wanted = [(addr, True) for addr in bind_addrs]
        families = {addr.is_ipv4 for addr in bind_addrs}
        if defaults:
            wanted += [(addr, must) for addr, must in DEFAULT_BINDS if addr.is_ipv4 not in families]
        try:
            for addr, required in wanted:
                self._bind(addr, required)
        except BaseException:
            self.close()
            raise

    def _bind(self, addr: SocketAddr, required: bool) -> None:
        if addr.is_ipv4 in self._sockets:
            raise BindError(f"cannot bind {addr}: there already is a socket of this family")
        family = socket.AF_INET if addr.is_ipv4 else socket.AF_INET6
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if not addr.is_ipv4:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            ip, scope = addr.ip.partition("%")[0], addr.scope_id
            sock.bind((ip, addr.port, 0, scope) if scope else (ip, addr.port))
        except OSError as error:
            if sock is not None:
                sock.close()
            if required:
                raise BindError(
                    f"cannot bind UDP {addr}: {error.strerror or error}; "
                    "choose another address or port (port 0 takes any free one)"
                ) from error
            return  # a host without IPv6
        self._sockets[addr.is_ipv4] = UdpSocket(sock, self._on_batches)

    def start(self) -> None:
        """Read from now on."""
        for sock in self._sockets.values():
            sock.start()

    async def flush(self) -> None:
        """Let what is queued leave, for a moment: CONNECTION_CLOSE may be among it."""
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT):
                for sock in self._sockets.values():
                    await sock.flush()
        except TimeoutError:
            logger.debug("datagrams are left in the send queue")

    def close(self) -> None:
        """Release the ports at once."""
        for sock in self._sockets.values():
            sock.close()

    def send(self, batch: Datagrams) -> bool:
        """Send to a real address. Says False when no socket of that family exists."""
        remote = batch.remote
        assert isinstance(remote, SocketAddr)
        is_v4 = remote.is_ipv4
        sock = self._sockets.get(is_v4)
        if sock is None:
            return False
        if is_v4:
            self._metrics.send_ipv4 += len(batch.data)
        else:
            self._metrics.send_ipv6 += len(batch.data)
        sock.send(batch)
        return True

    def bound_sockets(self) -> list[SocketAddr]:
        """Where we listen, IPv4 first. Works after close."""
        return [self._sockets[v4].local_addr for v4 in (True, False) if v4 in self._sockets]

    def sockets(self) -> list[socket.socket]:
        """The sockets of the operating system."""
        return [sock.raw for sock in self._sockets.values()]

    def direct_addresses(self) -> list[SocketAddr]:
        """Where peers on this machine's networks reach us (iroh `direct addresses`, Local)."""
        found: dict[SocketAddr, None] = {}
        machine = [ipaddress.ip_address(ip) for ip in regular_addresses()]
        for bound in self.bound_sockets():
            if not ipaddress.ip_address(bound.ip.partition("%")[0]).is_unspecified:
                found[bound] = None
                continue
            for ip in machine:
                if (ip.version == 4) == bound.is_ipv4:
                    found[SocketAddr(str(ip), bound.port)] = None
        if not found:  # a machine without a network still reaches itself
            for bound in self.bound_sockets():
                found[SocketAddr("127.0.0.1" if bound.is_ipv4 else "::1", bound.port)] = None
        return list(found)

    @property
    def dropped(self) -> int:
        """Datagrams that could not be sent."""
        return sum(sock.dropped for sock in self._sockets.values())

    def _on_batches(self, batches: Sequence[Datagrams]) -> None:
        honest = []
        metrics = self._metrics
        for batch in batches:
            remote, count = batch.remote, len(batch)
            assert isinstance(remote, SocketAddr)
            if remote.ip.startswith("fd15") and _is_mapped(remote.ip):
                self.dropped_mapped_source += count
                continue
            honest.append(batch)
            metrics.recv_datagrams += count
            metrics.recv_gro_datagrams += count > 1
            if remote.is_ipv4:
                metrics.recv_data_ipv4 += len(batch.data)
            else:
                metrics.recv_data_ipv6 += len(batch.data)
        if honest:
            self._deliver(honest)


def _is_mapped(ip: str) -> bool:
    packed = ipaddress.ip_address(ip.partition("%")[0]).packed
    return packed.startswith(MAPPED_PREFIX)
