"""Mapped addresses: what QUIC believes to be an IP address, and magicsock knows better.

    fd15:070a:510b | subnet | 8 random bytes      port 12345, always
    ---------------+--------+---------------
                     0000     "this endpoint, over any path": where a dial starts
                     0001     "this endpoint over this relay"
                     0003     "this address of a custom transport"

An RFC 4193 unique local prefix that nobody routes (iroh `socket/mapped_addrs.rs`). The addresses
never reach the wire. Our engine takes any hashable, so a mapped address is an object of its own
type: a UDP packet that claims such a source address can never be mistaken for one.
"""

import ipaddress
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from iroh_base import CustomAddr, PublicKey, RelayUrl, SocketAddr, TransportAddr

MAPPED_PREFIX = bytes.fromhex("fd15070a510b")
MAPPED_PORT = 12345  # iroh MAPPED_PORT
SUBNET_MIXED = 0
SUBNET_RELAY = 1
SUBNET_CUSTOM = 3

K = TypeVar("K", bound=Hashable)


class MappedAddr(Generic[K]):
    """A fake IPv6 address and what it stands for. Equal to another that stands for the same."""

    __slots__ = ("_hash", "ip", "key", "port")

    def __init__(self, key: K, ip: str) -> None:
        self.key: K = key
        self.ip: str = ip
        self.port: int = MAPPED_PORT
        self._hash = hash(key)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self.key == other.key

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"[{self.ip}]:{self.port}"


class MixedAddr(MappedAddr[PublicKey]):
    """An endpoint over every address known of it."""

    __slots__ = ()


class RelayPathAddr(MappedAddr[tuple[RelayUrl, PublicKey]]):
    """An endpoint over one relay."""

    __slots__ = ()

    @property
    def url(self) -> RelayUrl:
        """The relay."""
        return self.key[0]

    @property
    def endpoint_id(self) -> PublicKey:
        """The endpoint behind it."""
        return self.key[1]


class CustomPathAddr(MappedAddr[CustomAddr]):
    """An address of a custom transport."""

    __slots__ = ()


def transport_addr(address: object) -> TransportAddr | None:
    """Return the transport address behind what QUIC calls it; None for "any path"."""
    if isinstance(address, SocketAddr):
        return address
    if isinstance(address, RelayPathAddr):
        return address.url
    return address.key if isinstance(address, CustomPathAddr) else None


A = TypeVar("A", MixedAddr, RelayPathAddr, CustomPathAddr)


class AddrMap(Generic[K, A]):
    """Gives every key its mapped address, the same one as long as the key is remembered.

    Bounded: the least recently used entry goes when `capacity` is reached. A connection that still
    uses it does not notice: the entry made next for that key is equal to the one it holds.
    """

    def __init__(
        self,
        make: Callable[[K, str], A],
        subnet: int,
        rng: Callable[[int], bytes],
        capacity: int = 16_384,
    ) -> None:
        self._make: Callable[[K, str], A] = make
        self._prefix = MAPPED_PREFIX + subnet.to_bytes(2, "big")
        self._rng = rng
        self._capacity = capacity
        self._by_key: dict[K, A] = {}

    def get(self, key: K) -> A:
        """Return the key's address, making one up on first sight."""
        addr = self._by_key.pop(key, None)
        if addr is None:
            ip = str(ipaddress.IPv6Address(self._prefix + self._rng(8)))
            addr = self._make(key, ip)
            if len(self._by_key) >= self._capacity:
                del self._by_key[next(iter(self._by_key))]
        self._by_key[key] = addr
        return addr

    def __len__(self) -> int:
        return len(self._by_key)


class MappedAddrs:
    """The maps of one endpoint."""

    def __init__(self, rng: Callable[[int], bytes]) -> None:
        self.mixed: AddrMap[PublicKey, MixedAddr] = AddrMap(MixedAddr, SUBNET_MIXED, rng)
        self.relay: AddrMap[tuple[RelayUrl, PublicKey], RelayPathAddr] = AddrMap(
            RelayPathAddr, SUBNET_RELAY, rng
        )
        self.custom: AddrMap[CustomAddr, CustomPathAddr] = AddrMap(
            CustomPathAddr, SUBNET_CUSTOM, rng
        )
