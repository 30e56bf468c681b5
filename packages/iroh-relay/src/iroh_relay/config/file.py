"""The TOML file of `iroh-relay`, with the keys of the Rust relay: an existing one works unchanged.

    enable_relay                    boolean         true
    http_bind_addr                  "ip:port"       "[::]:80", with --dev "[::]:3340"
    enable_quic_addr_discovery      boolean         false
    enable_metrics                  boolean         true
    metrics_bind_addr               "ip:port"       the IP of http_bind_addr, port 9090
    key_cache_capacity              integer         1048576; keys are cached anyway here
    access                          see access.py
    [limits]
    accept_conn_limit               float           no limit; connections per second
    accept_conn_burst               integer         as many as per second
    client.rx.bytes_per_second      integer         no limit
    client.rx.max_burst_bytes       integer         a tenth of it
    qad.max_connections             integer         16384; of address discovery
    qad.max_per_host                integer         512; of one IPv4 address or IPv6 /64
    [tls]                           see tls.py

`limits.qad` is ours. Unknown keys are named in a warning (Rust ignores them).
Source: iroh-relay `main.rs` (`Config`).
"""

import logging
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..qad.limits import QadLimits
from ..server.accept_limit import AcceptLimit
from ..server.bucket import RxLimit
from .access import read_access
from .model import DEFAULT_KEY_CACHE_CAPACITY, FileConfig
from .problems import ConfigError, Lines, Problem
from .read import Table
from .tls import read_tls

__all__ = ["check_config", "load_config", "parse_config"]

logger: logging.Logger = logging.getLogger(__name__)

_KEYS: Final = {
    "enable_relay",
    "http_bind_addr",
    "enable_quic_addr_discovery",
    "enable_metrics",
    "metrics_bind_addr",
    "key_cache_capacity",
    "access",
    "limits",
    "tls",
}


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> FileConfig:
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
    return parse_config(raw, str(path), environment)


def parse_config(raw: bytes, name: str, environment: Mapping[str, str] | None = None) -> FileConfig:
    """Read the bytes of a file that is called `name` in messages.

    Raises `ConfigError` for the first problem, telling how many more there are.
    """
    config, problems = check_config(raw, environment)
    errors = [problem for problem in problems if not problem.is_warning]
    if errors:
        more = f" (and {len(errors) - 1} more: `iroh-relay check`)" if len(errors) > 1 else ""
        raise ConfigError(f"{errors[0].located(name)}{more}")
    for problem in problems:
        logger.warning("%s", Problem(problem.text, problem.line).located(name))
    return config


def check_config(
    raw: bytes, environment: Mapping[str, str] | None = None
) -> tuple[FileConfig, list[Problem]]:
    """Read the bytes of a file; give what it says, as far as it can be used, and its problems.

    environment: the variables that override it; see access.py.
    """
    try:
        text = raw.decode()
        values = tomllib.loads(text)
    except UnicodeDecodeError:
        return FileConfig(), [Problem("this is not UTF-8 text; TOML files must be")]
    except tomllib.TOMLDecodeError as error:
        return FileConfig(), [Problem(f"this is not valid TOML: {error}; correct it there")]
    problems: list[Problem] = []
    table = Table(values, Lines(text), problems)
    config = _read(table, environment or {})
    problems.sort(key=lambda problem: problem.line or 0)
    return config, problems


def _read(table: Table, environment: Mapping[str, str]) -> FileConfig:
    for key in table.values.keys() - _KEYS:
        table.problem(key, "is no key of a relay and has no effect", is_warning=True)
    limits = table.table("limits")
    accept, rx = _read_limits(limits)
    capacity = table.value("key_cache_capacity", int, DEFAULT_KEY_CACHE_CAPACITY)
    tls = read_tls(table.table("tls"))
    discovery = table.value("enable_quic_addr_discovery", bool, False)
    return FileConfig(
        enable_relay=table.value("enable_relay", bool, True),
        http_bind_addr=table.addr("http_bind_addr"),
        enable_quic_addr_discovery=discovery,
        enable_metrics=table.value("enable_metrics", bool, True),
        metrics_bind_addr=table.addr("metrics_bind_addr"),
        key_cache_capacity=capacity,
        access=read_access(table, environment),
        accept_limit=accept,
        rx_limit=rx,
        qad_limits=_read_qad_limits(None if limits is None else limits.table("qad")),
        tls=tls,
    )


def _read_limits(limits: Table | None) -> tuple[AcceptLimit | None, RxLimit | None]:
    if limits is None:
        return None, None
    accept = _read_accept_limit(limits)
    client = limits.table("client")
    rx = None if client is None else client.table("rx")
    if rx is None:
        return accept, None
    rate, burst = rx.positive("bytes_per_second"), rx.positive("max_burst_bytes")
    if rate is None:
        if burst is not None:
            rx.problem("max_burst_bytes", "means nothing without bytes_per_second; give both")
        return accept, None
    try:
        return accept, RxLimit(rate, burst)
    except ValueError as error:
        rx.problem("bytes_per_second", str(error).partition(" ")[2])
        return accept, None


def _read_qad_limits(qad: Table | None) -> QadLimits:
    if qad is None:
        return QadLimits()
    usual = QadLimits()
    return QadLimits(
        max_connections=qad.positive("max_connections") or usual.max_connections,
        max_per_host=qad.positive("max_per_host") or usual.max_per_host,
    )


def _read_accept_limit(limits: Table) -> AcceptLimit | None:
    rate = limits.values.get("accept_conn_limit")
    if isinstance(rate, int) and not isinstance(rate, bool):
        rate = float(rate)  # TOML tells 5 from 5.0, an operator does not
    else:
        rate = limits.typed("accept_conn_limit", float)
    burst = limits.positive("accept_conn_burst")
    if rate is None:
        if burst is not None:
            limits.problem("accept_conn_burst", "means nothing without accept_conn_limit")
        return None
    if not 0 < rate < float("inf"):
        limits.problem("accept_conn_limit", f"must be more than 0, not {rate}")
        return None
    return AcceptLimit(rate, burst or max(1, int(rate)))
