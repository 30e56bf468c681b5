"""The relay transport: one WebSocket per relay in use, and the home relay.

A relay is used from the first datagram on and dropped after a minute without one; the home relay
stays (iroh `RelayActor`). Datagrams travel as they are, sealed by QUIC; the relay sees the two
EndpointIds and nothing else.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from iroh.magicsock.mapped import MappedAddrs, RelayPathAddr
from iroh.quic.datagrams import Datagrams
from iroh.resolver import DnsResolver
from iroh_base import IrohError, PublicKey, RelayUrl, SecretKey, Watchable
from iroh_relay.client import RelayClient, RelayStatus
from iroh_relay.relay_map import RelayConfig, RelayMap

logger = logging.getLogger(__name__)

MAX_RELAYS = 64
"""Relays in use at once: dialling many peers with many home relays must not exhaust sockets."""
_MAX_ROUTES = 16_384

MakeClient = Callable[..., RelayClient]


class RelayResolver:
    """Finds relays' hosts with the endpoint's own resolver."""

    def __init__(self, resolver: DnsResolver) -> None:
        self._resolver = resolver

    async def resolve(self, host: str) -> list[tuple[int, str]]:
        """Return (address family, ip) pairs. Raises OSError."""
        try:
            ips = await self._resolver.resolve_host_staggered(host)
        except IrohError as error:
            raise OSError(f"cannot resolve {host}: {error}") from error
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip) for ip in ips]


class RelayTransport:
    """The relays of one endpoint."""

    def __init__(
        self,
        secret_key: SecretKey,
        relay_map: RelayMap,
        mapped: MappedAddrs,
        deliver: Callable[[Sequence[Datagrams]], None],
        resolver: RelayResolver | None = None,
        make_client: MakeClient = RelayClient,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.home: RelayUrl | None = None
        self.home_status: Watchable[RelayStatus | None] = Watchable(None, loop.create_future)
        self.received = 0
        self.sent = 0
        self.dropped = 0
        self.home_changes = 0
        self._secret_key = secret_key
        self._map = relay_map
        self._mapped = mapped
        self._deliver = deliver
        self._make_client = make_client
        self._resolver = resolver
        self._clients: dict[RelayUrl, RelayClient] = {}
        self._routes: dict[bytes, RelayUrl] = {}  # endpoint -> the relay it was last heard over
        self._closing: set[asyncio.Task[None]] = set()
        self._mirror: asyncio.Task[None] | None = None
        self._closed = False

    def send(self, batch: Datagrams) -> bool:
        """Queue datagrams for an endpoint behind a relay. Says False when they were dropped."""
        remote = batch.remote
        assert isinstance(remote, RelayPathAddr)
        count = len(batch)
        self.sent += count
        dest = remote.endpoint_id.to_bytes()
        client = self._client_for(remote.url, dest)
        size = batch.segment_size if count > 1 else 0
        if client is not None and client.send(dest, batch.data, size, batch.ecn):
            return True
        self.dropped += count
        return False

    def set_home(self, url: RelayUrl | None) -> None:
        """Make this relay the home relay: connected at once, and kept."""
        if url == self.home or self._closed:
            return
        old, self.home = self.home, url
        self.home_changes += 1
        if self._mirror is not None:
            self._mirror.cancel()
            self._mirror = None
        if old is not None and old in self._clients:
            self._clients[old].set_home(False)
        if url is None:
            self.home_status.set(None)
            return
        client = self._clients.get(url) or self._start(url)
        client.set_home(True)
        self.home_status.set(client.status.get())
        self._mirror = asyncio.create_task(self._mirror_status(client), name="iroh-home-relay")

    def clients(self) -> dict[RelayUrl, RelayClient]:
        """The relays in use."""
        return dict(self._clients)

    async def close(self) -> None:
        """Send what is queued and close every relay connection."""
        self._closed = True
        if self._mirror is not None:
            self._mirror.cancel()
            await asyncio.wait((self._mirror,))
        clients, self._clients = list(self._clients.values()), {}
        await asyncio.gather(*(client.close() for client in clients))
        while self._closing:
            await asyncio.wait(self._closing)
        self.home_status.close()

    def _client_for(self, url: RelayUrl, dest: bytes) -> RelayClient | None:
        client = self._clients.get(url)
        if client is not None:
            return client
        # A relay that already hears the peer saves a new connection (iroh HasEndpointRoute).
        route = self._routes.get(dest)
        if route is not None and route in self._clients:
            return self._clients[route]
        if self._closed or len(self._clients) >= MAX_RELAYS:
            return None
        return self._start(url)

    def _start(self, url: RelayUrl) -> RelayClient:
        def on_datagrams(source: bytes, data: bytes, segment_size: int, _ecn: int) -> None:
            self._received(url, source, data, segment_size)

        def on_idle() -> None:
            self._retire(url)

        config = self._map.get(str(url)) or RelayConfig(url=str(url))
        client = self._make_client(
            config,
            self._secret_key,
            on_datagrams=on_datagrams,
            on_endpoint_gone=self._gone,
            on_idle=on_idle,
            resolver=self._resolver,
        )
        self._clients[url] = client
        client.start()
        return client

    def _received(self, url: RelayUrl, source: bytes, data: bytes, segment_size: int) -> None:
        if source not in self._routes and len(self._routes) >= _MAX_ROUTES:
            del self._routes[next(iter(self._routes))]
        self._routes[source] = url
        remote = self._mapped.relay.get((url, PublicKey.from_bytes(source)))
        batch = Datagrams(remote, data, segment_size)
        self.received += len(batch)
        self._deliver((batch,))

    def _gone(self, endpoint: bytes) -> None:
        self._routes.pop(endpoint, None)

    def _retire(self, url: RelayUrl) -> None:
        if url == self.home:
            return
        client = self._clients.pop(url, None)
        if client is not None:
            task = asyncio.create_task(client.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _mirror_status(self, client: RelayClient) -> None:
        async for status in client.status.watch():
            self.home_status.set(status)
