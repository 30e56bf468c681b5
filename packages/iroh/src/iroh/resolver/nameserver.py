"""Which nameservers to ask: how they are written, and the public ones that stand behind them."""

import ipaddress
from dataclasses import dataclass
from typing import Literal

from iroh_base import AddrParseError, InvalidInputError, SocketAddr

__all__ = ["PUBLIC_NAMESERVERS", "Nameserver"]

Protocol = Literal["udp", "tcp", "tls", "https"]

_PORTS: dict[str, int] = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
"""RFC 1035 section 4.2, RFC 7858, RFC 8484."""


@dataclass(frozen=True, slots=True)
class Nameserver:
    """One nameserver: `ip:port` (UDP, TCP where needed), or with `tcp://`, `tls://`, `https://`.

    `#name` behind it is the name in the certificate; without one that must be for the address. Over
    HTTPS the question goes to `/dns-query`. The port may be left out.
    """

    protocol: Protocol
    ip: str
    port: int
    server_name: str | None = None

    @classmethod
    def parse(cls, text: "str | Nameserver") -> "Nameserver":
        """Read the text form; raises `InvalidInputError`."""
        if isinstance(text, Nameserver):
            return text
        scheme, found, rest = text.rpartition("://")
        protocol = _protocol(scheme if found else "udp", text)
        address, _, server_name = rest.partition("#")
        try:
            ip, port = SocketAddr.parse(address)
        except AddrParseError:
            ip, port = _bare_ip(address, text), _PORTS[protocol]
        return cls(protocol, ip, port, server_name or None)

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        name = f"#{self.server_name}" if self.server_name else ""
        return f"{self.protocol}://{host}:{self.port}{name}"


def _protocol(scheme: str, text: str) -> Protocol:
    match scheme:
        case "udp" | "tcp" | "tls" | "https":
            return scheme
    raise InvalidInputError(f"nameserver {text!r}: the scheme must be udp, tcp, tls or https")


def _bare_ip(address: str, text: str) -> str:
    try:
        return str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise InvalidInputError(f"nameserver {text!r}: expected ip, ip:port or [ip]:port") from None


PUBLIC_NAMESERVERS: tuple[Nameserver, ...] = tuple(
    Nameserver("udp", ip, 53)
    for ip in (
        "1.1.1.1",
        "8.8.8.8",
        "9.9.9.9",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2620:fe::fe",
    )
)
"""Cloudflare, Google and Quad9; upstream n0-dns-resolver `Provider`, its first addresses."""
