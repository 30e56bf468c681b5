"""Reading the configuration file: TOML with the keys of the Rust server.

Every complaint names the full path of the key and what would be right, and all are found at once. A
key that the Rust server has and this version cannot honour is refused in words, and so is a key
nobody knows: a server that silently ignores a typing error is worse than one that does not start.

Any key can be overridden from the environment, where containers have their settings:

    IROH_DNS__HTTP__PORT=8080                  [http] port = 8080
    IROH_DNS__PKARR_PUT_RATE_LIMIT=smart       pkarr_put_rate_limit = "smart"
    IROH_DNS__DNS__ORIGINS='["a.example."]'    as in TOML; what is none is taken as text
"""

import importlib.util
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from iroh_dns_server.config import (
    CertMode,
    Config,
    DnsConfig,
    HttpConfig,
    HttpsConfig,
    MainlineConfig,
    MetricsConfig,
    PostgresConfig,
    RateLimit,
    StoreConfig,
)
from iroh_dns_server.config_problems import Lines, Problem
from iroh_dns_server.config_values import (
    boolean,
    choice,
    directory,
    duration,
    integer,
    ip,
    ipv4,
    ipv6,
    networks,
    parse_duration,
    port,
    postgres_url,
    socket_addr,
    text,
    texts,
    wrong,
)
from iroh_dns_server.dns.names import origin_names, origin_soa, server_name
from iroh_dns_server.errors import ConfigError

__all__ = ["check_config", "load_config", "parse_config", "parse_duration", "read_text"]

VARIABLES: Final = "IROH_DNS__"
"""How environment variables begin that override a key."""
_T = TypeVar("_T")
Environment = Mapping[str, str]


def load_config(path: Path, environment: Environment | None = None) -> Config:
    """Read a configuration file. Raises `ConfigError` with one line for the operator."""
    return parse_config(read_text(path), environment, name=str(path))


def read_text(path: Path) -> str:
    """The text of a file. Raises `ConfigError`."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None


def parse_config(
    text: str, environment: Environment | None = None, *, name: str | None = None
) -> Config:
    """Read a configuration from TOML text that is called `name` in messages.

    Raises `ConfigError` for the first problem, telling how many more there are.
    """
    config, problems = check_config(text, environment)
    if not problems:
        return config
    first = problems[0]
    more = f" (and {len(problems) - 1} more: `iroh-dns-server check`)" if problems[1:] else ""
    raise ConfigError(f"{first.text if name is None else first.located(name)}{more}")


def check_config(text: str, environment: Environment | None = None) -> tuple[Config, list[Problem]]:
    """What a TOML text says, as far as it can be used, and its problems, in the file's order."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Config(), [Problem(f"not valid TOML: {error}")]
    complaints: list[str] = []
    lines = Lines(text, _override(table, environment or {}, complaints))
    config = _read(_Section(table, "", complaints))
    problems = [lines.problem(complaint) for complaint in complaints]
    problems.sort(key=lambda problem: problem.line or 0)
    return config, problems


def _override(
    table: dict[str, Any], environment: Environment, complaints: list[str]
) -> dict[str, str]:
    """Put what the environment says into the table; returns the path of each key's variable."""
    variables = {}
    for variable in sorted(environment):
        if not variable.startswith(VARIABLES):
            continue
        *sections, key = variable.removeprefix(VARIABLES).lower().split("__")
        path = ".".join((*sections, key))
        variables[path] = variable
        inner = table
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                complaints.append(f"{path}: {section} is no section")
                break
        else:
            inner[key] = _toml_value(environment[variable])
    return variables


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


class _Section:
    """One table; what is wrong in it is written down, and the default taken instead."""

    def __init__(self, table: dict[str, Any], prefix: str, complaints: list[str]) -> None:
        self.table = table
        self._prefix = prefix
        self._complaints = complaints

    def __contains__(self, name: str) -> bool:
        return name in self.table

    def complain(self, name: str, text: str) -> None:
        """Write down what is wrong with a key."""
        self._complaints.append(f"{self._prefix}{name}: {text}")

    def only(self, known: Iterable[str]) -> None:
        """Complain about every other key."""
        for name in self.table:
            if name not in known:
                self.complain(name, f"no such key; there are {', '.join(known)}")

    def get(self, name: str, read: Callable[[object, str], _T], default: _T) -> _T:
        """The value of a key that may be left out."""
        if name not in self.table:
            return default
        try:
            return read(self.table[name], self._prefix + name)
        except ConfigError as error:
            self._complaints.append(error.message())
            return default

    def need(self, name: str, read: Callable[[object, str], _T], default: _T) -> _T:
        """The value of a key that must be there."""
        if name not in self.table:
            self.complain(name, "is missing")
        return self.get(name, read, default)

    def section(self, name: str) -> "_Section":
        """A section in this one, empty when it is not there."""
        empty: dict[str, Any] = {}
        found = self.get(name, _table, empty)
        return _Section(found, f"{self._prefix}{name}.", self._complaints)


def _table(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(path, f"a section [{path}]", value)
    return value


def _read(whole: _Section) -> Config:
    known = (
        "http",
        "https",
        "dns",
        "zone_store",
        "metrics",
        "postgres",
        "pkarr_put_rate_limit",
        "trusted_proxies",
        "data_dir",
        "mainline",
    )
    whole.only(known)
    if "http" not in whole and "https" not in whole:
        whole.complain("http", "the section is missing: add [http] with a port, or [https]")
    if "dns" not in whole:
        needs = "add [dns] with port, default_soa, default_ttl and origins"
        whole.complain("dns", f"the section is missing: {needs}")
    modes = choice(*(mode.value for mode in RateLimit))
    https = _https(whole.section("https")) if _usable(whole, "https") else None
    if https is not None and https.cert_mode is CertMode.LETS_ENCRYPT and "http" not in whole:
        whole.complain("http", "the section is missing: Let's Encrypt looks there, on port 80")
    return Config(
        http=_http(whole.section("http")) if _usable(whole, "http") else None,
        https=https,
        dns=_dns(whole.section("dns")) if _usable(whole, "dns") else DnsConfig(),
        zone_store=_store(whole.section("zone_store")),
        postgres=_postgres(whole.section("postgres")) if _usable(whole, "postgres") else None,
        mainline=_mainline(whole.section("mainline")) if _usable(whole, "mainline") else None,
        metrics=_metrics(whole.section("metrics")) if "metrics" in whole else MetricsConfig(),
        pkarr_put_rate_limit=RateLimit(whole.get("pkarr_put_rate_limit", modes, "simple")),
        trusted_proxies=whole.get("trusted_proxies", networks, ()),
        data_dir=whole.get("data_dir", directory, None),
    )


def _usable(whole: _Section, name: str) -> bool:
    """A section that is there; one that is none has only that one problem."""
    if name in whole and not isinstance(whole.table[name], dict):
        whole.section(name)
        return False
    return name in whole


def _http(section: _Section) -> HttpConfig:
    section.only(("port", "bind_addr", "listen_backlog"))
    default = HttpConfig()
    backlog = integer(1, 2**31 - 1)
    return HttpConfig(
        port=section.need("port", port, default.port),
        bind_addr=section.get("bind_addr", ip, None),
        listen_backlog=section.get("listen_backlog", backlog, default.listen_backlog),
    )


def _https(section: _Section) -> HttpsConfig:
    acme = ("letsencrypt_contact", "letsencrypt_prod", "acme_directory", "acme_ca")
    section.only(("port", "bind_addr", "listen_backlog", "domains", "cert_mode", *acme))
    default = HttpsConfig()
    modes = choice(*(mode.value for mode in CertMode))
    mode = CertMode(section.need("cert_mode", modes, default.cert_mode.value))
    domains = section.need("domains", texts, default.domains)
    if mode is CertMode.MANUAL and len(domains) != 1:
        section.complain("domains", "with cert_mode manual there must be exactly one")
    contact = section.get("letsencrypt_contact", text, None)
    if mode is CertMode.LETS_ENCRYPT and not contact:
        section.complain("letsencrypt_contact", "is missing: an e-mail address for Let's Encrypt")
    backlog = integer(1, 2**31 - 1)
    return HttpsConfig(
        port=section.need("port", port, default.port),
        bind_addr=section.get("bind_addr", ip, None),
        listen_backlog=section.get("listen_backlog", backlog, default.listen_backlog),
        domains=domains,
        cert_mode=mode,
        letsencrypt_contact=contact,
        letsencrypt_prod=section.get("letsencrypt_prod", boolean, False),
        acme_directory=section.get("acme_directory", text, None),
        acme_ca=section.get("acme_ca", directory, None),
    )


def _dns(section: _Section) -> DnsConfig:
    required = ("port", "default_soa", "default_ttl", "origins")
    section.only((*required, "bind_addr", "rr_a", "rr_aaaa", "rr_ns"))
    default = DnsConfig()
    return DnsConfig(
        port=section.need("port", port, default.port),
        bind_addr=section.get("bind_addr", ip, None),
        default_soa=section.need("default_soa", _soa, default.default_soa),
        default_ttl=section.need("default_ttl", integer(0, 2**31 - 1), default.default_ttl),
        origins=section.need("origins", _origins, default.origins),
        rr_a=section.get("rr_a", ipv4, None),
        rr_aaaa=section.get("rr_aaaa", ipv6, None),
        rr_ns=section.get("rr_ns", _name, None),
    )


def _soa(value: object, path: str) -> str:
    origin_soa(written := text(value, path))
    return written


def _origins(value: object, path: str) -> tuple[str, ...]:
    origin_names(written := texts(value, path))
    return written


def _name(value: object, path: str) -> str:
    server_name(written := text(value, path))
    return written


def _metrics(section: _Section) -> MetricsConfig | None:
    section.only(("disabled", "bind_addr"))
    disabled = section.get("disabled", boolean, False)
    at = section.get("bind_addr", socket_addr, None)
    if disabled:
        return None
    if at is None:
        return MetricsConfig()
    return MetricsConfig(bind_addr=ip(at.ip, "metrics.bind_addr"), port=at.port)


def _store(section: _Section) -> StoreConfig:
    default = StoreConfig()
    times = ("max_batch_time", "eviction", "eviction_interval", "max_future")
    section.only(("max_batch_size", "max_packets", *times))
    size = section.get("max_batch_size", integer(1, 1_000_000), default.max_batch_size)
    most = section.get("max_packets", integer(1, 2**53), default.max_packets)
    seconds = {name: section.get(name, duration, getattr(default, name)) for name in times}
    return StoreConfig(max_batch_size=size, max_packets=most, **seconds)


def _mainline(section: _Section) -> MainlineConfig | None:
    section.only(("enabled", "bootstrap"))
    enabled = section.need("enabled", boolean, False)
    bootstrap = section.get("bootstrap", _bootstrap, MainlineConfig().bootstrap)
    return MainlineConfig(bootstrap=bootstrap) if enabled else None


def _bootstrap(value: object, path: str) -> tuple[str, ...]:
    for host in (written := texts(value, path)):
        name, _, port = host.rpartition(":")
        if not (name and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            raise ConfigError(f"{path}: {host!r} is no host:port")
    return written


def _postgres(section: _Section) -> PostgresConfig:
    section.only(("url",))
    url = section.need("url", postgres_url, "")
    if importlib.util.find_spec("asyncpg") is None:
        section.complain("url", "needs asyncpg: pip install 'iroh-dns-server[postgres]'")
    return PostgresConfig(url=url)
