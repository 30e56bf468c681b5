"""Listening sockets: both address families on one socket, one port for UDP and TCP.

An address of None means every address: a `::` socket that also takes IPv4 (as the Rust server
binds by default), or `0.0.0.0` on a machine without IPv6.
"""

import errno
import os
import socket
import sys
from ipaddress import IPv4Address, IPv6Address

from iroh_base.addr import SocketAddr
from iroh_dns_server.errors import BindError

__all__ = ["bind_dns", "bind_tcp", "local_addr"]

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL = 60, 15
"""Seconds; upstream TCP_KEEPALIVE_TIME and TCP_KEEPALIVE_INTERVAL."""
BACKLOG = 1024
"""Connections the kernel keeps ready; upstream DEFAULT_LISTEN_BACKLOG."""
PORT_ATTEMPTS = 20
"""Tries to find a port that is free for both UDP and TCP."""
UDP_RECEIVE_BUFFER = 1024 * 1024
"""Bytes asked of the kernel, so that a burst of queries waits instead of being lost."""

Address = IPv4Address | IPv6Address


def bind_tcp(
    address: Address | None, port: int, name: str, backlog: int = BACKLOG
) -> socket.socket:
    """A listening TCP socket for what errors call `name`. Raises `BindError`."""
    return _bind(socket.SOCK_STREAM, address, port, name, backlog)


def bind_dns(address: Address | None, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket on the same address and port. Raises `BindError`.

    Port 0 asks for a port that is free for both.
    """
    attempts = 1 if port else PORT_ATTEMPTS
    while True:
        tcp = bind_tcp(address, port, "dns over tcp")
        attempts -= 1
        try:
            udp = _bind(socket.SOCK_DGRAM, address, local_addr(tcp).port, "dns over udp")
        except BindError:
            tcp.close()
            if not attempts:
                raise
        else:
            return udp, tcp


def local_addr(sock: socket.socket) -> SocketAddr:
    """Where a socket is bound."""
    host, port = sock.getsockname()[:2]
    return SocketAddr(host, port)


def _bind(
    kind: socket.SocketKind, address: Address | None, port: int, name: str, backlog: int = 0
) -> socket.socket:
    every = "::" if socket.has_ipv6 else "0.0.0.0"
    host = every if address is None else str(address)
    try:
        return _open(kind, host, port, backlog)
    except OSError as error:
        no_ipv6 = error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
        if not (address is None and host == "::" and no_ipv6):
            raise _explain(error, host, port, name) from None
    try:
        return _open(kind, "0.0.0.0", port, backlog)
    except OSError as error:
        raise _explain(error, "0.0.0.0", port, name) from None


def _open(kind: socket.SocketKind, host: str, port: int, backlog: int) -> socket.socket:
    """A bound socket; a TCP socket also listens. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        if kind == socket.SOCK_STREAM:
            if sys.platform != "win32":  # there it would let two servers share the port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _keep_alive(sock)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_RECEIVE_BUFFER)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _keep_alive(sock: socket.socket) -> None:
    """Have the kernel find peers that vanished; accepted connections inherit this."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    if hasattr(socket, "TCP_KEEPINTVL"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)


def _explain(error: OSError, host: str, port: int, name: str) -> BindError:
    """What the operator can do about an address that is not to be had."""
    where = SocketAddr(host, port)
    advice = {
        errno.EADDRINUSE: "the port is in use: stop the other program or choose another port",
        errno.EACCES: f"port {port} needs privileges: run with them or choose a port above 1023",
        errno.EADDRNOTAVAIL: "this machine does not have that address: choose one that it has",
    }.get(error.errno or 0, os.strerror(error.errno or 0))
    return BindError(f"{name}: cannot listen on {where}: {advice}")
