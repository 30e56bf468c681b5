"""What the program `iroh-dns-server` runs: a server made from its settings, and its signals.

    SIGINT, SIGTERM     stop; a second one ends the program the hard way
    SIGHUP              read the settings again: origins and their records, rate limit, expiry,
                        max_future and certificates count at once, nobody is dropped.
                        A bad file changes nothing.

What needs a restart (addresses, directories) is named in a warning when it changed.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator

from iroh_dns_server.config import Config
from iroh_dns_server.errors import ConfigError
from iroh_dns_server.server import DnsServer

__all__ = ["Program"]

logger: logging.Logger = logging.getLogger("iroh_dns_server")
NAME = "iroh-dns-server"


class Program:
    """One run. `settings` gives the configuration, also after SIGHUP, or raises `ConfigError`."""

    def __init__(self, settings: Callable[[], Config]) -> None:
        self._settings = settings
        self._server = DnsServer(settings())

    def run(self, ready: Callable[[str], None]) -> None:
        """Serve until a signal says stop; `ready` gets each line that says where.

        Raises `DnsServerError`.
        """
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: Callable[[str], None]) -> None:
        stop = asyncio.Event()
        with self._signals(stop):
            async with self._server as server:
                for line in _where(server):
                    ready(f"{NAME} {line}")
                await stop.wait()

    def _reload(self) -> None:
        try:
            config = self._settings()
            left = self._server.reload(config)
        except ConfigError as error:
            logger.warning("%s; everything stays as it was", error)
            return
        if left:
            logger.warning(
                "configuration read again; %s: only a restart changes it", ", ".join(left)
            )
        else:
            logger.info("configuration read again")

    @contextlib.contextmanager
    def _signals(self, stop: asyncio.Event) -> Iterator[None]:
        """Have these handled; where that cannot be (Windows), KeyboardInterrupt stops."""
        loop = asyncio.get_running_loop()

        def on_stop(number: int) -> None:
            stop.set()
            loop.remove_signal_handler(number)

        numbers = [signal.SIGINT, signal.SIGTERM]
        with contextlib.suppress(NotImplementedError):
            for number in numbers:
                loop.add_signal_handler(number, on_stop, number)
            if sys.platform != "win32":
                numbers.append(signal.SIGHUP)
                loop.add_signal_handler(signal.SIGHUP, self._reload)
        try:
            yield
        finally:
            with contextlib.suppress(NotImplementedError):
                for number in numbers:
                    loop.remove_signal_handler(number)


def _where(server: DnsServer) -> Iterator[str]:
    """What is served where, a line each."""
    if server.config.http is not None:
        yield f"http on http://{server.http_addr}"
    if server.certificates is not None:
        fingerprint = server.certificates.fingerprint()
        yield f"https on https://{server.https_addr}, certificate SHA-256 {fingerprint}"
    yield f"dns on udp+tcp {server.dns_addr}"
    if server.metrics_addr is not None:
        yield f"metrics on http://{server.metrics_addr}"
    yield f"data in {server.config.data_dir}, origins {' '.join(server.config.dns.origins)}"
