"""TLS for many clients, with small buffers; what is spoken inside is chosen by ALPN (RFC 7301).

asyncio gives every TLS connection 256 KiB to read into (`SSLProtocol.max_size`), which for 10,000
silent clients are 2.5 GB. A request here has at most a few KiB, so 32 KiB do at no loss of speed.
"""

import asyncio
import ssl
from asyncio import sslproto
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["HANDSHAKE_TIMEOUT", "TLS_BUFFER", "Chooser", "Factory", "TlsProtocol", "tls_protocol"]

TLS_BUFFER: Final = 32 * 1024
HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds for the handshake to complete."""

Factory = Callable[[], asyncio.BaseProtocol]


class TlsProtocol(sslproto.SSLProtocol):
    """TLS on one connection, from before its handshake to its end."""

    max_size = TLS_BUFFER
    tcp: asyncio.BaseTransport | None = None
    over: Callable[["TlsProtocol"], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is there; begin the handshake."""
        self.tcp = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The TCP connection has ended."""
        self.tcp = None
        self.over(self)
        super().connection_lost(exc)

    def abort(self) -> None:
        """End the connection, also in the middle of a handshake."""
        if isinstance(self.tcp, asyncio.Transport):
            self.tcp.abort()


class Chooser(asyncio.Protocol):
    """Stands in until the handshake is complete, then gives the connection to the protocol that
    was agreed on; without an agreement to `default`."""

    def __init__(self, choices: Mapping[str, Factory], default: Factory) -> None:
        self._choices = choices
        self._default = default

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is complete."""
        assert isinstance(transport, asyncio.Transport)
        session = transport.get_extra_info("ssl_object")
        name = session.selected_alpn_protocol() or ""
        protocol = self._choices.get(name, self._default)()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


def tls_protocol(
    context: ssl.SSLContext, inner: asyncio.Protocol, over: Callable[[TlsProtocol], None]
) -> TlsProtocol:
    """TLS on a connection, and `inner` within it; `over` is called at its end."""
    protocol = TlsProtocol(
        asyncio.get_running_loop(),
        inner,
        context,
        None,  # type: ignore[arg-type] # nobody waits for the handshake
        server_side=True,
        ssl_handshake_timeout=HANDSHAKE_TIMEOUT,  # type: ignore[arg-type] # seconds, of any kind
        ssl_shutdown_timeout=HANDSHAKE_TIMEOUT,
    )
    protocol.over = over
    return protocol
