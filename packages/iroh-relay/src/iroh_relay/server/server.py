"""A whole relay server: the listening sockets, what answers there, and the relay behind it.

async with RelayServer(RelayServerConfig(http_bind_addr=SocketAddr("127.0.0.1", 0))) as server:
    print(server.url)
    await server.wait_closed()

    listener    without TLS            with certificates
    http        the relay, all pages   /generate_204 only: captive portals tamper with plain HTTP
    https       -                      the relay, all pages
    metrics     if it has an address: OpenMetrics for Prometheus
"""

import asyncio
import logging
import random
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from aiohttp import web

from iroh_base.addr import SocketAddr
from iroh_base.keys import PublicKey
from iroh_base.relay_url import RelayUrl

from .accept_limit import AcceptBucket
from .access import AccessControl
from .bucket import RxLimit
from .certs import Certificates
from .config import RelayServerConfig
from .errors import RelayServerError
from .http import CaptiveHttp, HttpServer, RelayHttp
from .listen import Listener
from .metrics import RelayMetrics
from .metrics_page import MetricsPage
from .service import RelayService

if TYPE_CHECKING:
    from ..qad.server import QadServer

__all__ = ["RelayServer"]

logger: logging.Logger = logging.getLogger(__name__)

_LOOPBACK: Final = {"::": "::1", "0.0.0.0": "127.0.0.1"}
_RESTART_JITTER: Final = (100, 1000)
"""Milliseconds in which clients are asked to come back after a graceful stop."""
_RESTART_TRY: Final = 30_000
"""Milliseconds for which they are asked to try."""


class RelayServer:
    """A relay server; `start` and `close` it, or use it as an async context manager.

    `access` decides who may use it (default: everyone). `certificates` make it a TLS server; they
    are reloaded by whoever made them. `quic_certificates` are shown by address discovery; without
    them it shows `certificates`. One server starts once.
    """

    def __init__(
        self,
        config: RelayServerConfig | None = None,
        *,
        access: AccessControl | None = None,
        certificates: Certificates | None = None,
        quic_certificates: Certificates | None = None,
        metrics: RelayMetrics | None = None,
    ) -> None:
        self.service: RelayService = RelayService(config, access, metrics)
        self.certificates = certificates
        self.quic_certificates: Certificates | None = quic_certificates or certificates
        self._qad: QadServer | None = None
        self._listeners: dict[str, Listener] = {}
        self._started = False
        self._closed: asyncio.Event = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None

    @property
    def metrics(self) -> RelayMetrics:
        """The live counters."""
        return self.service.metrics

    @property
    def http_addr(self) -> SocketAddr:
        """Where it answers plain HTTP. Raises `RelayServerError` before `start`."""
        return self._addr("http")

    @property
    def https_addr(self) -> SocketAddr | None:
        """Where it answers HTTPS; None without certificates."""
        return self._addr("https") if "https" in self._listeners else None

    @property
    def metrics_addr(self) -> SocketAddr | None:
        """Where it shows its metrics; None if nowhere."""
        return self._addr("metrics") if "metrics" in self._listeners else None

    @property
    def quic_addr(self) -> SocketAddr | None:
        """Where it serves address discovery, UDP; None if nowhere."""
        return self._qad.addr if self._qad is not None else None

    @property
    def http_url(self) -> RelayUrl:
        """`url`, by the name it had before there was TLS."""
        return self.url

    @property
    def url(self) -> RelayUrl:
        """A URL for endpoints on this machine, of loopback if the relay is on all addresses.

        Raises `RelayServerError` before `start`.
        """
        addr = self.https_addr or self.http_addr
        scheme = "http" if self.https_addr is None else "https"
        return RelayUrl(f"{scheme}://{addr._replace(ip=_LOOPBACK.get(addr.ip, addr.ip))}")

    def _addr(self, name: str) -> SocketAddr:
        listener = self._listeners.get(name)
        if listener is None or listener.addr is None:
            raise RelayServerError("the relay server has not been started")
        return listener.addr

    async def start(self) -> None:
        """Listen and serve; returns when connections are accepted.

        Raises `ListenError` if an address cannot be had, `CertificateError` if there is no
        certificate to show, `RelayServerError` if nothing is to be served. Cancelling leaves
        nothing open.
        """
        config = self.service.config
        if self._started:
            raise RelayServerError("a relay server starts only once")
        if not config.enable_relay and config.quic_bind_addr is None:
            raise RelayServerError("there is nothing to serve: neither a relay nor QUIC discovery")
        self._started = True
        try:
            if self.certificates is not None:
                plain = Listener(CaptiveHttp(self.certificates.challenges))
                await self._listen("http", plain, config.http_bind_addr)
                await self.certificates.prepare()
                if config.enable_relay:
                    await self._listen("https", self._relay(captive=False), config.https_bind_addr)
            elif config.enable_relay:
                await self._listen("http", self._relay(captive=True), config.http_bind_addr)
            if config.quic_bind_addr is not None:
                await self._start_qad(config.quic_bind_addr)
            if config.metrics_bind_addr is not None:
                page = Listener(MetricsPage(self.metrics))
                await self._listen("metrics", page, config.metrics_bind_addr)
        except BaseException:
            await self.close()
            raise

    async def _start_qad(self, addr: SocketAddr) -> None:
        if self.quic_certificates is None:
            raise RelayServerError("address discovery has to prove the relay's name: certificates")
        from ..qad.server import QadServer  # late: it brings a QUIC engine

        limits = self.service.config.qad_limits
        qad = QadServer(addr, self.quic_certificates, self.metrics, limits)
        await qad.start()
        self._qad = qad

    async def _listen(self, name: str, listener: Listener, addr: SocketAddr) -> None:
        self._listeners[name] = listener
        logger.debug("relay serves %s on %s", name, await listener.start(addr))

    def _relay(self, *, captive: bool) -> Listener:
        config, loop = self.service.config, asyncio.get_running_loop()
        front = RelayHttp(self.service, captive=captive)
        server: web.Server = HttpServer(front, self.metrics, config.establish_timeout)
        bucket = None
        if config.accept_limit is not None:
            bucket = AcceptBucket(config.accept_limit, loop.time())

        def may_enter() -> bool:
            if bucket is None or bucket.take(loop.time()):
                return True
            self.metrics.http_connections_refused += 1
            return False

        return Listener(
            server,
            context=None if captive or self.certificates is None else self.certificates.context,
            handshake_timeout=config.establish_timeout,
            may_enter=None if bucket is None else may_enter,
        )

    async def close(self) -> None:
        """Stop listening, drop all clients, and return when nothing is left; safe to repeat.

        Clients are told that the relay restarts, and dropped without a close frame, as by a Rust
        relay, so that they look for a relay again at once. Cancelling the wait does not stop the
        closing.
        """
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._close(), name="iroh-relay-close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        listeners, started = list(self._listeners.values()), self._started
        for listener in listeners:
            listener.stop_listening()
        if started:
            self.service.shutdown(random.randint(*_RESTART_JITTER), _RESTART_TRY)
        if self._qad is not None:
            await self._qad.close()
        for listener in listeners:
            await listener.close()
        if self.certificates is not None:
            await self.certificates.close()
        self._closed.set()

    async def wait_closed(self) -> None:
        """Return when somebody has called `close` and it is done. Cancelling it is harmless."""
        await self._closed.wait()

    def disconnect(self, endpoint_id: PublicKey, connection_id: int | None = None) -> bool:
        """End one connection of an endpoint, or all of them; False if there is none such."""
        return self.service.disconnect(endpoint_id, connection_id)

    def set_rx_limit(self, limit: RxLimit | None) -> None:
        """Limit what is read from each client from now on, those connected included."""
        self.service.set_rx_limit(limit)

    async def set_access(self, access: AccessControl) -> int:
        """Let another object decide who may use the relay, and ask it for all who do.

        Gives the number of connections that it does not want, which have been ended. Cancelling it
        leaves those in who were not asked yet.
        """
        self.service.set_access(access)
        return await self.service.recheck_access()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
