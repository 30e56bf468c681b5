"""The UDP transport: the sockets that `binds.py` says, and the one by which a datagram leaves.

After a change of the machine's network `rebind` puts fresh sockets in their places: same address,
same port if that can be had. A socket whose address is gone stays as it is, and is tried again.
"""

import asyncio
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iroh.errors import BindError
from iroh.magicsock.binds import Bind, all_binds
from iroh.magicsock.mapped import MAPPED_PREFIX
from iroh.magicsock.udp import UdpSocket
from iroh.metrics import SocketMetrics
from iroh.quic.datagrams import Datagrams
from iroh_base import SocketAddr

logger: logging.Logger = logging.getLogger(__name__)

FLUSH_TIMEOUT = 0.5  # seconds a full kernel buffer may hold up the end
_REUSE = getattr(socket, "SO_REUSEADDR" if sys.platform == "linux" else "SO_REUSEPORT", None)
"""Lets the new socket have the old one's port while both are open; None: nothing does."""


@dataclass(slots=True)
class _Bound:
    bind: Bind
    udp: UdpSocket


class IpTransport:
    """The UDP sockets of an endpoint."""

    def __init__(
        self,
        on_batches: Callable[[Sequence[Datagrams]], None],
        binds: Sequence[Bind] = (),
        metrics: SocketMetrics | None = None,
        defaults: bool = True,
    ) -> None:
        """Bind. Raises BindError when a required socket cannot be bound; then none is."""
        self.dropped_mapped_source: int = 0
        """Datagrams that claimed a source inside the mapped prefix: nobody routes it."""
        self._metrics = metrics or SocketMetrics()
        self._deliver = on_batches
        self._bound: list[_Bound] = []
        self._raw: list[socket.socket] = []
        try:
            for bind in all_binds(binds, defaults):
                self._open(bind)
        except BaseException:
            self.close()
            raise
        families = {
            v4: [bound for bound in self._bound if bound.bind.addr.is_ipv4 == v4]
            for v4 in (True, False)
        }
        self._families = families
        # The common case: a family with one socket, which serves every target.
        self._sole = {
            v4: bounds[0].udp if len(bounds) == 1 and bounds[0].bind.takes_all else None
            for v4, bounds in families.items()
        }

    def _open(self, bind: Bind) -> None:
        try:
            sock = _new_socket(bind.addr)
        except OSError as error:
            if bind.required:
                failed = BindError(
                    f"cannot bind UDP {bind.addr}: {error.strerror or error}; "
                    "choose another address or port (port 0 takes any free one)"
                )
                failed.errno = error.errno
                raise failed from error
            logger.debug("not bound, and not required: %s: %s", bind.addr, error)
            return  # a host without IPv6
        self._bound.append(_Bound(bind, UdpSocket(sock, self._on_batches)))
        self._raw.append(sock)

    def start(self) -> None:
        """Read from now on."""
        for bound in self._bound:
            bound.udp.start()

    async def flush(self) -> None:
        """Let what is queued leave, for a moment: CONNECTION_CLOSE may be among it."""
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT):
                for bound in self._bound:
                    await bound.udp.flush()
        except TimeoutError:
            logger.debug("datagrams are left in the send queue")

    def close(self) -> None:
        """Release the ports at once."""
        for bound in self._bound:
            bound.udp.close()

    # -- rebinding -----------------------------------------------------------------------------

    def rebind(self) -> bool:
        """Replace every socket by a fresh one; say whether all could be.

        Those that could not keep working as far as they do. Nothing that arrived is lost.
        """
        outcomes = [self._rebind(bound) for bound in self._bound]  # each, whatever the others do
        return all(outcomes)

    def _rebind(self, bound: _Bound) -> bool:
        udp, asked = bound.udp, bound.bind.addr
        if udp.closed:
            return True
        fresh = self._same_port(udp, asked)
        if fresh is None and not asked.port:
            fresh = _try_socket(asked)
        if fresh is None:
            return False
        old = udp.raw
        udp.replace(fresh)
        self._raw[self._raw.index(old)] = fresh
        logger.debug("bound %s anew as %s", asked, udp.local_addr)
        return True

    def _same_port(self, udp: UdpSocket, asked: SocketAddr) -> socket.socket | None:
        if _REUSE is None:
            return None
        udp.raw.setsockopt(socket.SOL_SOCKET, _REUSE, 1)
        fresh = _try_socket(SocketAddr(asked.ip, udp.local_addr.port), _REUSE)
        kept = udp.raw if fresh is None else fresh
        kept.setsockopt(socket.SOL_SOCKET, _REUSE, 0)  # nobody else may share our port
        return fresh

    # -- sending -------------------------------------------------------------------------------

    def send(self, batch: Datagrams) -> bool:
        """Send to a real address. Says False when no socket of ours reaches it."""
        remote = batch.remote
        assert isinstance(remote, SocketAddr)
        is_v4 = ":" not in remote.ip
        udp = self._sole[is_v4] or self._choose(self._families[is_v4], remote, batch.local)
        if udp is None:
            return False
        if is_v4:
            self._metrics.send_ipv4 += len(batch.data)
        else:
            self._metrics.send_ipv6 += len(batch.data)
        udp.send(batch)
        return True

    def _choose(self, bounds: list[_Bound], remote: SocketAddr, local: object) -> UdpSocket | None:
        if isinstance(local, bytes):
            packed = local[:16]  # what follows is the index of the interface
            fits = (bound for bound in bounds if bound.bind.has_address(packed))
        else:
            fits = (bound for bound in bounds if bound.bind.reaches(remote))
        chosen = next(fits, None) or next((b for b in bounds if b.bind.is_default), None)
        return None if chosen is None else chosen.udp

    # -- addresses -----------------------------------------------------------------------------

    def bound_sockets(self) -> list[SocketAddr]:
        """Where we listen, IPv4 first, longest prefix first. Works after close."""
        return [bound.udp.local_addr for bound in self._bound]

    def sockets(self) -> list[socket.socket]:
        """The sockets of the operating system: a list that `rebind` keeps true."""
        return self._raw

    def direct_addresses(self, machine: Sequence[str] | None = None) -> list[SocketAddr]:
        """Where peers on this machine's networks reach us (iroh `direct addresses`, Local).

        machine: its regular addresses, if they are known; else they are looked up.
        """
        if machine is None:
            from iroh.netmon import read_network  # late: `import iroh` does without it

            machine = read_network().regular_addresses
        found: dict[SocketAddr, None] = {}
        for addr in self.bound_sockets():
            if any(addr.packed):
                found[addr] = None
                continue
            for ip in machine:
                if (":" not in ip) == addr.is_ipv4:
                    found[SocketAddr(ip, addr.port)] = None
        if not found:  # a machine without a network still reaches itself
            for addr in self.bound_sockets():
                found[SocketAddr("127.0.0.1" if addr.is_ipv4 else "::1", addr.port)] = None
        return list(found)

    @property
    def dropped(self) -> int:
        """Datagrams that could not be sent."""
        return sum(bound.udp.dropped for bound in self._bound)

    # -- receiving -----------------------------------------------------------------------------

    def _on_batches(self, batches: Sequence[Datagrams]) -> None:
        metrics = self._metrics
        liars = False
        for batch in batches:
            remote, size, count = batch.remote, len(batch.data), 1
            assert isinstance(remote, SocketAddr)
            if size > batch.segment_size:
                count = len(batch)
                metrics.recv_gro_datagrams += 1
            metrics.recv_datagrams += count
            if ":" not in remote.ip:
                metrics.recv_data_ipv4 += size
                continue
            metrics.recv_data_ipv6 += size
            if is_mapped(remote.ip):
                self.dropped_mapped_source += count
                liars = True
        if liars:
            batches = [batch for batch in batches if not is_mapped(_ip(batch))]
        if batches:
            self._deliver(batches)


def _ip(batch: Datagrams) -> str:
    assert isinstance(batch.remote, SocketAddr)
    return batch.remote.ip


def is_mapped(ip: str) -> bool:
    """Say whether an address is inside the prefix of mapped addresses, which nobody routes."""
    if not ip.startswith("fd15"):
        return False
    packed = ipaddress.ip_address(ip.partition("%")[0]).packed
    return packed.startswith(MAPPED_PREFIX)


def _new_socket(addr: SocketAddr, *options: int) -> socket.socket:
    """Bind a socket with these options of SOL_SOCKET set. Raises OSError."""
    sock = socket.socket(socket.AF_INET if addr.is_ipv4 else socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        if not addr.is_ipv4:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        ip, scope = addr.ip.partition("%")[0], addr.scope_id
        sock.bind((ip, addr.port, 0, scope) if scope else (ip, addr.port))
    except BaseException:
        sock.close()
        raise
    return sock


def _try_socket(addr: SocketAddr, *options: int) -> socket.socket | None:
    try:
        return _new_socket(addr, *options)
    except OSError as error:
        logger.debug("cannot bind %s anew: %s", addr, error)
        return None
