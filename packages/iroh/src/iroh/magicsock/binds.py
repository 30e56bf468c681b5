"""Which UDP sockets are bound, and which of them a datagram leaves by (iroh `endpoint/bind.rs`).

built in                         0.0.0.0:0, required; [::]:0, not required; both for any target
a bind that is a default route   takes the place of the built-in one of its family
any other bind                   stands beside it

our own address is known         the first socket bound to it, or to all addresses
else                             the first socket whose subnet has the target; longest first
none of them                     the family's default route, else nowhere
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from iroh_base import InvalidInputError, SocketAddr

__all__ = ["DEFAULT_BINDS", "Bind", "BindOpts", "add_bind", "all_binds"]

_IPV4_BITS, _IPV6_BITS = 32, 128


@dataclass(frozen=True, kw_only=True)
class BindOpts:
    """How a socket is bound and used (iroh `BindOpts`).

    prefix_len: bits of the bound address that its subnet shares; 0 is every target.
    is_required: False lets the endpoint do without this socket when it cannot be bound.
    is_default_route: used where no subnet fits; None: exactly if prefix_len is 0.
    """

    prefix_len: int = 0
    is_required: bool = True
    is_default_route: bool | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to bind, and how it is used."""

    addr: SocketAddr
    prefix_len: int = 0
    required: bool = True
    is_default: bool = True

    def has_address(self, packed: bytes) -> bool:
        """Whether datagrams from this address of ours may leave by it."""
        own = self.addr.packed
        return own == packed or not any(own)

    def reaches(self, remote: SocketAddr) -> bool:
        """Whether the target is in its subnet, or on its link."""
        own, other = self.addr.packed, remote.packed
        shift = 8 * len(own) - self.prefix_len
        if int.from_bytes(own, "big") >> shift == int.from_bytes(other, "big") >> shift:
            return True
        link_local = not remote.is_ipv4 and ipaddress.IPv6Address(other).is_link_local
        return link_local and self.addr.scope_id == remote.scope_id

    @property
    def takes_all(self) -> bool:
        """Whether it alone can serve its family, whatever the target."""
        return not self.prefix_len and (self.is_default or not any(self.addr.packed))


DEFAULT_BINDS = (
    Bind(SocketAddr("0.0.0.0", 0), is_default=False),
    Bind(SocketAddr("::", 0), required=False, is_default=False),
)
"""What is bound where nothing else is asked for (iroh `Builder::empty`)."""


def add_bind(binds: list[Bind], addr: SocketAddr, opts: BindOpts) -> None:
    """Add a bind. Raises InvalidInputError for a bad prefix, or after a default of the family."""
    bits = _IPV4_BITS if addr.is_ipv4 else _IPV6_BITS
    if not 0 <= opts.prefix_len <= bits:
        raise InvalidInputError(f"a prefix length of {addr} is 0 to {bits}, not {opts.prefix_len}")
    for other in binds:
        if other.is_default and other.addr.is_ipv4 == addr.is_ipv4:
            raise InvalidInputError(
                f"cannot bind {addr} beside {other.addr}, which is the default route of its "
                "family: give all but one a prefix_len or is_default_route=False, and that one last"
            )
    default = opts.is_default_route
    is_default = not opts.prefix_len if default is None else default
    binds.append(Bind(addr, opts.prefix_len, opts.is_required, is_default))


def all_binds(binds: Iterable[Bind], defaults: bool) -> list[Bind]:
    """Return what is to be bound: IPv4 first, longest prefix first, with the built-in ones."""
    wanted = list(binds)
    if defaults:
        taken = {bind.addr.is_ipv4 for bind in wanted if bind.is_default}
        wanted += [bind for bind in DEFAULT_BINDS if bind.addr.is_ipv4 not in taken]
    return sorted(wanted, key=lambda bind: (not bind.addr.is_ipv4, -bind.prefix_len))
