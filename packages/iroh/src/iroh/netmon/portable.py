"""The network as any operating system shows it to Python: what a routing table look-up tells.

Names and indexes of the interfaces, and our address towards the IPv4 and the IPv6 internet.
Nothing is sent: connecting a UDP socket only looks the route up.
"""

import contextlib
import ipaddress
import socket

from .state import IFF_LOOPBACK, IFF_UP, DefaultRoute, Interface, LocalIp, NetworkState

__all__ = ["read_portable"]

_TARGETS = ((socket.AF_INET, "192.0.2.1", 32), (socket.AF_INET6, "2001:db8::1", 128))
"""RFC 5737 and RFC 3849 documentation addresses: nobody has them."""
_SOMEWHERE = "default"


def read_portable() -> NetworkState:
    """Read what can be read; never fails. The addresses are put on one made-up interface."""
    found = []
    routes: list[DefaultRoute | None] = []
    for family, target, prefix_len in _TARGETS:
        ip = _source_address(family, target)
        outward = bool(ip) and not ipaddress.ip_address(ip).is_loopback
        routes.append(DefaultRoute(_SOMEWHERE, None, ip) if outward else None)
        if outward:
            found.append(LocalIp(ip, prefix_len))
    loopback = (LocalIp("127.0.0.1", 8), LocalIp("::1", 128))
    interfaces = [
        Interface(0, _SOMEWHERE, IFF_UP, b"", tuple(found)),
        Interface(-1, "loopback", IFF_UP | IFF_LOOPBACK, b"", loopback),
    ]
    with contextlib.suppress(OSError):
        interfaces += [Interface(index, name, 0) for index, name in socket.if_nameindex()]
    return NetworkState(tuple(interfaces), routes[0], routes[1])


def _source_address(family: socket.AddressFamily, target: str) -> str:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 9))
            name: str = sock.getsockname()[0]
            return name.partition("%")[0]
    except OSError:
        return ""  # no route, or no such family
