"""The program `iroh-relay`.

    iroh-relay --dev                       plain HTTP on [::]:3340, for trying things out
    iroh-relay --config-path relay.toml    as the file says
    iroh-relay check relay.toml            each problem of the file with its line

One line on standard output says that the relay is ready, and where, and a second one where address
discovery is, if it is served; the log is on standard error:

    iroh-relay listening on http://[::]:3340
    iroh-relay address discovery on UDP [::]:7842, certificate SHA-256 6F:1A:...

    exit status 0    stopped by SIGINT or SIGTERM, or help and version were asked for
    exit status 1    `check` found problems
    exit status 2    could not run as asked; one line on stderr says why and what to do

Source of options: iroh-relay `main.rs` (`Cli`); `check` and `--log-format` are ours.
"""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from iroh_base.addr import SocketAddr
from iroh_base.errors import IrohError

from . import __version__
from .config import ConfigError, addr_of, check_config
from .logs import RUST_LOG, set_up_log
from .program import Program

__all__ = ["main", "raise_descriptor_limit"]

_FOUND_PROBLEMS: Final = 1
_FAILED: Final = 2
_NO_FILE: Final = (
    "give a configuration file with --config-path; for a relay without TLS, to try things out, "
    "run `iroh-relay --dev`"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (default: the process's); returns the exit status."""
    options = _parser().parse_args(argv)
    set_up_log(options.log_format, "debug" if options.verbose else os.environ.get(RUST_LOG))
    try:
        if options.command == "check":
            return _check(options.file)
        raise_descriptor_limit()
        asyncio.run(_program(options).run(_ready))
    except IrohError as error:
        sys.stderr.write(f"iroh-relay: {error}\n")
        return _FAILED
    except KeyboardInterrupt:  # only where signal handlers cannot be installed (Windows)
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iroh-relay",
        description="A relay server of the iroh network.",
        epilog="SIGHUP reads the file again: access, rate limit and certificates change without "
        "dropping clients. Environment: IROH_RELAY_ACCESS_TOKEN, IROH_RELAY_HTTP_BEARER_TOKEN, "
        "IROH_RELAY_ACME_URL, IROH_RELAY_ACME_CA, RUST_LOG (`warn`, `info,iroh_relay=debug`).",
    )
    parser.add_argument(
        "--dev",
        action="store_true",
        help="serve plain HTTP, on [::]:3340 unless an address is given",
    )
    parser.add_argument(
        "-c",
        "--config-path",
        "--config",
        type=Path,
        metavar="FILE",
        help="read this TOML file",
    )
    parser.add_argument(
        "--http-bind-addr",
        metavar="HOST:PORT",
        help="listen here, whatever the file says; HOST is an IP address, PORT 0 means any",
    )
    parser.add_argument(
        "--quic-bind-addr",
        metavar="HOST:PORT",
        help="serve QUIC address discovery here, whatever the file says; the usual port is 7842",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what clients do")
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="json: one object per line, for log collectors",
    )
    parser.add_argument("-V", "--version", action="version", version=f"iroh-relay {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="{check}")
    check = commands.add_parser("check", help="name each problem of a file with its line")
    check.add_argument("file", type=Path)
    return parser


def _program(options: argparse.Namespace) -> Program:
    """What to run. Raises `ConfigError` if that is nothing, or nothing that we can."""
    if options.config_path is None and not options.dev:
        raise ConfigError(_NO_FILE)
    return Program(
        options.config_path,
        dev=options.dev,
        http_addr=_addr(options.http_bind_addr, "--http-bind-addr"),
        quic_addr=_addr(options.quic_bind_addr, "--quic-bind-addr"),
    )


def _addr(text: str | None, option: str) -> SocketAddr | None:
    if text is None:
        return None
    try:
        return addr_of(text)
    except ValueError as error:
        raise ConfigError(f"{option} {error}") from error


def raise_descriptor_limit() -> None:
    """Take as many descriptors as we may: a client each, and the usual soft limit is 1024."""
    if sys.platform == "win32":
        return
    import resource  # not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS has a limit below the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _ready(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()  # for whoever waits for this line


def _check(path: Path) -> int:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    _, problems = check_config(raw, os.environ)
    for problem in problems:
        sys.stdout.write(f"{problem.located(str(path))}\n")
    if all(problem.is_warning for problem in problems):
        sys.stdout.write(f"{path}: the relay can run with it\n")
        return 0
    return _FOUND_PROBLEMS
