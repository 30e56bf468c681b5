"""The program `iroh-dns-server`.

    iroh-dns-server --dev                   for trying things out
    iroh-dns-server --config server.toml    as the file says
    iroh-dns-server check server.toml       each problem of the file with its line

Exit status: 0 after SIGINT or SIGTERM, 1 if `check` found problems, 2 for everything the operator
has to mend (arguments, configuration, addresses, data directory), with one line on standard error.

On standard output, once it serves:

    iroh-dns-server http on http://[::]:8080
    iroh-dns-server dns on udp+tcp [::]:5300
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import iroh_dns_server
from iroh_base.addr import SocketAddr
from iroh_base.errors import AddrParseError
from iroh_dns_server.config import (
    Config,
    DnsConfig,
    HttpConfig,
    HttpsConfig,
    MetricsConfig,
    RateLimit,
    default_data_dir,
)
from iroh_dns_server.config_toml import check_config, load_config, read_text
from iroh_dns_server.errors import ConfigError, DnsServerError
from iroh_dns_server.program import Program

__all__ = ["main"]

PROGRAM = "iroh-dns-server"
FOUND_PROBLEMS = 1
USAGE_ERROR = 2
DESCRIPTORS = 8192
"""Descriptors to ask for: every connection that our limits allow, and some."""
LOG_VARIABLE = "IROH_DNS_LOG"
"""Environment variable with a level of `logging`, for example DEBUG; default WARNING."""

_BUILT_IN = Config(https=HttpsConfig(), metrics=MetricsConfig())
"""Without a file, as upstream: HTTPS with a certificate for localhost that is made at start."""

_DESCRIPTION = """\
A pkarr and DNS server for iroh: endpoints publish signed packets with HTTP PUT /pkarr/<key>, and
their addresses are resolved with DNS TXT _iroh.<key>.<origin>."""
_EPILOG = """\
Without --config the built-in settings are used: http on [::]:8080, https on
[::]:8443 (with a certificate that nobody trusts; not with --dev), dns on [::]:5300 (udp and tcp),
metrics on 127.0.0.1:9117, origins "irohdns.example." and ".", one PUT every 4 seconds per client
(with --dev no such limit, and no metrics unless --metrics-bind-addr). Options on the command line
win over the environment (IROH_DNS__DNS__PORT=53 for [dns] port), and that over the file. SIGHUP
reads both again: origins, rate limit and expiry change without a restart."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = _parser().parse_args(argv)
    _set_up_log(arguments.log_format == "json")
    try:
        if arguments.command == "check":
            return _check(arguments.file)
        with contextlib.ExitStack() as stack:
            _raise_descriptor_limit()
            _keep_data_dir(arguments, stack)
            Program(lambda: _configure(arguments)).run(_ready)
    except DnsServerError as error:
        sys.stderr.write(f"{PROGRAM}: {error.message()}\n")
        return USAGE_ERROR
    except KeyboardInterrupt:  # where signals cannot be handled by the event loop
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-c", "--config", type=Path, metavar="FILE", help="TOML configuration")
    source.add_argument(
        "--dev",
        action="store_true",
        help="for development: no rate limit, and data in a temporary folder unless --data-dir",
    )
    parser.add_argument("--http-bind-addr", metavar="IP:PORT", help="where to serve HTTP")
    parser.add_argument(
        "--dns-bind-addr", metavar="IP:PORT", help="where to serve DNS, over UDP and TCP"
    )
    parser.add_argument(
        "--metrics-bind-addr", metavar="IP:PORT", help="where to serve metrics, also with --dev"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where packets are stored")
    parser.add_argument(
        "--origin",
        action="append",
        metavar="NAME",
        help="a zone below which keys are resolved; repeat it for more",
    )
    version = f"{PROGRAM} {iroh_dns_server.__version__}"
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="json: one object per line, for log collectors",
    )
    parser.add_argument("-V", "--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="{check}")
    check = commands.add_parser("check", help="name each problem of a file with its line")
    check.add_argument("file", type=Path)
    return parser


def _keep_data_dir(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> None:
    """With --dev, data goes to a folder that `stack` removes, unless another one is given."""
    if arguments.dev and arguments.data_dir is None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="iroh-dns-"))
        arguments.data_dir = Path(folder)


def _configure(arguments: argparse.Namespace) -> Config:
    """The configuration that file, environment and arguments ask for."""
    if arguments.config is not None:
        config = load_config(arguments.config, os.environ)
    else:
        config = Config() if arguments.dev else _BUILT_IN
    if arguments.dev:
        config = dataclasses.replace(config, pkarr_put_rate_limit=RateLimit.DISABLED)
    data_dir = arguments.data_dir or config.data_dir or default_data_dir()
    config = dataclasses.replace(config, data_dir=data_dir)
    if arguments.http_bind_addr is not None:
        at = _address("--http-bind-addr", arguments.http_bind_addr)
        old = config.http or HttpConfig()
        http = dataclasses.replace(old, bind_addr=ip_address(at.ip), port=at.port)
        config = dataclasses.replace(config, http=http)
    if arguments.metrics_bind_addr is not None:
        at = _address("--metrics-bind-addr", arguments.metrics_bind_addr)
        metrics = MetricsConfig(bind_addr=ip_address(at.ip), port=at.port)
        config = dataclasses.replace(config, metrics=metrics)
    return dataclasses.replace(config, dns=_configure_dns(arguments, config.dns))


def _configure_dns(arguments: argparse.Namespace, config: DnsConfig) -> DnsConfig:
    if arguments.dns_bind_addr is not None:
        at = _address("--dns-bind-addr", arguments.dns_bind_addr)
        config = dataclasses.replace(config, bind_addr=ip_address(at.ip), port=at.port)
    if arguments.origin:
        config = dataclasses.replace(config, origins=tuple(arguments.origin))
    return config


def _address(option: str, text: str) -> SocketAddr:
    try:
        address = SocketAddr.parse(text)
        ip_address(address.ip)
    except (AddrParseError, ValueError):
        raise ConfigError(
            f"{option}: {text!r} is no address: write it as 127.0.0.1:5300 or [::]:5300"
        ) from None
    return address


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as we may: the usual soft limit of 1024 is one busy minute."""
    if sys.platform == "win32":
        return
    import resource  # not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _ready(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()  # for whoever waits for this line


def _check(path: Path) -> int:
    """Print every problem of a file with its line."""
    _, problems = check_config(read_text(path), os.environ)
    for problem in problems:
        _ready(problem.located(str(path)))
    if problems:
        return FOUND_PROBLEMS
    _ready(f"{path}: the server can run with it")
    return 0


# -- the log ------------------------------------------------------------------------------------


class _JsonLines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """`time` is RFC 3339, UTC."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _set_up_log(as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if as_json else plain)
    logging.basicConfig(level=_log_level(), handlers=[handler])
    logging.getLogger("hpack").setLevel(logging.WARNING)  # it logs every byte of HTTP/2 headers


def _log_level() -> int:
    level = logging.getLevelName(os.environ.get(LOG_VARIABLE, "WARNING").upper())
    return level if isinstance(level, int) else logging.WARNING
