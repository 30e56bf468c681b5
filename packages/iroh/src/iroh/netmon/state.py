"""What this machine's network is like, and which changes are major (netwatch `interfaces.rs`).

Addresses are canonical text without a scope. IPv6 addresses whose uniqueness is not (or will not
be) established are left out by whoever makes the state.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

__all__ = ["DefaultRoute", "Interface", "LocalIp", "NetworkChange", "NetworkState"]

IFF_UP, IFF_LOOPBACK = 0x1, 0x8
_GLOBAL = ipaddress.IPv6Network("2000::/3")
_UNIQUE_LOCAL = ipaddress.IPv6Network("fc00::/7")

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class LocalIp:
    """An address of an interface. A deprecated one still works, but should not be told others."""

    ip: str
    prefix_len: int
    deprecated: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface. flags as the operating system has them; mac may be empty."""

    index: int
    name: str
    flags: int
    mac: bytes = b""
    addrs: tuple[LocalIp, ...] = ()

    @property
    def is_up(self) -> bool:
        """Whether it is switched on."""
        return bool(self.flags & IFF_UP)

    @property
    def is_loopback(self) -> bool:
        """Whether it leads nowhere but to this machine."""
        return bool(self.flags & IFF_LOOPBACK)


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """Where what is for nobody near goes. None: not known (a tunnel has no gateway)."""

    interface: str
    gateway: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class NetworkState:
    """Interfaces by index, and the default route of each family."""

    interfaces: tuple[Interface, ...] = ()
    default_v4: DefaultRoute | None = None
    default_v6: DefaultRoute | None = None
    resumes: int = 0
    """How often the machine was seen to wake from sleep."""

    @property
    def default_interface(self) -> str | None:
        """Name of the interface of the default route, IPv4's if there are two."""
        route = self.default_v4 or self.default_v6
        return None if route is None else route.interface

    @cached_property
    def have_v4(self) -> bool:
        """Whether there is an IPv4 address that is no loopback one."""
        return any(ip.version == 4 for ip in self._outward())

    @cached_property
    def have_v6(self) -> bool:
        """Whether there is an IPv6 address that may reach others: global or unique local."""
        return any(ip in _GLOBAL or ip in _UNIQUE_LOCAL for ip in self._outward())

    @cached_property
    def home_router(self) -> tuple[str, str] | None:
        """Return the IPv4 gateway and our own address on its network; None if there is none."""
        route = self.default_v4
        if route is None or route.gateway is None:
            return None
        gateway = ipaddress.IPv4Address(route.gateway)
        own = [
            ipaddress.IPv4Interface(f"{addr.ip}/{addr.prefix_len}")
            for interface in self.interfaces
            if interface.name == route.interface and interface.is_up and not interface.is_loopback
            for addr in interface.addrs
            if ":" not in addr.ip
        ]
        near = [each for each in own if gateway in each.network]
        ip = route.source or next((str(each.ip) for each in (*near, *own)), None)
        return None if ip is None else (route.gateway, ip)

    @property
    def is_usable(self) -> bool:
        """Whether packets may leave: an address and a default route (iroh has_usable_network)."""
        return self.default_interface is not None and (self.have_v4 or self.have_v6)

    def _outward(self) -> Iterator[Ip]:
        for interface in self.interfaces:
            if interface.is_up and not interface.is_loopback:
                for addr in interface.addrs:
                    ip = ipaddress.ip_address(addr.ip)
                    if not ip.is_loopback:
                        yield ip

    @cached_property
    def local_addresses(self) -> frozenset[str]:
        """Every address that a socket of ours may have: of all interfaces that are up."""
        return frozenset(
            addr.ip for interface in self.interfaces if interface.is_up for addr in interface.addrs
        )

    @cached_property
    def regular_addresses(self) -> tuple[str, ...]:
        """Return the addresses that peers may reach, sorted, IPv4 first (netwatch `regular`).

        Without loopback, deprecated and link-local ones. Where that leaves nothing: IPv4
        link-local and IPv6 unique local ones, which some clouds translate.
        """
        regular: list[Ip] = []
        fallback: list[Ip] = []
        for interface in self.interfaces:
            if not interface.is_up or interface.is_loopback:
                continue
            for addr in interface.addrs:
                ip = ipaddress.ip_address(addr.ip)
                if addr.deprecated or ip.is_loopback or ip.is_unspecified or ip.is_multicast:
                    continue
                if ip.is_link_local:
                    fallback += [ip] if ip.version == 4 else []
                else:
                    (fallback if ip in _UNIQUE_LOCAL else regular).append(ip)
        return tuple(map(str, sorted(set(regular or fallback), key=_order)))

    def is_major_change_from(self, old: "NetworkState") -> bool:
        """Say whether sockets and paths must be looked after, not only our list of addresses.

        As netwatch, but that an interface that comes or goes without an address of ours is
        nothing: on a host of containers they do so all the time.
        """
        return (
            self.have_v4 != old.have_v4
            or self.have_v6 != old.have_v6
            or self.default_interface != old.default_interface
            or self.resumes != old.resumes
            or self.essence != old.essence
        )

    @cached_property
    def essence(self) -> frozenset[tuple[object, ...]]:
        """What of the interfaces makes a major change when it is another."""
        default = self.default_interface
        return frozenset(
            (interface.index, interface.name, interface.flags, interface.mac, prefixes)
            for interface in self.interfaces
            if (prefixes := _prefixes(interface)) or interface.name == default
        )

    def __str__(self) -> str:
        default = self.default_interface
        return "; ".join(
            f"{i.name}{'' if i.is_up else ' (down)'}{' (default)' if i.name == default else ''} "
            + " ".join(f"{a.ip}/{a.prefix_len}" for a in i.addrs)
            for i in self.interfaces
        )


@dataclass(frozen=True, slots=True)
class NetworkChange:
    """A change of the network. major: sockets are bound anew, relays checked, paths renewed."""

    major: bool
    state: NetworkState
    previous: NetworkState


def sorted_addrs(addrs: Iterable[LocalIp]) -> tuple[LocalIp, ...]:
    """Order addresses so that two readings of the same network are equal."""
    return tuple(sorted(set(addrs), key=lambda addr: _order(ipaddress.ip_address(addr.ip))))


def _order(ip: Ip) -> tuple[int, bytes]:
    return ip.version, ip.packed


def _prefixes(interface: Interface) -> tuple[tuple[str, int], ...]:
    """Return the addresses that others may know, none of the link-local and loopback ones."""
    prefixes = []
    for addr in interface.addrs:
        ip = ipaddress.ip_address(addr.ip)
        if not (ip.is_link_local or ip.is_loopback or ip.is_multicast):
            prefixes.append((addr.ip, addr.prefix_len))
    return tuple(prefixes)
