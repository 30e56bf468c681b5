"""The relay transport: one WebSocket per relay in use, and the home relay.

A relay is used from the first datagram on and dropped after a minute without one; the home relay
stays (iroh `RelayActor`). Datagrams travel as they are, sealed by QUIC; the relay sees the two
EndpointIds and nothing else.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from iroh.ca_tls import CaTlsConfig
from iroh.magicsock.mapped import MappedAddrs, RelayPathAddr
from iroh.metrics import SocketMetrics
from iroh.quic.datagrams import Datagrams
from iroh_base import IrohError, PublicKey, RelayUrl, SecretKey, Watchable
from iroh_relay.relay_map import RelayMap

if TYPE_CHECKING:
    from iroh.resolver import DnsResolver
    from iroh_relay.client import RelayClient, RelayStatus

logger: logging.Logger = logging.getLogger(__name__)

MAX_RELAYS = 64
"""Relays in use at once: dialling many peers with many home relays must not exhaust sockets."""
CLOSE_TIMEOUT = 3.5
"""Seconds after which relays are left without a goodbye; a client itself takes 3 at most (iroh)."""
_MAX_ROUTES = 16_384

MakeClient = Callable[..., "RelayClient"]
"""Makes a client: called as the class itself would be."""


class RelayResolver:
    """Finds relays' hosts with the endpoint's own resolver."""

    def __init__(self, resolver: "DnsResolver") -> None:
        self._resolver = resolver

    async def resolve(self, host: str) -> list[tuple[int, str]]:
        """Return (address family, ip) pairs. Raises OSError."""
        try:
            ips = await self._resolver.resolve_host_staggered(host)
        except IrohError as error:
            raise OSError(f"cannot resolve {host}: {error}") from error
        except Exception as error:  # the application's resolver: its bug must not end a relay
            logger.exception("the resolver failed")
            raise OSError(f"cannot resolve {host}: {error!r}") from error
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip) for ip in ips]


class _LiveConfig:
    """What the relay map says of a relay now: a client reads it before each attempt."""

    def __init__(self, url: RelayUrl, relay_map: RelayMap) -> None:
        self.url = str(url)
        self._map = relay_map

    @property
    def auth_token(self) -> str | None:
        config = self._map.get(self.url)
        return None if config is None else config.auth_token


class RelayTransport:
    """The relays of one endpoint."""

    def __init__(
        self,
        secret_key: SecretKey,
        relay_map: RelayMap,
        mapped: MappedAddrs,
        deliver: Callable[[Sequence[Datagrams]], None],
        resolver: RelayResolver | None = None,
        metrics: SocketMetrics | None = None,
        *,
        make_client: MakeClient,
        tls: CaTlsConfig | None = None,
        proxy_for: Callable[[str], str | None] = lambda _url: None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.home: RelayUrl | None = None
        self.home_status: Watchable[RelayStatus | None] = Watchable(None, loop.create_future)
        self.prefer_ipv6: Callable[[], bool] = lambda: False
        """Asked before each dial: whether relays are tried over IPv6 first."""
        self.dropped: int = 0
        self.dropped_bad_source: int = 0
        """Batches from a source id that is no Ed25519 key: only a broken relay sends them."""
        self._metrics = metrics or SocketMetrics()
        self._secret_key = secret_key
        self._map = relay_map
        self._mapped = mapped
        self._deliver = deliver
        self._make_client = make_client
        self._resolver = resolver
        self._tls = tls or CaTlsConfig.system()
        self._proxy_for = proxy_for
        self._clients: dict[RelayUrl, RelayClient] = {}
        self._routes: dict[bytes, RelayUrl] = {}  # endpoint -> the relay it was last heard over
        self._leaving: dict[asyncio.Task[None], RelayClient] = {}
        self._mirror: asyncio.Task[None] | None = None
        self._closed = False

    def send(self, batch: Datagrams) -> bool:
        """Queue datagrams for an endpoint behind a relay. Says False when they were dropped."""
        remote = batch.remote
        assert isinstance(remote, RelayPathAddr)
        count = len(batch)
        dest = remote.endpoint_id.to_bytes()
        client = self._client_for(remote.url, dest)
        size = batch.segment_size if count > 1 else 0
        if client is not None and client.send(dest, batch.data, size, batch.ecn):
            self._metrics.send_relay += len(batch.data)
            return True
        self.dropped += count
        return False

    def set_home(self, url: RelayUrl | None) -> None:
        """Make this relay the home relay: connected at once, and kept."""
        if url == self.home or self._closed:
            return
        old, self.home = self.home, url
        if self._mirror is not None:
            self._mirror.cancel()
            self._mirror = None
        if old is not None and old in self._clients:
            self._clients[old].set_home(False)
        if url is None:
            self.home_status.set(None)
            return
        self._metrics.relay_home_change += 1
        client = self._living(url)
        if client is None:
            self._start(url)
        else:
            self._follow(client)

    def clients(self) -> "dict[RelayUrl, RelayClient]":
        """The relays in use."""
        return dict(self._clients)

    def check_connections(self, local_ips: Collection[str]) -> None:
        """The machine's network changed and has these addresses now: see what still works.

        A connection from an address that is gone is made anew at once; others must answer a ping
        within 0.5 to 5 s, by their round-trip time. Relays being dialled are dialled now.
        """
        for client in list(self._clients.values()):
            client.check_connection(local_ips)

    def counted(self) -> SocketMetrics:
        """Return the metrics, with what the clients in use have counted."""
        metrics = replace(self._metrics)
        for client in (*self._clients.values(), *self._leaving.values()):
            _add(metrics, client)
        return metrics

    async def close(self) -> None:
        """Send what is queued and close every relay connection, within CLOSE_TIMEOUT."""
        self._closed = True
        if self._mirror is not None:
            self._mirror.cancel()
            await asyncio.wait((self._mirror,))
        for url in list(self._clients):
            self._leave(url)
        if self._leaving:
            _, late = await asyncio.wait(self._leaving, timeout=CLOSE_TIMEOUT)
            for task in late:
                logger.warning("a relay did not let us go; left without a goodbye")
                task.cancel()
        self.home_status.close()

    def _client_for(self, url: RelayUrl, dest: bytes) -> "RelayClient | None":
        client = self._living(url)
        if client is not None:
            return client
        # A relay that already hears the peer saves a new connection (iroh HasEndpointRoute).
        route = self._routes.get(dest)
        client = None if route is None else self._living(route)
        if client is not None and client.is_connected:
            return client
        if self._closed or len(self._clients) >= MAX_RELAYS:
            return None
        return self._start(url)

    def _living(self, url: RelayUrl) -> "RelayClient | None":
        """Return the relay's client, unless it has ended by itself: then it is replaced."""
        client = self._clients.get(url)
        if client is not None and client.closed:
            self._leave(url)
            return None
        return client

    def _start(self, url: RelayUrl) -> "RelayClient":
        def on_datagrams(source: bytes, data: bytes, segment_size: int, _ecn: int) -> None:
            self._received(url, source, data, segment_size)

        def on_endpoint_gone(endpoint: bytes) -> None:
            if self._routes.get(endpoint) == url:
                del self._routes[endpoint]

        def on_lost() -> None:
            # The relay told who was there; who left meanwhile, nobody will tell us.
            for endpoint in [key for key, route in self._routes.items() if route == url]:
                del self._routes[endpoint]

        def on_idle() -> None:
            if url != self.home:
                self._leave(url)

        client = self._make_client(
            _LiveConfig(url, self._map),
            self._secret_key,
            on_datagrams=on_datagrams,
            on_endpoint_gone=on_endpoint_gone,
            on_lost=on_lost,
            on_idle=on_idle,
            resolver=self._resolver,
            proxy=self._proxy_for(str(url)),
            ssl_context=self._tls.ssl_context(),
            prefer_ipv6=lambda: self.prefer_ipv6(),
        )
        self._clients[url] = client
        client.start()
        if url == self.home:
            self._follow(client)
        return client

    def _follow(self, client: "RelayClient") -> None:
        """Keep the home relay's client connected, and show its status as ours."""
        client.set_home(True)
        self.home_status.set(client.status.get())
        self._mirror = asyncio.create_task(self._mirror_status(client), name="iroh-home-relay")

    def _received(self, url: RelayUrl, source: bytes, data: bytes, segment_size: int) -> None:
        try:
            endpoint_id = PublicKey.from_bytes(source)
        except IrohError:
            self.dropped_bad_source += 1
            return
        if source not in self._routes and len(self._routes) >= _MAX_ROUTES:
            del self._routes[next(iter(self._routes))]
        self._routes[source] = url
        batch = Datagrams(self._mapped.relay.get((url, endpoint_id)), data, segment_size)
        count = len(batch)
        self._metrics.recv_data_relay += len(data)
        self._metrics.recv_datagrams += count
        self._metrics.recv_gro_datagrams += count > 1
        self._deliver((batch,))

    def _leave(self, url: RelayUrl) -> None:
        client = self._clients.pop(url)
        task = asyncio.create_task(client.close(), name="iroh-relay-close")
        self._leaving[task] = client
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        _add(self._metrics, self._leaving.pop(task))

    async def _mirror_status(self, client: "RelayClient") -> None:
        async for status in client.status.watch():
            self.home_status.set(status)


def _add(metrics: SocketMetrics, client: "RelayClient") -> None:
    """Add what a client has counted."""
    stats = client.stats
    metrics.relay_conns_success += stats.conns_success
    metrics.relay_conns_failed += stats.conns_failed
    metrics.relay_conns_closed += stats.conns_closed
    metrics.relay_conns_ratelimited += stats.conns_ratelimited
