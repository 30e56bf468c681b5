"""The server as one object: a packet store, HTTP in front of it, DNS behind it."""

import asyncio
import contextlib
import dataclasses
import logging
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from iroh_base.addr import SocketAddr
from iroh_dns_server.certs import CertFiles, Certificates, SelfSigned
from iroh_dns_server.config import CertMode, Config, HttpConfig, HttpsConfig, default_data_dir
from iroh_dns_server.dns import Authority, DnsService, TcpServer, UdpServer, ZoneCache
from iroh_dns_server.errors import BindError, DnsServerError
from iroh_dns_server.expiry import Expiry
from iroh_dns_server.http import HttpServer, RateLimiter, Routes, make_app
from iroh_dns_server.http.doh import DohHandlers
from iroh_dns_server.http.metrics_page import MetricsPage
from iroh_dns_server.http.pkarr import PkarrHandlers, wall_clock_us
from iroh_dns_server.metrics import Metrics
from iroh_dns_server.sockets import bind_dns, bind_tcp, local_addr
from iroh_dns_server.store import PacketStore, SharedStore, SqliteStore

if TYPE_CHECKING:
    from iroh_dns_server.http.http2 import Http2
    from iroh_dns_server.mainline import MainlineFallback

__all__ = ["DnsServer"]

logger: logging.Logger = logging.getLogger(__name__)

CERT_CACHE = "cert_cache"
"""The folder of certificates in the data directory, as upstream."""
RELOAD_INTERVAL = 60.0
"""Seconds between two looks at certificate files."""


class DnsServer:
    """A pkarr and DNS server inside this process.

        async with DnsServer(Config(data_dir=folder)) as server:
            print(server.http_addr, server.dns_addr)

    `store` replaces the sqlite store; the server closes it. `clock` gives microseconds since 1970.
    Raises `ConfigError` at once for origins or SOA text that are no DNS. A server is started once.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        store: PacketStore | None = None,
        limiter: RateLimiter | None = None,
        clock: Callable[[], int] = wall_clock_us,
    ) -> None:
        self.config: Config = config or Config()
        self.metrics: Metrics = Metrics()
        self._authority = Authority(self.config.dns)
        self._store = store
        self._limiter = limiter
        self._clock = clock
        self._stack = contextlib.AsyncExitStack()
        self._closing: asyncio.Task[None] | None = None
        self._pkarr: PkarrHandlers | None = None
        self._service: DnsService | None = None
        self._expiry: Expiry | None = None
        self._metrics_addr: SocketAddr | None = None
        self._http_addr: SocketAddr | None = None
        self._https_addr: SocketAddr | None = None
        self.certificates: Certificates | None = None
        """Those of HTTPS, once it is served."""
        self._dns_addr: SocketAddr | None = None

    @property
    def http_addr(self) -> SocketAddr:
        """Where HTTP is served. Raises `DnsServerError` before `start`, and if it is not."""
        return _started(self._http_addr)

    @property
    def https_addr(self) -> SocketAddr | None:
        """Where HTTPS is served, if it is."""
        return self._https_addr

    @property
    def dns_addr(self) -> SocketAddr:
        """Where DNS is served, UDP and TCP. Raises `DnsServerError` before `start`."""
        return _started(self._dns_addr)

    @property
    def metrics_addr(self) -> SocketAddr | None:
        """Where the metrics page is served, if it is."""
        return self._metrics_addr

    async def start(self) -> None:
        """Open the store, bind every socket, begin to serve.

        Raises `StoreError` or `BindError`; then, and when cancelled, everything is closed again.
        """
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    def reload(self, config: Config) -> list[str]:
        """Use what can change while the server runs: the origins and their records, the rate limit,
        expiry and `max_future`. Returns the names of what is different and needs a restart.

        Raises `ConfigError`, and then nothing has changed.
        """
        authority = Authority(config.dns)
        if self.certificates is not None:
            self.certificates.reload()
        old, self.config = self.config, _renewed(self.config, config)
        if self._service is not None and old.dns != self.config.dns:
            self._service.set_authority(authority)
        if self._pkarr is not None:
            self._pkarr.rate_limit = config.pkarr_put_rate_limit
            self._pkarr.trusted_proxies = config.trusted_proxies
            self._pkarr.max_future = config.zone_store.max_future
        if self._expiry is not None:
            store = config.zone_store
            self._expiry.set_times(store.eviction, store.eviction_interval)
            self._expiry.max_packets = store.max_packets
        return _differences(self.config, config)

    async def close(self) -> None:
        """Stop serving, finish what was accepted, release everything. Idempotent.

        Cancelling the wait does not stop the closing.
        """
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._stack.aclose(), name="iroh-dns-close")
        await asyncio.shield(self._closing)

    async def __aenter__(self) -> "DnsServer":
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _start(self) -> None:
        store = await self._open_store()
        self._stack.push_async_callback(store.close)
        zones = ZoneCache(store, self.metrics, fallback=await self._start_mainline())
        if isinstance(store, SharedStore):
            store.watch(zones)
        self._service = DnsService(self._authority, zones, self.metrics)
        await self._serve_http(store, zones, self._service)
        self._serve_dns(self._service)
        self._serve_metrics()
        settings = self.config.zone_store
        expiry = self._expiry = Expiry(
            store,
            zones,
            self.metrics,
            age=settings.eviction,
            interval=settings.eviction_interval,
            max_packets=settings.max_packets,
            clock=self._clock,
        )
        task = asyncio.get_running_loop().create_task(expiry.run(), name="iroh-dns-expiry")
        self._stack.push_async_callback(_cancel, task)

    async def _start_mainline(self) -> "MainlineFallback | None":
        if self.config.mainline is None:
            return None
        from iroh_dns_server.mainline import MainlineFallback  # only who wants it needs it

        fallback = MainlineFallback(self.config.mainline.bootstrap)
        self._stack.push_async_callback(fallback.close)
        try:
            await fallback.start()
        except OSError as error:
            raise BindError(f"no UDP socket for the mainline DHT: {error}") from error
        return fallback

    async def _open_store(self) -> PacketStore:
        if self._store is not None:
            return self._store
        if self.config.postgres is not None:
            from iroh_dns_server.store.postgres import PostgresStore

            return await PostgresStore.open(self.config.postgres.url)
        data_dir = self.config.data_dir or default_data_dir()
        return SqliteStore.open(data_dir, max_batch=self.config.zone_store.max_batch_size)

    async def _serve_http(self, store: PacketStore, zones: ZoneCache, service: DnsService) -> None:
        handlers = self._pkarr = PkarrHandlers(
            store,
            zones,
            self.metrics,
            self.config.pkarr_put_rate_limit,
            limiter=self._limiter,
            trusted_proxies=self.config.trusted_proxies,
            max_future=self.config.zone_store.max_future,
            clock=self._clock,
        )
        https = self.config.https
        certificates = None if https is None else self._certificates(https)
        challenges = None if certificates is None else certificates.challenges
        routes = Routes(handlers, DohHandlers(service), self.metrics, challenges)
        if self.config.http is not None:
            self._http_addr = await self._listen_http(self.config.http, routes, None)
        if https is not None and certificates is not None:
            self._stack.push_async_callback(certificates.close)
            await certificates.prepare()
            self.certificates = certificates
            self._https_addr = await self._listen_http(https, routes, certificates.context)
            task = asyncio.create_task(_look_again(certificates), name="iroh-dns-certificates")
            self._stack.push_async_callback(_cancel, task)

    async def _listen_http(
        self,
        config: HttpConfig | HttpsConfig,
        routes: Routes,
        context: ssl.SSLContext | None,
    ) -> SocketAddr:
        name = "http" if context is None else "https"
        sock = bind_tcp(config.bind_addr, config.port, name, config.listen_backlog)
        http2 = None if context is None else _http2(routes, self.metrics)
        app = make_app(routes)
        server = HttpServer(sock, app, self.metrics, context=context, http2=http2)
        self._stack.push_async_callback(server.close)
        await server.start()
        return local_addr(sock)

    def _certificates(self, config: HttpsConfig) -> Certificates:
        if config.cert_mode is CertMode.SELF_SIGNED:
            return SelfSigned(config.domains)
        folder = (self.config.data_dir or default_data_dir()) / CERT_CACHE
        if config.cert_mode is CertMode.MANUAL:
            return CertFiles(folder, config.domains[0])
        from iroh_dns_server.acme import PRODUCTION, STAGING, AcmeCertificates

        return AcmeCertificates(
            config.domains,
            config.letsencrypt_contact or "",
            folder,
            directory=config.acme_directory or (PRODUCTION if config.letsencrypt_prod else STAGING),
            ca_file=None if config.acme_ca is None else str(config.acme_ca),
        )

    def _serve_dns(self, service: DnsService) -> None:
        config = self.config.dns
        udp_socket, tcp_socket = bind_dns(config.bind_addr, config.port)
        udp = UdpServer(udp_socket, service, self.metrics)
        self._stack.push_async_callback(udp.close)
        tcp = TcpServer(tcp_socket, service, self.metrics)
        self._stack.push_async_callback(tcp.close)
        tcp.start()
        udp.start()
        self._dns_addr = local_addr(udp_socket)

    def _serve_metrics(self) -> None:
        config = self.config.metrics
        if config is None:
            return
        sock = bind_tcp(config.bind_addr, config.port, "metrics")
        page = MetricsPage(sock, self.metrics)
        self._stack.push_async_callback(page.close)
        page.start()
        self._metrics_addr = local_addr(sock)


def _renewed(old: Config, new: Config) -> Config:
    """The old configuration with what may change taken from the new one."""
    live = new.zone_store
    return dataclasses.replace(
        old,
        dns=dataclasses.replace(new.dns, port=old.dns.port, bind_addr=old.dns.bind_addr),
        zone_store=dataclasses.replace(
            old.zone_store,
            eviction=live.eviction,
            eviction_interval=live.eviction_interval,
            max_future=live.max_future,
            max_packets=live.max_packets,
        ),
        pkarr_put_rate_limit=new.pkarr_put_rate_limit,
        trusted_proxies=new.trusted_proxies,
    )


def _differences(used: object, wanted: object, prefix: str = "") -> list[str]:
    """The paths of the keys in which two configurations of one kind are different."""
    names: list[str] = []
    for field in dataclasses.fields(used):  # type: ignore[arg-type] # both are dataclasses
        ours, theirs = getattr(used, field.name), getattr(wanted, field.name)
        if ours == theirs:
            continue
        path = prefix + field.name
        both = dataclasses.is_dataclass(ours) and dataclasses.is_dataclass(theirs)
        names += _differences(ours, theirs, f"{path}.") if both else [path]
    return names


def _http2(routes: Routes, metrics: Metrics) -> "Http2":
    from iroh_dns_server.http.http2 import Http2  # only who serves HTTPS needs it

    return Http2(routes, metrics)


async def _look_again(certificates: Certificates) -> None:
    while True:
        await asyncio.sleep(RELOAD_INTERVAL)
        certificates.reload()


async def _cancel(task: "asyncio.Task[None]") -> None:
    """End a task and wait for it."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _started(address: SocketAddr | None) -> SocketAddr:
    if address is None:
        raise DnsServerError("the server is not started")
    return address
