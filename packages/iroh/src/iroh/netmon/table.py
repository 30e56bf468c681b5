"""From rtnetlink's records to a `NetworkState`. Pure, and bounded whatever the kernel has."""

import logging
from collections import defaultdict
from collections.abc import Iterable

from .rtnetlink import FLAGS_NO_HOP, TABLE_MAIN, TYPE_UNICAST, Address, Link, Route
from .state import DefaultRoute, Interface, LocalIp, NetworkState, sorted_addrs

logger: logging.Logger = logging.getLogger(__name__)

MAX_INTERFACES = 1024
MAX_ADDRESSES = 2048
"""What is looked at on a machine with more, the lowest indexes and first addresses."""

_OPTIMISTIC, _DAD_FAILED, _DEPRECATED, _TENTATIVE = 0x04, 0x08, 0x20, 0x40  # linux/if_addr.h


def build_state(
    links: Iterable[Link], addresses: Iterable[Address], routes: Iterable[Route]
) -> NetworkState:
    """Put together what three dumps told."""
    kept = sorted(links, key=lambda link: link.interface)
    usable = [address for address in addresses if _is_usable(address)]
    if len(kept) > MAX_INTERFACES or len(usable) > MAX_ADDRESSES:
        logger.info("%d interfaces, %d addresses: not all are used", len(kept), len(usable))
    by_index: dict[int, list[LocalIp]] = defaultdict(list)
    for address in usable[:MAX_ADDRESSES]:
        deprecated = bool(address.flags & _DEPRECATED)
        by_index[address.interface].append(LocalIp(address.ip, address.prefix_len, deprecated))
    interfaces = tuple(
        Interface(
            link.interface, link.name, link.flags, link.mac, sorted_addrs(by_index[link.interface])
        )
        for link in kept[:MAX_INTERFACES]
    )
    up = {interface.index: interface for interface in interfaces if interface.is_up}
    defaults = sorted(
        (r for r in routes if _is_default(r) and r.interface in up), key=lambda route: route.metric
    )
    return NetworkState(interfaces, _first(defaults, True, up), _first(defaults, False, up))


def _first(routes: list[Route], v4: bool, up: dict[int, Interface]) -> DefaultRoute | None:
    for route in routes:
        if route.is_ipv4 == v4:
            name = up[route.interface].name
            return DefaultRoute(name, route.gateway or None, route.source or None)
    return None


def _is_default(route: Route) -> bool:
    return (
        not route.dst_len
        and route.table == TABLE_MAIN
        and route.type == TYPE_UNICAST
        and not route.flags & FLAGS_NO_HOP
    )


def _is_usable(address: Address) -> bool:
    """RFC 4429 optimistic addresses are; tentative and duplicate ones are not."""
    if address.flags & _DAD_FAILED:
        return False
    return not address.flags & _TENTATIVE or bool(address.flags & _OPTIMISTIC)
