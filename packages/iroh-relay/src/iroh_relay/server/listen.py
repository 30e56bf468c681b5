"""One listening address of the server: a socket, what answers there, and its orderly end.

The socket takes IPv4 and IPv6 together, and its errors say what to do.
"""

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import web

from iroh_base.addr import SocketAddr

from .accept_limit import limited
from .acceptor import Acceptor
from .errors import ListenError
from .tls import TlsFactory

__all__ = ["Listener", "bound_addr", "listening_socket", "udp_socket"]

logger: logging.Logger = logging.getLogger(__name__)

_SHUTDOWN_GRACE: Final = 1.0
"""Seconds that requests in progress get when the server closes."""
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


class Listener:
    """aiohttp's `server` on an address, with TLS if there is a context."""

    def __init__(
        self,
        server: web.Server,
        *,
        context: ssl.SSLContext | None = None,
        handshake_timeout: float = 30.0,
        may_enter: Callable[[], bool] | None = None,
    ) -> None:
        self._server = server
        self._context = context
        self._handshake_timeout = handshake_timeout
        self._may_enter = may_enter
        self._acceptor: Acceptor | None = None
        self._tls: TlsFactory | None = None
        self.addr: SocketAddr | None = None

    async def start(self, addr: SocketAddr) -> SocketAddr:
        """Listen, and give the address that it really is. Raises `ListenError`.

        Cancelling leaves nothing open.
        """
        factory: Callable[[], asyncio.BaseProtocol] = self._server
        if self._context is not None:
            factory = self._tls = TlsFactory(self._server, self._context, self._handshake_timeout)
        if self._may_enter is not None:
            factory = limited(factory, self._may_enter)
        sock = listening_socket(addr)
        self._acceptor = Acceptor(sock, factory)
        self._acceptor.start()
        self.addr = bound_addr(sock)
        return self.addr

    def stop_listening(self) -> None:
        """Take no new connections."""
        if self._acceptor is not None:
            self._acceptor.stop()

    async def close(self) -> None:
        """Stop listening and end what is left. Idempotent."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            await acceptor.close()
            self._server.pre_shutdown()  # idle connections need not be waited for
            await self._server.shutdown(_SHUTDOWN_GRACE)
            if self._tls is not None:
                self._tls.abort()  # who was still in the handshake, or says no goodbye
                await asyncio.sleep(0)  # so that their sockets are closed when we return
            logger.debug("%s is closed", self.addr)


def listening_socket(addr: SocketAddr) -> socket.socket:
    """A bound, listening, non-blocking TCP socket.

    `[::]` accepts IPv4 too (asyncio's own sockets would not), and means `0.0.0.0` on a machine
    without IPv6. Raises `ListenError`.
    """
    return _bind(addr, socket.SOCK_STREAM)


def udp_socket(addr: SocketAddr) -> socket.socket:
    """A bound, non-blocking UDP socket; otherwise like `listening_socket`."""
    return _bind(addr, socket.SOCK_DGRAM)


def _bind(addr: SocketAddr, kind: socket.SocketKind) -> socket.socket:
    try:
        return _open(addr, kind)
    except OSError as error:
        if addr.ip == _ANY_V6 and error.errno in _NO_IPV6:
            logger.warning("no IPv6 on this machine, listening on %s:%d", _ANY_V4, addr.port)
            return _bind(SocketAddr(_ANY_V4, addr.port), kind)
        advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(f"cannot listen on {addr}: {advice}") from error


def bound_addr(sock: socket.socket) -> SocketAddr:
    """The address that a socket really has."""
    host, port, *_ = sock.getsockname()
    return SocketAddr(host, port)


def _open(addr: SocketAddr, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET if addr.is_ipv4 else socket.AF_INET6
    host, _, scope = addr.ip.partition("%")
    sock = socket.socket(family, kind)
    try:
        # Elsewhere, and for UDP, it would let two servers share a port.
        if os.name == "posix" and kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind((host, addr.port, 0, int(scope or 0)))
        else:
            sock.bind((host, addr.port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
