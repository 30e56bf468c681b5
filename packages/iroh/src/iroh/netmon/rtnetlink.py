"""Links, addresses and routes as rtnetlink tells them (man 7 rtnetlink; linux/rtnetlink.h).

link     | family 1 | pad 1 | kind 2 | index 4 | flags 4 | change 4 |           attributes
address  | family 1 | prefix length 1 | flags 1 | scope 1 | index 4 |           attributes
route    | family 1 | dst length 1 | src length 1 | tos 1 | table 1 | protocol 1 | scope 1
         | type 1 | flags 4 |                                                   attributes
next hop | length 2 | flags 1 | hops 1 | index 4 |       attributes; several in RTA_MULTIPATH
"""

import ipaddress
import struct
from typing import NamedTuple

from .netlink import Message, NetlinkError, encode_dump, parse_attributes

__all__ = ["Address", "Link", "Route", "decode", "is_noise"]

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26

GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""Multicast groups: link; IPv4 address and route; IPv6 address and route (`RTMGRP_*`)."""

AF_INET, AF_INET6 = 2, 10
TABLE_MAIN = 254
TYPE_UNICAST = 1
FLAGS_NO_HOP = 0x01 | 0x10  # next hop dead, or its link is down

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_HOP = struct.Struct("=HBBi")
_UINT = struct.Struct("=I")

_IFLA_ADDRESS, _IFLA_IFNAME = 1, 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_RTA_PREFSRC, _RTA_MULTIPATH, _RTA_TABLE = 7, 9, 15
_LENGTHS = {AF_INET: 4, AF_INET6: 16}


class Link(NamedTuple):
    """An interface. flags as in `ip link` (IFF_UP is 1); mac is empty where there is none."""

    interface: int
    name: str
    flags: int
    mac: bytes


class Address(NamedTuple):
    """An address of ours; flags are IFA_F_* (linux/if_addr.h)."""

    interface: int
    ip: str
    prefix_len: int
    flags: int


class Route(NamedTuple):
    """A route to `dst`/`dst_len`; an empty dst is the default. Empty texts: not told."""

    is_ipv4: bool
    table: int
    type: int
    flags: int
    dst: str
    dst_len: int
    interface: int
    gateway: str
    source: str
    metric: int


def dump_links(sequence: int) -> bytes:
    """Ask for all interfaces."""
    return encode_dump(GETLINK, sequence, _LINK.pack(0, 0, 0, 0, 0))


def dump_addresses(sequence: int) -> bytes:
    """Ask for all addresses."""
    return encode_dump(GETADDR, sequence, _ADDRESS.pack(0, 0, 0, 0, 0))


def dump_routes(sequence: int, family: int) -> bytes:
    """Ask for the main table of a family (older kernels answer with all tables)."""
    return encode_dump(GETROUTE, sequence, _ROUTE.pack(family, 0, 0, 0, TABLE_MAIN, 0, 0, 0, 0))


def decode(message: Message) -> Link | Address | Route | None:
    """Return what a NEW or DEL message is about, None for other kinds. Raises NetlinkError."""
    kind, payload = message.type, message.payload
    if kind in (NEWLINK, DELLINK):
        return _decode_link(payload)
    if kind in (NEWADDR, DELADDR):
        return _decode_address(payload)
    if kind in (NEWROUTE, DELROUTE):
        return _decode_route(payload)
    return None


def is_noise(message: Message) -> bool:
    """Say whether it is about a route that is no default route: a router may have a million."""
    if message.type not in (NEWROUTE, DELROUTE):
        return False
    return len(message.payload) < _ROUTE.size or bool(message.payload[1])  # length of dst


def _decode_link(payload: bytes) -> Link:
    _family, _kind, index, flags, _change = _unpack(_LINK, payload)
    attributes = parse_attributes(payload[_LINK.size :])
    name = attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")
    return Link(index, name, flags, attributes.get(_IFLA_ADDRESS, b""))


def _decode_address(payload: bytes) -> Address | None:
    family, prefix_len, flags, _scope, index = _unpack(_ADDRESS, payload)
    attributes = parse_attributes(payload[_ADDRESS.size :])
    # On a point-to-point link ADDRESS is the other end, and LOCAL is ours.
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if family not in _LENGTHS or not packed:
        return None
    flags = _number(attributes, _IFA_FLAGS, flags)
    return Address(index, _ip(family, packed), prefix_len, flags)


def _decode_route(payload: bytes) -> Route | None:
    family, dst_len, _, _, table, _, _, kind, flags = _unpack(_ROUTE, payload)
    if family not in _LENGTHS:
        return None
    attributes = parse_attributes(payload[_ROUTE.size :])
    interface, hop = _number(attributes, _RTA_OIF, 0), attributes
    if _RTA_MULTIPATH in attributes:
        interface, hop = _first_hop(attributes[_RTA_MULTIPATH])
    return Route(
        family == AF_INET,
        _number(attributes, _RTA_TABLE, table),
        kind,
        flags,
        _ip(family, attributes.get(_RTA_DST, b"")),
        dst_len,
        interface,
        _ip(family, hop.get(_RTA_GATEWAY, b"")),
        _ip(family, attributes.get(_RTA_PREFSRC, b"")),
        _number(attributes, _RTA_PRIORITY, 0),
    )


def _first_hop(data: bytes) -> tuple[int, dict[int, bytes]]:
    """Return interface and attributes of the first next hop that is alive; (0, {}) for none."""
    position = 0
    while len(data) - position >= _HOP.size:
        length, flags, _hops, index = _HOP.unpack_from(data, position)
        if not _HOP.size <= length <= len(data) - position:
            raise NetlinkError(f"a next hop of {length} bytes with {len(data) - position} left")
        if not flags & FLAGS_NO_HOP:
            return index, parse_attributes(data[position + _HOP.size : position + length])
        position += (length + 3) & ~3
    return 0, {}


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) < layout.size:
        raise NetlinkError(f"a payload of {len(payload)} bytes, at least {layout.size} expected")
    return layout.unpack_from(payload)


def _number(attributes: dict[int, bytes], kind: int, default: int) -> int:
    value = attributes.get(kind)
    if value is None:
        return default
    if len(value) != _UINT.size:
        raise NetlinkError(f"attribute {kind} has {len(value)} bytes, not {_UINT.size}")
    number: int = _UINT.unpack(value)[0]
    return number


def _ip(family: int, packed: bytes) -> str:
    if not packed:
        return ""
    if len(packed) != _LENGTHS[family]:
        raise NetlinkError(f"an address of {len(packed)} bytes in family {family}")
    return str(ipaddress.ip_address(packed))
