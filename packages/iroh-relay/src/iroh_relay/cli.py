"""The program `iroh-relay`.

    iroh-relay --dev                       plain HTTP on [::]:3340, for trying things out
    iroh-relay --config-path relay.toml    as the file says

One line on standard output says that the relay is ready, and where; the log is on standard error:

    iroh-relay listening on http://[::]:3340

    exit status 0    stopped by SIGINT or SIGTERM, or help and version were asked for
    exit status 2    could not run as asked; one line on stderr says why and what to do

Source of options: iroh-relay `main.rs` (`Cli`).
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from iroh_base.addr import SocketAddr
from iroh_base.errors import IrohError

from . import __version__
from .config_file import ConfigError, FileConfig, load_config, parse_addr
from .server import RelayServer, RelayServerConfig

__all__ = ["main"]

logger = logging.getLogger("iroh_relay")

_DEV_ADDR: Final = SocketAddr("::", 3340)
"""`http_bind_addr` with --dev (`DEV_MODE_HTTP_PORT`)."""
_DEFAULT_ADDR: Final = SocketAddr("::", 80)
_FAILED: Final = 2
_NO_TLS: Final = "TLS is not in this version yet; for a relay without TLS run `iroh-relay --dev`"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (default: the process's); returns the exit status."""
    options = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        asyncio.run(_serve(_relay_config(options)))
    except IrohError as error:
        sys.stderr.write(f"iroh-relay: {error}\n")
        return _FAILED
    except KeyboardInterrupt:  # only where signal handlers cannot be installed (Windows)
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iroh-relay", description="A relay server of the iroh network."
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
    parser.add_argument("-v", "--verbose", action="store_true", help="log what clients do")
    parser.add_argument("-V", "--version", action="version", version=f"iroh-relay {__version__}")
    return parser


def _relay_config(options: argparse.Namespace) -> RelayServerConfig:
    """What to run. Raises `ConfigError` if that is nothing, or nothing that we can."""
    if options.config_path is None and not options.dev:
        raise ConfigError(_NO_TLS)
    file = FileConfig() if options.config_path is None else load_config(options.config_path)
    if file.has_tls and not options.dev:
        raise ConfigError(f"{options.config_path} has a [tls] table, but {_NO_TLS}")
    if not file.enable_relay:
        raise ConfigError(
            "there is nothing to serve: `enable_relay` is false and this version has no other "
            "service; set it to true"
        )
    if options.http_bind_addr is not None:
        addr = parse_addr(options.http_bind_addr, "--http-bind-addr")
    else:
        addr = file.http_bind_addr or (_DEV_ADDR if options.dev else _DEFAULT_ADDR)
    return RelayServerConfig(http_bind_addr=addr)


async def _serve(config: RelayServerConfig) -> None:
    """Serve until a signal says stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt does it
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    async with RelayServer(config) as server:
        sys.stdout.write(f"iroh-relay listening on http://{server.http_addr}\n")
        sys.stdout.flush()  # for whoever waits for this line
        await stop.wait()
        logger.info("iroh-relay stopping")
