"""What the values of a configuration file may be: one function for each kind.

Each takes the value and the path of its key, and raises `ConfigError` with that path and what would
be right.
"""

import math
import re
from collections.abc import Callable
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path

from iroh_base.addr import SocketAddr
from iroh_base.errors import AddrParseError
from iroh_dns_server.errors import ConfigError

__all__ = [
    "boolean",
    "choice",
    "directory",
    "duration",
    "integer",
    "ip",
    "ipv4",
    "ipv6",
    "networks",
    "parse_duration",
    "port",
    "postgres_url",
    "socket_addr",
    "text",
    "texts",
    "wrong",
]

_UNITS = {
    **dict.fromkeys(("nsec", "ns"), 1e-9),
    **dict.fromkeys(("usec", "us"), 1e-6),
    **dict.fromkeys(("msec", "ms"), 1e-3),
    **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), 1.0),
    **dict.fromkeys(("minutes", "minute", "mins", "min", "m"), 60.0),
    **dict.fromkeys(("hours", "hour", "hrs", "hr", "h"), 3600.0),
    **dict.fromkeys(("days", "day", "d"), 86400.0),
    **dict.fromkeys(("weeks", "week", "wks", "wk", "w"), 7 * 86400.0),
    **dict.fromkeys(("months", "month", "M"), 2630016.0),
    **dict.fromkeys(("years", "year", "yrs", "yr", "y"), 31557600.0),
}
"""Units of the Rust crate humantime, in seconds."""
_DURATION = re.compile(r"\s*(?:(\d+)\s*([a-zA-Z]+)\s*)+")
_DURATION_PART = re.compile(r"(\d+)\s*([a-zA-Z]+)")


def parse_duration(text: str) -> float:
    """Seconds of a text like "7days", "10s" or "1h 30m" (humantime). Raises ValueError."""
    if text.strip() == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError('write it as "10s", "7days" or "1h 30m"')
    total = 0.0
    for number, unit in _DURATION_PART.findall(text):
        if unit not in _UNITS:
            raise ValueError(f"unknown unit {unit!r}: use s, m, h, days, weeks")
        total += float(number) * _UNITS[unit]
    if not math.isfinite(total):
        raise ValueError("too long")
    return total


def wrong(path: str, expected: str, value: object) -> ConfigError:
    """The complaint about a value that is not what was expected."""
    kind = {"str": "text", "bool": "true or false", "dict": "a section"}.get(
        type(value).__name__, type(value).__name__
    )
    shown = "" if isinstance(value, dict) else f" {value!r}"
    return ConfigError(f"{path}: expected {expected}, got {kind}{shown}")


def integer(low: int, high: int) -> Callable[[object, str], int]:
    """A whole number in this range."""

    def read(value: object, path: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise wrong(path, f"a whole number from {low} to {high}", value)
        return value

    return read


port: Callable[[object, str], int] = integer(0, 65535)


def boolean(value: object, path: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(path, "true or false", value)
    return value


def choice(*allowed: str) -> Callable[[object, str], str]:
    """One of these texts."""

    def read(value: object, path: str) -> str:
        if value not in allowed:
            raise ConfigError(f"{path}: expected one of {list(allowed)}, got {value!r}")
        return str(value)

    return read


def text(value: object, path: str) -> str:
    """Text, also an empty one."""
    if not isinstance(value, str):
        raise wrong(path, "text in quotes", value)
    return value


def texts(value: object, path: str) -> tuple[str, ...]:
    """A list of texts that is not empty."""
    if not isinstance(value, list) or not value:
        raise wrong(path, 'a list of names like ["dns.example.org."]', value)
    return tuple(text(item, f"{path}[{index}]") for index, item in enumerate(value))


def directory(value: object, path: str) -> Path:
    """The path of a directory."""
    folder = text(value, path)
    if not folder:
        raise wrong(path, "a directory", value)
    return Path(folder)


def postgres_url(value: object, path: str) -> str:
    """Where a PostgreSQL database is."""
    if not (isinstance(value, str) and value.startswith(("postgresql://", "postgres://"))):
        # Without the value: there may be a password in it.
        raise ConfigError(f"{path}: expected text like 'postgresql://user@host/database'")
    return value


def ip(value: object, path: str) -> IPv4Address | IPv6Address:
    """An IP address."""
    try:
        return ip_address(text(value, path))
    except ValueError:
        raise wrong(path, 'an IP address like "127.0.0.1" or "::"', value) from None


def networks(value: object, path: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """A list of addresses and networks, which may be empty."""
    expected = 'a list of networks like ["127.0.0.1", "10.0.0.0/8"]'
    if not isinstance(value, list):
        raise wrong(path, expected, value)
    written = [text(item, f"{path}[{i}]") for i, item in enumerate(value)]
    try:
        return tuple(map(ip_network, written))
    except ValueError as error:
        raise ConfigError(f"{path}: expected {expected}: {error}") from None


def ipv4(value: object, path: str) -> IPv4Address:
    """An IPv4 address."""
    try:
        return IPv4Address(text(value, path))
    except AddressValueError:
        raise wrong(path, 'an IPv4 address like "192.0.2.1"', value) from None


def ipv6(value: object, path: str) -> IPv6Address:
    """An IPv6 address."""
    try:
        return IPv6Address(text(value, path))
    except AddressValueError:
        raise wrong(path, 'an IPv6 address like "2001:db8::1"', value) from None


def socket_addr(value: object, path: str) -> SocketAddr:
    """An IP address and a port."""
    try:
        return SocketAddr.parse(text(value, path))
    except AddrParseError:
        raise wrong(path, 'an address like "127.0.0.1:9117" or "[::]:9117"', value) from None


def duration(value: object, path: str) -> float:
    """Seconds, at least a thousandth."""
    written = text(value, path)
    try:
        seconds = parse_duration(written)
    except ValueError as error:
        raise ConfigError(f"{path}: {value!r} is no duration: {error}") from None
    if seconds < 0.001:
        raise wrong(path, "at least a millisecond", value)
    return seconds
