"""The program `iroh-dns-server`.

Exit status: 0 after SIGINT or SIGTERM, 2 for everything the operator has to mend (arguments,
configuration, addresses, data directory), always with one line on standard error.

On standard output, once it serves:

    iroh-dns-server http on http://[::]:8080
    iroh-dns-server dns on udp+tcp [::]:5300
"""

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import iroh_dns_server
from iroh_base.addr import SocketAddr
from iroh_base.errors import AddrParseError
from iroh_dns_server.config import Config, DnsConfig, RateLimit, default_data_dir
from iroh_dns_server.config_toml import load_config
from iroh_dns_server.errors import ConfigError, DnsServerError
from iroh_dns_server.server import DnsServer

__all__ = ["main"]

PROGRAM = "iroh-dns-server"
USAGE_ERROR = 2
DESCRIPTORS = 8192
"""Descriptors to ask for: every connection that our limits allow, and some."""
LOG_VARIABLE = "IROH_DNS_LOG"
"""Environment variable with a level of `logging`, for example DEBUG; default WARNING."""

_DESCRIPTION = """\
A pkarr and DNS server for iroh: endpoints publish signed packets with HTTP PUT /pkarr/<key>, and
their addresses are resolved with DNS TXT _iroh.<key>.<origin>."""
_EPILOG = """\
Without --config the built-in settings are used: http on [::]:8080, dns on [::]:5300 (udp and tcp),
origins "irohdns.example." and ".", one PUT every 4 seconds per client (none of that limit with
--dev). Options on the command line win over the file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=_log_level(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        with contextlib.ExitStack() as stack:
            config = _configure(arguments, stack)
            _run(config)
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
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where packets are stored")
    parser.add_argument(
        "--origin",
        action="append",
        metavar="NAME",
        help="a zone below which keys are resolved; repeat it for more",
    )
    version = f"{PROGRAM} {iroh_dns_server.__version__}"
    parser.add_argument("-V", "--version", action="version", version=version)
    return parser


def _configure(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> Config:
    """The configuration the arguments ask for; `stack` ends what is temporary."""
    config = Config() if arguments.config is None else load_config(arguments.config)
    if arguments.dev:
        config = dataclasses.replace(config, pkarr_put_rate_limit=RateLimit.DISABLED)
        if arguments.data_dir is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="iroh-dns-"))
            config = dataclasses.replace(config, data_dir=Path(folder))
    if arguments.data_dir is not None:
        config = dataclasses.replace(config, data_dir=arguments.data_dir)
    if config.data_dir is None:
        config = dataclasses.replace(config, data_dir=default_data_dir())
    if arguments.http_bind_addr is not None:
        at = _address("--http-bind-addr", arguments.http_bind_addr)
        http = dataclasses.replace(config.http, bind_addr=ip_address(at.ip), port=at.port)
        config = dataclasses.replace(config, http=http)
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


def _run(config: Config) -> None:
    """Serve until a signal comes."""
    _raise_descriptor_limit()
    server = DnsServer(config)
    if sys.platform == "win32":  # its default loop has no add_reader, which DNS over UDP needs
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(_serve(server))
    else:
        asyncio.run(_serve(server))


async def _serve(server: DnsServer) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)  # a second one ends the program the hard way

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, on_signal, number)
    async with server:
        sys.stdout.write(
            f"{PROGRAM} http on http://{server.http_addr}\n"
            f"{PROGRAM} dns on udp+tcp {server.dns_addr}\n"
            f"{PROGRAM} data in {server.config.data_dir}, "
            f"origins {' '.join(server.config.dns.origins)}\n"
        )
        sys.stdout.flush()
        await stop.wait()


def _log_level() -> int:
    level = logging.getLevelName(os.environ.get(LOG_VARIABLE, "WARNING").upper())
    return level if isinstance(level, int) else logging.WARNING
