"""The UDP transport: one socket per address family, or those the user asked for.

Without `bind_addr` it binds 0.0.0.0:0, which must work, and [::]:0, which need not (iroh
`Builder::empty`). A `bind_addr` replaces the socket of its family.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence

from iroh.errors import BindError
from iroh.magicsock.local_addrs import regular_addresses
from iroh.magicsock.mapped import MAPPED_PREFIX
from iroh.magicsock.udp import UdpSocket
from iroh.quic.datagrams import Datagrams
from iroh_base import SocketAddr


class IpTransport:
    """The UDP sockets of an endpoint."""

    def __init__(
        self,
        on_batches: Callable[[Sequence[Datagrams]], None],
        bind_addrs: Sequence[SocketAddr] = (),
    ) -> None:
        self.received = 0
        self.dropped_mapped_source = 0
        """Datagrams that claimed a source inside the mapped prefix: nobody routes it."""
        self._deliver = on_batches
        self._sockets: dict[bool, UdpSocket] = {}  # is_ipv4 -> socket
        wanted = [(addr, True) for addr in bind_addrs]
        families = {addr.is_ipv4 for addr in bind_addrs}
        wanted += [
            (addr, required)
            for addr, required in ((SocketAddr("0.0.0.0", 0), True), (SocketAddr("::", 0), False))
            if addr.is_ipv4 not in families
        ]
        try:
            for addr, required in wanted:
                self._bind(addr, required)
        except BindError:
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
            ip, _, scope = addr.ip.partition("%")
            sock.bind((ip, addr.port, 0, int(scope)) if scope else (ip, addr.port))
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

    def close(self) -> None:
        """Release the ports at once."""
        for sock in self._sockets.values():
            sock.close()

    def send(self, batch: Datagrams) -> bool:
        """Send to a real address. Says False when no socket of that family exists."""
        remote = batch.remote
        assert isinstance(remote, SocketAddr)
        sock = self._sockets.get(remote.is_ipv4)
        if sock is None:
            return False
        sock.send(batch)
        return True

    def bound_sockets(self) -> list[SocketAddr]:
        """Where we listen, IPv4 first. Works after close."""
        return [self._sockets[v4].local_addr for v4 in (True, False) if v4 in self._sockets]

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
        for batch in batches:
            self.received += len(batch)
            remote = batch.remote
            assert isinstance(remote, SocketAddr)
            if remote.ip.startswith("fd15") and _is_mapped(remote.ip):
                self.dropped_mapped_source += len(batch)
            else:
                honest.append(batch)
        if honest:
            self._deliver(honest)


def _is_mapped(ip: str) -> bool:
    packed = ipaddress.ip_address(ip.partition("%")[0]).packed
    return packed.startswith(MAPPED_PREFIX)
