"""What the three protocols have in common: a router to ask, and a mapping to get."""

import ipaddress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from iroh_base import SocketAddr

from .errors import BadAnswerError

__all__ = ["Mapping", "PortProtocol", "Router", "external_addr"]


class Router(NamedTuple):
    """The IPv4 gateway, and our own address on its network, both as text."""

    gateway: str
    local_ip: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """A port of the gateway that leads to one of ours. lifetime: seconds, 0 for ever."""

    protocol: str
    internal_port: int
    external: SocketAddr
    lifetime: float


class PortProtocol(Protocol):
    """One way to ask a router. Whatever goes wrong is a PortmapError; all can be cancelled."""

    name: str

    async def probe(self) -> None:
        """Return if the gateway speaks it."""
        ...

    async def map(self, internal_port: int, wanted: SocketAddr | None) -> Mapping:
        """Get or renew a mapping, best the wanted one."""
        ...

    async def check(self, mapping: Mapping) -> bool:
        """Say whether the gateway still has it, with the same external address."""
        ...

    async def release(self, mapping: Mapping) -> None:
        """Take it back."""
        ...


def external_addr(ip: str, port: int) -> SocketAddr:
    """Return the address if a gateway can have it. Raises BadAnswerError.

    Private addresses pass: behind two NATs the outer network still reaches us by them.
    """
    address = ipaddress.IPv4Address(ip)
    if (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address in _RESERVED
        or not 0 < port < 65_536
    ):
        raise BadAnswerError(f"{ip}:{port} is no external address")
    return SocketAddr(ip, port)


_RESERVED = ipaddress.IPv4Network("240.0.0.0/4")
