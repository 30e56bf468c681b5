"""The addresses of this machine that a peer may reach (netwatch `ip.rs`, `LocalAddresses`).

"Regular" addresses: of interfaces that are up, without loopback and link-local ones; IPv6 unique
local ones only where there is nothing better. Loopback only where there is nothing else at all.
"""

import ipaddress
import socket
import struct
import sys
from pathlib import Path

_SIOCGIFADDR = 0x8915  # linux/sockios.h
_IFA_FLAGS_UNUSABLE = 0x08 | 0x20 | 0x40  # dadfailed, deprecated, tentative (linux/if_addr.h)


def regular_addresses() -> list[str]:
    """Return the regular addresses as text, IPv4 first, sorted."""
    v4 = _usable(_ipv4_addresses())
    v6 = _usable(_ipv6_addresses())
    routable = [ip for ip in v6 if ip not in ipaddress.ip_network("fc00::/7")]
    return [str(ip) for ip in (*v4, *(routable or v6))]


def _usable(texts: set[str]) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    ips = (ipaddress.ip_address(text) for text in texts)
    return sorted(
        (ip for ip in ips if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified)),
        key=lambda ip: ip.packed,
    )


def _ipv4_addresses() -> set[str]:
    found = {_source_address(socket.AF_INET, "192.0.2.1")}  # TEST-NET-1: only routed, never sent
    if sys.platform == "linux":
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _, name in socket.if_nameindex():
                request = struct.pack("256s", name.encode()[:15])
                try:
                    answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, request)
                except OSError:
                    continue  # an interface without an IPv4 address
                found.add(socket.inet_ntoa(answer[20:24]))
    return {ip for ip in found if ip}


def _ipv6_addresses() -> set[str]:
    found = {_source_address(socket.AF_INET6, "2001:db8::1")}
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        lines = []  # not Linux, or IPv6 is off
    for line in lines:
        digits, _index, _prefix, _scope, flags, _name = line.split()
        if not int(flags, 16) & _IFA_FLAGS_UNUSABLE:
            found.add(str(ipaddress.IPv6Address(bytes.fromhex(digits))))
    return {ip for ip in found if ip}


def _source_address(family: socket.AddressFamily, target: str) -> str:
    """Ask the routing table which address would be used towards `target`; sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 9))
            name: str = sock.getsockname()[0]
            return name.partition("%")[0]
    except OSError:
        return ""
