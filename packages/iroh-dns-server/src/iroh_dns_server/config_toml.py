"""Reading the configuration file: TOML with the keys of the Rust server.

Every complaint names the full path of the key and what would be right. A key that the Rust server
has and this version cannot honour is refused in words, and so is a key nobody knows: a server that
silently ignores `[https]` or a typing error is worse than one that does not start.
"""

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, TypeVar

from iroh_dns_server.config import Config, DnsConfig, HttpConfig, RateLimit, StoreConfig
from iroh_dns_server.errors import ConfigError

__all__ = ["load_config", "parse_config", "parse_duration"]

Table = Mapping[str, Any]
_T = TypeVar("_T")

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

_LATER = {
    "https": "this version has no TLS yet: remove it, and put a TLS proxy in front of [http]",
    "mainline": "this version does not ask the mainline DHT yet: remove it, or set enabled = false",
    "metrics": "this version has no metrics endpoint yet: remove it, or set disabled = true",
}


def load_config(path: Path) -> Config:
    """Read a configuration file. Raises `ConfigError` with one line for the operator."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    try:
        return parse_config(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message()}") from None


def parse_config(text: str) -> Config:
    """Read a configuration from TOML text. Raises `ConfigError`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from None
    known = ("http", "dns", "zone_store", "pkarr_put_rate_limit", "data_dir", *_LATER)
    _refuse_unknown(table, known, "")
    _refuse_later(table)
    if "http" not in table:
        raise ConfigError("http: the section is missing: add [http] with a port")
    if "dns" not in table:
        raise ConfigError(
            "dns: the section is missing: add [dns] with port, default_soa, default_ttl and origins"
        )
    return Config(
        http=_http(_section(table, "http")),
        dns=_dns(_section(table, "dns")),
        zone_store=_store(_section(table, "zone_store")),
        pkarr_put_rate_limit=_rate_limit(table),
        data_dir=_optional(table, "data_dir", "data_dir", _path),
    )


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


def _http(table: Table) -> HttpConfig:
    _refuse_unknown(table, ("port", "bind_addr", "listen_backlog"), "http.")
    _require(table, ("port",), "http.")
    backlog = _optional(table, "listen_backlog", "http.listen_backlog", _integer(1, 2**31 - 1))
    return HttpConfig(
        port=_port(table["port"], "http.port"),
        bind_addr=_optional(table, "bind_addr", "http.bind_addr", _ip),
        listen_backlog=HttpConfig().listen_backlog if backlog is None else backlog,
    )


def _dns(table: Table) -> DnsConfig:
    required = ("port", "default_soa", "default_ttl", "origins")
    _refuse_unknown(table, (*required, "bind_addr", "rr_a", "rr_aaaa", "rr_ns"), "dns.")
    _require(table, required, "dns.")
    return DnsConfig(
        port=_port(table["port"], "dns.port"),
        bind_addr=_optional(table, "bind_addr", "dns.bind_addr", _ip),
        default_soa=_text(table["default_soa"], "dns.default_soa"),
        default_ttl=_integer(0, 2**31 - 1)(table["default_ttl"], "dns.default_ttl"),
        origins=_texts(table["origins"], "dns.origins"),
        rr_a=_optional(table, "rr_a", "dns.rr_a", _ipv4),
        rr_aaaa=_optional(table, "rr_aaaa", "dns.rr_aaaa", _ipv6),
        rr_ns=_optional(table, "rr_ns", "dns.rr_ns", _text),
    )


def _store(table: Table) -> StoreConfig:
    names = ("max_batch_size", "max_batch_time", "eviction", "eviction_interval")
    _refuse_unknown(table, names, "zone_store.")
    default = StoreConfig()
    size = _optional(table, names[0], "zone_store.max_batch_size", _integer(1, 1_000_000))
    times = [
        _optional(table, name, f"zone_store.{name}", _duration) or getattr(default, name)
        for name in names[1:]
    ]
    return StoreConfig(
        max_batch_size=default.max_batch_size if size is None else size,
        max_batch_time=times[0],
        eviction=times[1],
        eviction_interval=times[2],
    )


def _rate_limit(table: Table) -> RateLimit:
    value = table.get("pkarr_put_rate_limit", RateLimit.SIMPLE.value)
    allowed = [mode.value for mode in RateLimit]
    if value not in allowed:
        raise ConfigError(f"pkarr_put_rate_limit: expected one of {allowed}, got {value!r}")
    return RateLimit(value)


def _refuse_later(table: Table) -> None:
    """Sections of features that do not exist yet: only a form that switches them off is taken."""
    off = {"mainline": {"enabled": False}, "metrics": {"disabled": True}}
    for name, why in _LATER.items():
        if name not in table:
            continue
        section = _section(table, name)
        if not any(section.get(key) is value for key, value in off.get(name, {}).items()):
            raise ConfigError(f"{name}: {why}")


def _refuse_unknown(table: Table, known: Iterable[str], prefix: str) -> None:
    for name in table:
        if name not in known:
            raise ConfigError(f"{prefix}{name}: no such key; there are {', '.join(known)}")


def _require(table: Table, names: Iterable[str], prefix: str) -> None:
    for name in names:
        if name not in table:
            raise ConfigError(f"{prefix}{name}: is missing")


def _section(table: Table, name: str) -> Table:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise _wrong(name, f"a section [{name}]", value)
    return value


def _optional(table: Table, name: str, path: str, read: Callable[[Any, str], _T]) -> _T | None:
    return read(table[name], path) if name in table else None


def _wrong(path: str, expected: str, value: object) -> ConfigError:
    kind = {"str": "text", "bool": "true or false", "dict": "a section"}.get(
        type(value).__name__, type(value).__name__
    )
    shown = "" if isinstance(value, dict) else f" {value!r}"
    return ConfigError(f"{path}: expected {expected}, got {kind}{shown}")


def _integer(low: int, high: int) -> Callable[[Any, str], int]:
    def read(value: Any, path: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(path, f"a whole number from {low} to {high}", value)
        return value

    return read


_port = _integer(0, 65535)


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(path, "text in quotes", value)
    return value


def _texts(value: Any, path: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise _wrong(path, 'a list of names like ["dns.example.org."]', value)
    return tuple(_text(item, f"{path}[{index}]") for index, item in enumerate(value))


def _path(value: Any, path: str) -> Path:
    if not _text(value, path):
        raise _wrong(path, "a directory", value)
    return Path(value)


def _ip(value: Any, path: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(_text(value, path))
    except ValueError:
        raise _wrong(path, 'an IP address like "127.0.0.1" or "::"', value) from None


def _ipv4(value: Any, path: str) -> IPv4Address:
    try:
        return IPv4Address(_text(value, path))
    except AddressValueError:
        raise _wrong(path, 'an IPv4 address like "192.0.2.1"', value) from None


def _ipv6(value: Any, path: str) -> IPv6Address:
    try:
        return IPv6Address(_text(value, path))
    except AddressValueError:
        raise _wrong(path, 'an IPv6 address like "2001:db8::1"', value) from None


def _duration(value: Any, path: str) -> float:
    text = _text(value, path)
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {value!r} is no duration: {error}") from None
    if seconds < 0.001:
        raise _wrong(path, "at least a millisecond", value)
    return seconds
