"""Multicast sockets: one for each interface and family, made and closed as the network changes.

A socket is bound to the group's address (on Windows, which cannot do that, to all addresses), so
only what was sent to the group on a link of ours comes in: RFC 6762 section 11. Port 5353 is
shared with the system's own responder by SO_REUSEADDR and SO_REUSEPORT.

Used are the interfaces that are up and can do multicast; loopback only where there is no other.
"""

import asyncio
import ipaddress
import logging
import socket
import struct
import sys
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from iroh.netmon import Interface, NetworkState

from .swarm import Family

__all__ = ["MDNS_IPV4", "MDNS_IPV6", "MDNS_PORT", "Link", "MulticastLinks", "links_of"]

logger: logging.Logger = logging.getLogger(__name__)

MDNS_PORT: Final = 5353
MDNS_IPV4: Final = "224.0.0.251"
MDNS_IPV6: Final = "ff02::fb"
"""RFC 6762 section 3."""

MULTICAST_HOPS: Final = 16
"""swarm-discovery's."""

MAX_LINKS: Final = 64
"""Interfaces in use, of each family one; further ones are left out."""

_IFF_MULTICAST = 0x1000  # linux/if.h
_IP_MULTICAST_ALL = 49  # linux/in.h: whether groups that other sockets joined come in, too


class Link(NamedTuple):
    """An interface by its number, for one family. ip: an address of ours on it, IPv4 only."""

    family: Family
    interface: int
    ip: str


def links_of(state: NetworkState, names: Collection[str] | None = None) -> list[Link]:
    """The links to use: of the interfaces named, or of all that lead outward, else loopback."""
    usable = [interface for interface in state.interfaces if interface.is_up and interface.addrs]
    if names is not None:
        chosen = [interface for interface in usable if interface.name in names]
    else:
        chosen = [each for each in usable if not each.is_loopback and _can_multicast(each)]
        chosen = chosen or [each for each in usable if each.is_loopback]
    links: list[Link] = []
    for interface in chosen:
        ips = [addr.ip for addr in interface.addrs]
        links += [Link(4, interface.index, ip) for ip in ips if ":" not in ip][:1]
        if any(":" in ip for ip in ips):
            links.append(Link(6, max(0, interface.index), ""))
    return links[:MAX_LINKS]


def _can_multicast(interface: Interface) -> bool:
    # the made-up interface of a portable look at the network has no index and no such flag
    return interface.index <= 0 or bool(interface.flags & _IFF_MULTICAST)


class MulticastLinks:
    """Sends to and hears from all links. `hear(data, family)` is called from the loop."""

    def __init__(self, hear: Callable[[bytes, Family], None], *, port: int = MDNS_PORT) -> None:
        self._hear = hear
        self._port = port
        self._open: dict[Link, asyncio.DatagramTransport] = {}
        self._failed: set[Link] = set()

    @property
    def links(self) -> list[Link]:
        """Those in use now."""
        return list(self._open)

    async def follow(self, wanted: Collection[Link]) -> None:
        """Close what is not wanted any more, and open what is new. Never raises OSError."""
        for link in [link for link in self._open if link not in wanted]:
            self._open.pop(link).abort()
        for link in wanted:
            if link not in self._open:
                await self._try(link)
        self._failed &= set(wanted)

    def send(self, data: bytes, family: Family | None) -> None:
        """Multicast over all links of a family; None: each interface once, by IPv4 if it can."""
        both = {link.interface for link in self._open if link.family == 4}
        for link, transport in self._open.items():
            if family is None and link.family == 6 and link.interface in both:
                continue
            if family in (None, link.family):
                transport.sendto(data, self._group(link))

    def close(self) -> None:
        """Close all sockets."""
        for transport in self._open.values():
            transport.abort()
        self._open.clear()

    def _group(self, link: Link) -> tuple[str, int] | tuple[str, int, int, int]:
        if link.family == 4:
            return MDNS_IPV4, self._port
        return MDNS_IPV6, self._port, 0, link.interface

    async def _try(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        sock = None
        try:
            sock = self._socket(link)
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Hearing(self._hear, link.family), sock=sock
            )
        except OSError as error:
            if sock is not None:
                sock.close()
            level = logging.DEBUG if link in self._failed else logging.INFO
            self._failed.add(link)
            logger.log(level, "no multicast on %s: %s", link, error)
        else:
            self._open[link] = transport

    def _socket(self, link: Link) -> socket.socket:
        family = socket.AF_INET if link.family == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if link.family == 4:
                self._set_up_v4(sock, link)
            else:
                self._set_up_v6(sock, link)
        except BaseException:
            sock.close()
            raise
        return sock

    def _set_up_v4(self, sock: socket.socket, link: Link) -> None:
        own = ipaddress.IPv4Address(link.ip).packed
        sock.bind(("" if sys.platform == "win32" else MDNS_IPV4, self._port))
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        group = socket.inet_aton(MDNS_IPV4)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + own)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, MULTICAST_HOPS)

    def _set_up_v6(self, sock: socket.socket, link: Link) -> None:
        level = socket.IPPROTO_IPV6
        sock.setsockopt(level, socket.IPV6_V6ONLY, 1)
        sock.bind(("::" if sys.platform == "win32" else MDNS_IPV6, self._port, 0, link.interface))
        group = socket.inet_pton(socket.AF_INET6, MDNS_IPV6)
        sock.setsockopt(level, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", link.interface))
        sock.setsockopt(level, socket.IPV6_MULTICAST_IF, link.interface)
        sock.setsockopt(level, socket.IPV6_MULTICAST_LOOP, 1)
        sock.setsockopt(level, socket.IPV6_MULTICAST_HOPS, MULTICAST_HOPS)


class _Hearing(asyncio.DatagramProtocol):
    def __init__(self, hear: Callable[[bytes, Family], None], family: Family) -> None:
        self._hear = hear
        self._family = family

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._hear(data, self._family)

    def error_received(self, exc: Exception) -> None:
        logger.debug("multicast: %s", exc)  # a network that went away; the monitor says so, too
