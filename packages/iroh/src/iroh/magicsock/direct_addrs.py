"""Where peers may reach this endpoint without a relay, and how we know (iroh `DirectAddr`).

    order  source            who tells
    -----  ----------------  -----------------------------------------------------------------
      1    PORTMAPPED        a router that forwards a port to us (NAT-PMP, PCP, UPnP)
      2    QAD               a relay that saw where our IPv4 packets come from
      3    QAD4_LOCAL_PORT   that IP with the port we were told to bind, where the NAT gives each
                             destination another port: its owner may have forwarded it by hand
      4    QAD               the same for IPv6, as seen
      5    LOCAL             the interfaces of this machine, and sockets bound to one address
      6    CONFIG            the application

An address that several sources give is listed once, under the first. The list is what we publish,
what goes into tickets, and what hole punching offers to the peer.
"""

import enum
from collections.abc import Iterator, Sequence

from iroh_base import SocketAddr

MAX_LOCAL = 256
"""Interface addresses taken; hole punching uses 32 at most (iroh), a dial 30."""


class DirectAddrSource(enum.Enum):
    """How a direct address became known (iroh `DirectAddrType`)."""

    PORTMAPPED = "portmapped"
    QAD = "qad"
    QAD4_LOCAL_PORT = "qad4_local_port"
    LOCAL = "local"
    CONFIG = "config"


class DirectAddresses:
    """The ordered list. Every setter says whether the list changed by it."""

    def __init__(self, configured_v4_port: int = 0) -> None:
        """configured_v4_port: the port the application asked for, 0 if any was fine."""
        self._v4_port = configured_v4_port
        self._portmapped: SocketAddr | None = None
        self._global_v4: SocketAddr | None = None
        self._global_v6: SocketAddr | None = None
        self._varies_v4: bool | None = None
        self._local: tuple[SocketAddr, ...] = ()
        self._external: dict[SocketAddr, None] = {}
        self._sources: dict[SocketAddr, DirectAddrSource] = {}

    def get(self) -> list[SocketAddr]:
        """Return the addresses, the most useful source first."""
        return list(self._sources)

    def __contains__(self, addr: SocketAddr) -> bool:
        return addr in self._sources

    def sources(self) -> dict[SocketAddr, DirectAddrSource]:
        """Return every address with the first source that gave it."""
        return dict(self._sources)

    @property
    def global_v4(self) -> SocketAddr | None:
        """Where relays see our IPv4 packets come from."""
        return self._global_v4

    @property
    def global_v6(self) -> SocketAddr | None:
        """The same for IPv6."""
        return self._global_v6

    @property
    def mapping_varies_v4(self) -> bool | None:
        """Whether our NAT gives every destination another port; None while nobody knows."""
        return self._varies_v4

    @property
    def external(self) -> list[SocketAddr]:
        """What the application added."""
        return list(self._external)

    def set_portmapped(self, addr: SocketAddr | None) -> bool:
        """Take the address a router forwards to us, None when there is none any more."""
        self._portmapped = addr
        return self._rebuild()

    def set_report(
        self,
        global_v4: SocketAddr | None,
        global_v6: SocketAddr | None,
        mapping_varies_v4: bool | None,
    ) -> bool:
        """Take what a net report found out."""
        self._global_v4, self._global_v6 = global_v4, global_v6
        self._varies_v4 = mapping_varies_v4
        return self._rebuild()

    def set_local(self, addrs: Sequence[SocketAddr]) -> bool:
        """Take the addresses of this machine, with the ports our sockets have."""
        self._local = tuple(addrs[:MAX_LOCAL])
        return self._rebuild()

    def add_external(self, addr: SocketAddr) -> bool:
        """Add an address that the application knows us to be reached by."""
        self._external[addr] = None
        return self._rebuild()

    def remove_external(self, addr: SocketAddr) -> bool:
        """Take it back."""
        self._external.pop(addr, None)
        return self._rebuild()

    def _rebuild(self) -> bool:
        sources: dict[SocketAddr, DirectAddrSource] = {}
        for addr, source in self._in_order():
            sources.setdefault(addr, source)
        changed = list(sources) != list(self._sources)
        self._sources = sources
        return changed

    def _in_order(self) -> Iterator[tuple[SocketAddr, DirectAddrSource]]:
        if self._portmapped is not None:
            yield self._portmapped, DirectAddrSource.PORTMAPPED
        if self._global_v4 is not None:
            yield self._global_v4, DirectAddrSource.QAD
            if self._v4_port and self._varies_v4:
                by_hand = SocketAddr(self._global_v4.ip, self._v4_port)
                yield by_hand, DirectAddrSource.QAD4_LOCAL_PORT
        if self._global_v6 is not None:
            yield self._global_v6, DirectAddrSource.QAD
        for addr in self._local:
            yield addr, DirectAddrSource.LOCAL
        for addr in self._external:
            yield addr, DirectAddrSource.CONFIG
