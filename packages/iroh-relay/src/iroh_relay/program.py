"""What the program `iroh-relay` runs: a server made from a configuration file, and its signals.

    SIGINT, SIGTERM     stop
    SIGHUP              read the file again: access, rate limit, certificates; nobody is dropped
                        but those that the new access does not want. A bad file changes nothing.

What needs a restart (addresses, switches) is named in a warning when it changed.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from iroh_base.addr import SocketAddr

from .config import AccessChoice, AccessMode, CertMode, ConfigError, FileConfig, load_config
from .server import (
    AccessControl,
    Allowlist,
    CertFiles,
    Certificates,
    Denylist,
    Everyone,
    HttpCallout,
    RelayServer,
    RelayServerConfig,
    SelfSigned,
    SharedToken,
)

__all__ = ["Program", "access_control"]

logger: logging.Logger = logging.getLogger("iroh_relay")

_ACME_URL: Final = "IROH_RELAY_ACME_URL"
"""Environment: the directory of another ACME server than Let's Encrypt's."""
_ACME_CA: Final = "IROH_RELAY_ACME_CA"
"""Environment: a PEM file with the CAs trusted for that server."""
RELOAD_INTERVAL: Final = 60.0
"""Seconds between two looks at certificate files with cert_mode Reloading. Rust: once a day, so
that a renewed certificate may be used a day late."""


def access_control(choice: AccessChoice) -> AccessControl:
    """Who decides, as the file says."""
    match choice.mode:
        case AccessMode.ALLOWLIST:
            return Allowlist(choice.ids)
        case AccessMode.DENYLIST:
            return Denylist(choice.ids)
        case AccessMode.SHARED_TOKEN:
            return SharedToken(choice.tokens)
        case AccessMode.HTTP:
            return HttpCallout(choice.url, choice.bearer_token)
        case AccessMode.EVERYONE:
            return Everyone()


class Program:
    """One run. path None: no file, defaults. dev: plain HTTP, whatever the file says of TLS."""

    def __init__(
        self,
        path: Path | None,
        *,
        dev: bool,
        http_addr: SocketAddr | None,
        quic_addr: SocketAddr | None = None,
    ) -> None:
        """Read the file. Raises `ConfigError`, `CertificateError`."""
        self._path = path
        self._dev = dev
        self._http_addr = http_addr
        self._quic_addr = quic_addr
        self._file = self._read()
        self._access = access_control(self._file.access)
        wants_quic = quic_addr is not None or self._file.enable_quic_addr_discovery
        files = _certificates(self._file, os.environ, dev) if wants_quic or not dev else None
        self._certificates = None if dev else files
        self._quic_certificates = self._quic(files) if wants_quic else None
        self._server: RelayServer | None = None
        self._reloading: asyncio.Task[None] | None = None

    async def run(self, ready: Callable[[str], None]) -> None:
        """Serve until a signal says stop; `ready` gets the line that says where.

        Raises IrohError.
        """
        stop = asyncio.Event()
        config = self._server_config()
        server = RelayServer(
            config,
            access=self._access,
            certificates=self._certificates,
            quic_certificates=self._quic_certificates,
        )
        with _signals(stop, self._reload_soon):
            try:
                async with server:
                    self._server = server
                    self._announce(server, ready)
                    await self._until(stop)
                    logger.info("iroh-relay stopping")
            finally:
                if self._reloading is not None:
                    self._reloading.cancel()
                    await asyncio.wait((self._reloading,))
                await _close(self._access)

    def _announce(self, server: RelayServer, ready: Callable[[str], None]) -> None:
        if server.metrics_addr is not None:
            logger.info("metrics on http://%s", server.metrics_addr)
        if server.certificates is not None:
            logger.info("certificate SHA-256 %s", server.certificates.fingerprint())
        if self._file.enable_relay:
            scheme = "http" if server.https_addr is None else "https"
            ready(f"iroh-relay listening on {scheme}://{server.https_addr or server.http_addr}")
        if server.quic_addr is not None and server.quic_certificates is not None:
            fingerprint = server.quic_certificates.fingerprint()
            ready(
                f"iroh-relay address discovery on UDP {server.quic_addr}, "
                f"certificate SHA-256 {fingerprint}"
            )

    async def _until(self, stop: asyncio.Event) -> None:
        tls = self._file.tls
        reloads = self._certificates is not None and tls and tls.cert_mode is CertMode.RELOADING
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELOAD_INTERVAL if reloads else None):
                    await stop.wait()
            if reloads and self._certificates is not None:
                self._certificates.reload()

    def _quic(self, files: Certificates | None) -> Certificates:
        """Certificates of address discovery: from the files, with --dev made now."""
        if files is None and not self._dev:
            raise ConfigError(
                "enable_quic_addr_discovery needs a [tls] table with a certificate for the relay's "
                "name; to try it without one, use --dev"
            )
        return files or SelfSigned()

    # -- configuration --------------------------------------------------------------------------

    def _read(self) -> FileConfig:
        if self._path is None:
            return FileConfig(enable_metrics=False)
        return load_config(self._path, os.environ)

    def _server_config(self) -> RelayServerConfig:
        file = self._file
        if not file.enable_relay and self._quic_certificates is None:
            raise ConfigError(
                "there is nothing to serve: `enable_relay` and `enable_quic_addr_discovery` are "
                "both false; set one to true"
            )
        http = self._http_addr or file.http_addr(self._dev)
        quic = None
        if self._quic_certificates is not None:
            quic = self._quic_addr or file.quic_addr(self._dev)
        return RelayServerConfig(
            enable_relay=file.enable_relay,
            http_bind_addr=http,
            https_bind_addr=file.https_addr(),
            quic_bind_addr=quic,
            metrics_bind_addr=file.metrics_addr(self._dev) if file.enable_metrics else None,
            accept_limit=file.accept_limit,
            qad_limits=file.qad_limits,
            rx_limit=file.rx_limit,
        )

    # -- SIGHUP ---------------------------------------------------------------------------------

    def _reload_soon(self) -> None:
        if self._reloading is not None and not self._reloading.done():
            self._reloading.cancel()  # the file has changed once more
        self._reloading = asyncio.create_task(self._reload(), name="iroh-relay-reload")

    async def _reload(self) -> None:
        server = self._server
        if server is None:
            return
        if self._certificates is not None:
            self._certificates.reload()
        try:
            new = self._read()
        except ConfigError as error:
            logger.warning("%s; everything stays as it was", error)
            return
        old, self._file = self._file, new
        server.set_rx_limit(new.rx_limit)
        ended = 0
        if new.access != old.access:
            before, self._access = self._access, access_control(new.access)
            ended = await server.set_access(self._access)
            await _close(before)
        if replace(old, access=new.access, rx_limit=new.rx_limit) != new:
            logger.warning("of the changes only `access` and `limits.client.rx` count now")
        logger.info("configuration read again, %d connections ended", ended)


def _certificates(
    file: FileConfig, environment: Mapping[str, str], dev: bool
) -> Certificates | None:
    tls = file.tls
    if tls is None or tls.dangerous_http_only:
        return None
    if tls.cert_mode is not CertMode.LETS_ENCRYPT:
        return CertFiles(tls.cert_path, tls.key_path)
    if dev:
        raise ConfigError('--dev gets no certificates: use cert_mode "Manual" for QUIC')
    from .server.acme import PRODUCTION, STAGING, AcmeCertificates

    return AcmeCertificates(
        tls.hostnames,
        tls.contact or "",
        tls.cert_dir,
        directory=environment.get(_ACME_URL) or (PRODUCTION if tls.prod_tls else STAGING),
        ca_file=environment.get(_ACME_CA),
    )


async def _close(access: AccessControl) -> None:
    if isinstance(access, HttpCallout):
        await access.close()


@contextlib.contextmanager
def _signals(stop: asyncio.Event, reload: Callable[[], None]) -> Iterator[None]:
    """Have these called for signals; where that cannot be (Windows), KeyboardInterrupt stops."""
    loop = asyncio.get_running_loop()
    wanted = {signal.SIGINT: stop.set, signal.SIGTERM: stop.set}
    if sys.platform != "win32":
        wanted[signal.SIGHUP] = reload
    try:
        with contextlib.suppress(NotImplementedError):
            for number, act in wanted.items():
                loop.add_signal_handler(number, act)
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in wanted:
                loop.remove_signal_handler(number)
