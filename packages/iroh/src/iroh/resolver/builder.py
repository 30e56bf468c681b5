"""`DnsResolverBuilder`: a resolver put together step by step, by upstream's names.

resolver = (
    DnsResolver.builder()
    .with_nameserver("192.0.2.53:853", DnsProtocol.TLS, "dns.example.org")
    .tls_client_config(context)
    .build()
)
"""

import enum
import ssl
from typing import TYPE_CHECKING, Self

from .nameserver import Nameserver
from .stub import FallbackMode

if TYPE_CHECKING:
    from .dns import DnsResolver

__all__ = ["DnsProtocol", "DnsResolverBuilder"]


class DnsProtocol(enum.Enum):
    """How a nameserver is asked; upstream iroh-dns `DnsProtocol`."""

    UDP = "udp"
    """Datagrams, with TCP where they do not do."""
    TCP = "tcp"
    TLS = "tls"
    """RFC 7858."""
    HTTPS = "https"
    """RFC 8484."""


class DnsResolverBuilder:
    """Collects nameservers. Without any it builds the resolver of the system."""

    def __init__(self) -> None:
        self._nameservers: list[Nameserver] = []
        self._system = False
        self._ssl_context: ssl.SSLContext | None = None
        self._fallback: FallbackMode | None = None

    def with_system_defaults(self) -> Self:
        """Ask the nameservers of the system, too, behind those that are named."""
        self._system = True
        return self

    def with_nameserver(
        self,
        addr: str,
        protocol: DnsProtocol = DnsProtocol.UDP,
        server_name: str | None = None,
    ) -> Self:
        """Ask this nameserver, "ip:port". Raises InvalidInputError.

        server_name: in its certificate, for TLS and HTTPS; None: it is for the address.
        """
        name = f"#{server_name}" if server_name else ""
        self._nameservers.append(Nameserver.parse(f"{protocol.value}://{addr}{name}"))
        return self

    def tls_client_config(self, context: ssl.SSLContext) -> Self:
        """Whom to trust over TLS and HTTPS; otherwise whom the system trusts."""
        self._ssl_context = context
        return self

    def fallback(self, mode: FallbackMode) -> Self:
        """When public nameservers are asked."""
        self._fallback = mode
        return self

    def build(self) -> "DnsResolver":
        """Make the resolver; no I/O is done."""
        from .dns import DnsResolver

        return DnsResolver(
            self._nameservers or None,
            with_system=self._system,
            fallback=self._fallback,
            ssl_context=self._ssl_context,
        )
