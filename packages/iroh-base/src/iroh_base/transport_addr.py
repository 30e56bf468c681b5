"""Transport addresses: one way to reach an endpoint.

A `TransportAddr` is one of three: a relay (`RelayUrl`), a socket (`SocketAddr`) or an address of a
custom transport (`CustomAddr`).

    text      relay:https://r.example/   ip:1.2.3.4:5   ip:[2001:db8::1]:5   custom:544f52_0102

    postcard  00 | varint length | URL
              01 00 | IPv4 address 4 | varint port
              01 01 | IPv6 address 16 | varint port              (the scope is lost)
              02 | varint id | varint length | data

    JSON      {"Relay": "https://r.example/"}   {"Ip": "1.2.3.4:5"}
              {"Custom": {"id": 5525330, "data": [1, 2]}}

They are ordered as in Rust's `BTreeSet<TransportAddr>`: relays by their text, then sockets (IPv4
first, by address, port, scope), then custom addresses by id, those of up to 30 bytes first by
length and bytes, the longer ones after them by bytes.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeAlias

from .encoding import from_hex
from .errors import AddrParseError, PostcardError
from .ip_text import ip_text
from .postcard import Reader, Writer
from .relay_url import RelayUrl

__all__ = [
    "CustomAddr",
    "SocketAddr",
    "TransportAddr",
    "read_transport_addr",
    "to_transport_addr",
    "transport_addr_from_json",
    "transport_addr_key",
    "transport_addr_text",
    "transport_addr_to_json",
    "write_transport_addr",
]

_SYNTAX = 'it is "ip:port", and names are not looked up'
_V4 = re.compile(r"([0-9.]+):([0-9]+)")
_V6 = re.compile(r"\[([0-9a-fA-F:.]+)(?:%([0-9]+))?\]:([0-9]+)")
_MAX_PORT = 0xFFFF
_MAX_SCOPE = 0xFFFF_FFFF
_MAX_U64 = 0xFFFF_FFFF_FFFF_FFFF
_HEX_NUMBER = re.compile(r"\+?[0-9a-fA-F]+")
_INLINE_LENGTH = 30  # upstream: CustomAddrBytes::Inline
_ID_LENGTH = 8


class SocketAddr(NamedTuple):
    """An IP address in canonical text and a port; equal to the plain tuple `(ip, port)`.

    `parse` and `from_parts` make the text canonical and check it, direct construction does not. A
    numeric IPv6 scope stays in `ip`, as `fe80::1%3`.
    """

    ip: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address in `1.2.3.4:5` or `[2001:db8::1]:5` form, else `AddrParseError`.

        The same texts as in Rust: no names, no blanks, a decimal port, no zeros in front of an
        octet.
        """
        if not isinstance(text, str):
            raise TypeError(f"an address is text, not {type(text).__name__}; {_SYNTAX}")
        try:
            if match := _V4.fullmatch(text):
                return cls._checked(ipaddress.IPv4Address(match[1]).packed, "0", match[2])
            if match := _V6.fullmatch(text):
                packed = ipaddress.IPv6Address(match[1]).packed
                return cls._checked(packed, match[2] or "0", match[3])
        except ValueError:
            pass
        raise AddrParseError(f"invalid socket address syntax: {text[:80]!r}", hint=_SYNTAX)

    @classmethod
    def from_parts(cls, ip: str, port: int) -> Self:
        """The address of a host (an IPv6 scope may follow after `%`) and a port."""
        return cls.parse(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}")

    @classmethod
    def from_packed(cls, address: bytes, port: int) -> Self:
        """The address of 4 or 16 bytes in network order and a port."""
        return cls(ip_text(address), port)

    @classmethod
    def _checked(cls, packed: bytes, scope: str, port: str) -> Self:
        # A number of thousands of digits must not reach int(); leading zeros are allowed.
        port_number = int(port.lstrip("0")[:6] or "0")
        scope_number = int(scope.lstrip("0")[:11] or "0")
        if port_number > _MAX_PORT or scope_number > _MAX_SCOPE:
            raise ValueError("port or scope out of range")
        suffix = f"%{scope_number}" if scope_number else ""
        return cls(ip_text(packed) + suffix, port_number)

    @property
    def is_ipv4(self) -> bool:
        """Whether this is an IPv4 address."""
        return ":" not in self.ip

    @property
    def scope_id(self) -> int:
        """The IPv6 scope, 0 when there is none."""
        return int(self.ip.partition("%")[2] or "0")

    @property
    def packed(self) -> bytes:
        """The 4 or 16 bytes of the IP address."""
        return ipaddress.ip_address(self.ip.partition("%")[0]).packed

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}" if self.is_ipv4 else f"[{self.ip}]:{self.port}"


@dataclass(frozen=True, slots=True)
class CustomAddr:
    """An address of a custom transport: the transport's id (u64) and opaque bytes."""

    id: int
    data: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.id <= _MAX_U64:
            raise AddrParseError(f"a transport id must fit in 64 bits, {self.id} does not")
        object.__setattr__(self, "data", bytes(self.data))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address in `<hex id>_<lower-case hex data>` form, else `AddrParseError`."""
        id_text, separator, data_text = text.partition("_")
        if not separator:
            raise AddrParseError("missing '_' separator")
        if not _HEX_NUMBER.fullmatch(id_text) or (number := int(id_text, 16)) > _MAX_U64:
            raise AddrParseError("invalid id")
        try:
            return cls(number, from_hex(data_text))
        except ValueError as error:
            raise AddrParseError("invalid data") from error

    def to_vec(self) -> bytes:
        """The id in 8 bytes, little endian, then the data."""
        return self.id.to_bytes(_ID_LENGTH, "little") + self.data

    @classmethod
    def from_vec(cls, data: bytes) -> Self:
        """The inverse of `to_vec`; `AddrParseError` for fewer than 8 bytes."""
        if len(data) < _ID_LENGTH:
            raise AddrParseError("data too short")
        return cls(int.from_bytes(data[:_ID_LENGTH], "little"), bytes(data[_ID_LENGTH:]))

    def __str__(self) -> str:
        return f"{self.id:x}_{self.data.hex()}"


TransportAddr: TypeAlias = RelayUrl | SocketAddr | CustomAddr


def transport_addr_text(addr: TransportAddr) -> str:
    """The text with its kind in front: `relay:…`, `ip:…` or `custom:…`."""
    match addr:
        case RelayUrl():
            return f"relay:{addr}"
        case SocketAddr():
            return f"ip:{addr}"
        case CustomAddr():
            return f"custom:{addr}"


def transport_addr_key(addr: TransportAddr) -> tuple[int, int, int, bytes, int, int]:
    """A sort key that gives Rust's `BTreeSet<TransportAddr>`."""
    match addr:
        case RelayUrl():
            return (0, 0, 0, str(addr).encode(), 0, 0)
        case SocketAddr():
            packed = addr.packed
            return (1, 0, len(packed), packed, addr.port, addr.scope_id)
        case CustomAddr():
            return (2, addr.id, min(len(addr.data), _INLINE_LENGTH + 1), addr.data, 0, 0)


def to_transport_addr(value: "str | TransportAddr | tuple[str, int]") -> TransportAddr:
    """A checked transport address; text may be a socket or a custom address."""
    if isinstance(value, str):
        # Sockets first, as upstream does in endpoint_info.rs; no text is both.
        if "_" in value:
            return CustomAddr.parse(value)
        return SocketAddr.parse(value)
    if isinstance(value, tuple):
        return SocketAddr.from_parts(value[0], value[1])
    if isinstance(value, RelayUrl | CustomAddr):
        return value
    raise TypeError(f"expected a transport address, got {type(value).__name__}")


def write_transport_addr(writer: Writer, addr: TransportAddr) -> None:
    """Append one transport address in postcard form."""
    match addr:
        case RelayUrl():
            writer.varint(0)
            writer.string(str(addr))
        case SocketAddr():
            writer.varint(1)
            packed = addr.packed
            writer.varint(0 if len(packed) == 4 else 1)
            writer.raw(packed)
            writer.varint(addr.port)
        case CustomAddr():
            writer.varint(2)
            writer.varint(addr.id)
            writer.bytes(addr.data)


def read_transport_addr(reader: Reader) -> TransportAddr:
    """Read one transport address in postcard form; `PostcardError` if there is none."""
    kind = reader.variant(3)
    if kind == 0:
        try:
            return RelayUrl(reader.string())
        except ValueError as error:
            raise PostcardError(str(error)) from error
    if kind == 1:
        packed = reader.take(16 if reader.variant(2) else 4)
        return SocketAddr.from_packed(packed, reader.varint(16))
    return CustomAddr(reader.varint(), reader.bytes())


def transport_addr_to_json(addr: TransportAddr) -> dict[str, Any]:
    """The address in the shape of Rust's serde, as plain Python objects."""
    match addr:
        case RelayUrl():
            return {"Relay": str(addr)}
        case SocketAddr():
            return {"Ip": str(addr)}
        case CustomAddr():
            return {"Custom": {"id": addr.id, "data": list(addr.data)}}


def transport_addr_from_json(value: object) -> TransportAddr:
    """The inverse of `transport_addr_to_json`; `AddrParseError` or `RelayUrlError` otherwise."""
    only = value if isinstance(value, dict) and len(value) == 1 else None
    match only:
        case {"Relay": str(text)}:
            return RelayUrl(text)
        case {"Ip": str(text)}:
            return SocketAddr.parse(text)
        case {"Custom": {"id": int(id), "data": [*items]}}:
            # bool is an int to Python; serde has no such idea.
            if type(id) is int and all(type(item) is int and 0 <= item <= 0xFF for item in items):
                return CustomAddr(id, bytes(items))
    raise AddrParseError(f"not a transport address: {type(value).__name__}")
