"""What the machine says about DNS: its nameservers, search list and hosts file.

On Unix the files /etc/resolv.conf (resolv.conf(5)) and /etc/hosts, on Windows what dnspython reads
from the registry. Whatever cannot be read is left out; nothing here raises.

`options timeout`, `attempts` and `rotate` are ignored, as upstream does: lookups have their own
timeouts, and servers are ordered by how they answered.
"""

import ipaddress
import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from iroh_base import InvalidInputError

from .nameserver import Nameserver

__all__ = ["SystemConfig", "parse_hosts", "parse_resolv_conf", "read_system_config", "search_names"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_RESOLV_CONF = 1 << 16
"""Bytes of resolv.conf that are read."""

MAX_HOSTS = 1 << 24
"""Bytes of the hosts file that are read; block lists of some hundred thousand names fit."""

_BAD_SITE_LOCAL = {"fec0:0:0:ffff::1", "fec0:0:0:ffff::2", "fec0:0:0:ffff::3"}
"""Placeholders of Windows; upstream `WINDOWS_BAD_SITE_LOCAL_DNS_SERVERS`."""

Hosts = dict[str, tuple[str, ...]]
"""Name in lower case to addresses of both families."""


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """The DNS configuration of a machine."""

    nameservers: tuple[Nameserver, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1  # resolv.conf(5)
    hosts: Hosts = field(default_factory=dict)

    def hosts_addresses(self, name: str, *, ipv6: bool) -> list[str]:
        """The addresses of one family that the hosts file gives for a name."""
        found = self.hosts.get(name.removesuffix(".").lower(), ())
        return [ip for ip in found if (":" in ip) == ipv6]


def read_system_config(
    resolv_conf: Path = Path("/etc/resolv.conf"), hosts: Path | None = None
) -> SystemConfig:
    """Read this machine's configuration; blocks for as long as it takes to read two small files."""
    if sys.platform == "win32":
        config = _windows_config()
        folder = os.environ.get("SYSTEMROOT", r"C:\Windows")
        hosts = hosts or Path(folder, "System32", "drivers", "etc", "hosts")
    else:
        config = parse_resolv_conf(_read(resolv_conf, MAX_RESOLV_CONF))
    names = parse_hosts(_read(hosts or Path("/etc/hosts"), MAX_HOSTS))
    return SystemConfig(config.nameservers, config.search, config.ndots, names)


def parse_resolv_conf(text: str) -> SystemConfig:
    """Read nameserver, search, domain and `options ndots:n`; the last search or domain counts."""
    nameservers: list[Nameserver] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                nameservers += _nameservers([address])
            case ["search", *domains]:
                search = tuple(domain for domain in domains if domain != "--")
            case ["domain", domain, *_]:
                search = (domain,)
            case ["options", *options]:
                for option in options:
                    value = option.removeprefix("ndots:")
                    if value != option and value.isascii() and value.isdigit():
                        ndots = int(value[:3])
            case _:
                pass  # a comment, or nothing that concerns us
    return SystemConfig(tuple(nameservers), search, ndots)


def parse_hosts(text: str) -> Hosts:
    """Read lines of `address name [name ...]`; what follows a `#` is a comment."""
    hosts: dict[str, tuple[str, ...]] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if not names:
            continue
        try:
            ip = str(ipaddress.ip_address(address))
        except ValueError:
            continue
        for name in names:
            key = name.removesuffix(".").lower()
            hosts[key] = (*hosts.get(key, ()), ip)
    return hosts


def search_names(host: str, config: SystemConfig) -> list[str]:
    """The names to try for a host, in order (resolv.conf(5), `search` and `ndots`).

    A name that ends with a dot is tried alone. One with at least `ndots` dots is tried as it is
    first, another one after the search list.
    """
    if host.endswith(".") or not config.search:
        return [host]
    expanded = [f"{host}.{domain}" for domain in config.search]
    names = [host, *expanded] if host.count(".") >= config.ndots else [*expanded, host]
    return list(dict.fromkeys(names))


def _nameservers(addresses: Iterable[str]) -> list[Nameserver]:
    found = []
    for address in addresses:
        if address in _BAD_SITE_LOCAL:
            continue
        try:
            found.append(Nameserver.parse(address))
        except InvalidInputError as error:
            logger.debug("ignoring a nameserver of the system: %s", error)
    return found


def _read(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError as error:
        logger.debug("cannot read %s: %s", path, error)
        return ""


def _windows_config() -> SystemConfig:
    import dns.exception
    import dns.resolver

    try:
        found = dns.resolver.Resolver()
    except (dns.exception.DNSException, OSError) as error:
        logger.debug("cannot read the DNS configuration of Windows: %s", error)
        return SystemConfig()
    search = tuple(name.to_text(omit_final_dot=True) for name in found.search)
    return SystemConfig(tuple(_nameservers(map(str, found.nameservers))), search)
