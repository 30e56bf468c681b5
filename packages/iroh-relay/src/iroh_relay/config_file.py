"""The TOML file of `iroh-relay`: the keys of the Rust relay, as far as this version has them.

    enable_relay     boolean        default true
    http_bind_addr   "ip:port"      default "[::]:80", with --dev "[::]:3340"

Unknown keys are ignored, as in Rust. Keys that the Rust relay knows and this version does not are
named in a warning, except those that would leave the relay less protected than its operator
thinks (`access`, and `[tls]` without --dev): they are errors.

Source: iroh-relay `main.rs` (`Config`).
"""

import logging
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from iroh_base.addr import SocketAddr
from iroh_base.errors import AddrParseError, IrohError, IrohErrorKind

__all__ = ["ConfigError", "FileConfig", "load_config", "parse_addr", "parse_config"]

logger = logging.getLogger(__name__)

_NOT_YET: Final = (
    "enable_quic_addr_discovery",
    "enable_metrics",
    "metrics_bind_addr",
    "key_cache_capacity",
    "limits",
)
_TOML_NAMES: Final = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
}


class ConfigError(IrohError, ValueError):
    """The configuration cannot be used; the message names the file, the key and the cure."""

    default_kind = IrohErrorKind.INVALID_INPUT


@dataclass(frozen=True, slots=True)
class FileConfig:
    """What a configuration file says; None where it says nothing."""

    enable_relay: bool = True
    http_bind_addr: SocketAddr | None = None
    has_tls: bool = False


def load_config(path: Path) -> FileConfig:
    """Read a file. A missing one means defaults, with a warning. Raises `ConfigError`."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        logger.warning("%s does not exist, using defaults", path)
        return FileConfig()
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a directory; give the path of a TOML file") from error
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error
    return parse_config(raw, str(path))


def parse_config(raw: bytes, name: str) -> FileConfig:
    """Read the bytes of a file that is called `name` in messages. Raises `ConfigError`."""
    try:
        table = tomllib.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text; TOML files must be") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}; correct it there") from error
    if table.get("access", "everyone") != "everyone":
        raise ConfigError(
            f"{name}: access control is not in this version yet; remove `access`, or put "
            "something in front of the relay that guards it"
        )
    for key in _NOT_YET:
        if key in table:
            logger.warning("%s: `%s` has no effect in this version yet", name, key)
    addr = _typed(table, "http_bind_addr", str, name)
    enable = _typed(table, "enable_relay", bool, name)
    return FileConfig(
        enable_relay=True if enable is None else enable,
        http_bind_addr=None if addr is None else parse_addr(addr, f"{name}: http_bind_addr"),
        has_tls=_typed(table, "tls", dict, name) is not None,
    )


def parse_addr(text: str, what: str) -> SocketAddr:
    """An address out of configuration; `what` names it in messages. Raises `ConfigError`."""
    try:
        return SocketAddr.parse(text)
    except AddrParseError as error:
        example = '"127.0.0.1:3340" or "[::]:3340"'
        raise ConfigError(
            f"{what} must be an IP address and a port like {example}, not {text!r}"
        ) from error


def _typed(table: dict[str, Any], key: str, kind: type, name: str) -> Any:
    """The value of a key if it is there; it must be of TOML's own type for `kind`."""
    value = table.get(key)
    if value is not None and type(value) is not kind:
        given = _TOML_NAMES.get(type(value), "a date or time")
        raise ConfigError(f"{name}: {key} must be {_TOML_NAMES[kind]}, not {given}")
    return value
