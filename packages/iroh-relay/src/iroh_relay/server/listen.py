"""The listening socket: one for IPv4 and IPv6 together, and errors that say what to do."""

import errno
import logging
import os
import socket
from typing import Final

from iroh_base.addr import SocketAddr

from .errors import ListenError

__all__ = ["bound_addr", "listening_socket"]

logger = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_ANY_V6: Final = "::"
_ANY_V4: Final = "0.0.0.0"
_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)

_ADVICE: Final = {
    errno.EADDRINUSE: "the address is already in use; stop the program that has it, or choose "
    "another port",
    errno.EACCES: "permission denied; choose a port above 1023, or run with the right to use "
    "low ports (on Linux: CAP_NET_BIND_SERVICE)",
    errno.EADDRNOTAVAIL: "this machine has no such address; use [::] for all addresses",
}


def listening_socket(addr: SocketAddr) -> socket.socket:
    """A bound, listening, non-blocking TCP socket.

    `[::]` accepts IPv4 too (asyncio's own sockets would not), and means `0.0.0.0` on a machine
    without IPv6. Raises `ListenError`.
    """
    try:
        return _listen(addr)
    except OSError as error:
        if addr.ip == _ANY_V6 and error.errno in _NO_IPV6:
            logger.warning("no IPv6 on this machine, listening on %s:%d", _ANY_V4, addr.port)
            return listening_socket(SocketAddr(_ANY_V4, addr.port))
        advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(f"cannot listen on {addr}: {advice}") from error


def bound_addr(sock: socket.socket) -> SocketAddr:
    """The address that a socket really has."""
    host, port, *_ = sock.getsockname()
    return SocketAddr(host, port)


def _listen(addr: SocketAddr) -> socket.socket:
    family = socket.AF_INET if addr.is_ipv4 else socket.AF_INET6
    host, _, scope = addr.ip.partition("%")
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind((host, addr.port, 0, int(scope or 0)))
        else:
            sock.bind((host, addr.port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
