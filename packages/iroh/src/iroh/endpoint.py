"""The endpoint: an identity on the network that dials and is dialled by public key.

    async with Endpoint.bind(presets.N0) as endpoint:
        conn = await endpoint.connect(peer_id, b"my/protocol/1")

Names and the sync/async split are the bindings'. An endpoint belongs to the event loop it was
bound on; a process may have any number of endpoints and loops.
"""

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Generator, Sequence
from typing import Any, Self

from iroh.address_lookup import (
    AddressLookup,
    AddressLookupServices,
    LookupContext,
    LookupItem,
    MemoryLookup,
)
from iroh.connection import Connection
from iroh.errors import ConnectError, EndpointClosedError
from iroh.incoming import AcceptConfig, Connecting, Incoming
from iroh.magicsock.driver import ConnectionDriver, EngineDriver
from iroh.magicsock.home import HomeRelay
from iroh.magicsock.remote import Source
from iroh.magicsock.socket import MagicSock
from iroh.magicsock.transports.relay import RelayResolver
from iroh.options import EndpointBuilder, EndpointConfig, EndpointOptions, PresetLike, check_alpns
from iroh.quic.api import ServerConfig
from iroh.resolver import DnsResolver
from iroh.router import ProtocolCreator, Router
from iroh.watchers import AddrChangeCallback, HomeRelayCallback, WatchHandle
from iroh_base import (
    EndpointAddr,
    EndpointData,
    InvalidInputError,
    PublicKey,
    RelayUrl,
    SecretKey,
    SocketAddr,
    TransportAddr,
    UserData,
    Watchable,
    Watcher,
)
from iroh_relay.relay_map import RelayConfig, RelayMap

logger = logging.getLogger(__name__)


class Endpoint:
    """Bind it with `Endpoint.bind`. Close it with `close`, or use `async with`."""

    @classmethod
    def bind(
        cls, options: "EndpointOptions | PresetLike | None" = None, **settings: Any
    ) -> "Binding":
        """Bind an endpoint: `await` the result, or use it in `async with`.

        Takes EndpointOptions, or a preset with the fields of EndpointOptions as keywords:
        `Endpoint.bind(presets.Minimal, alpns=[b"echo/1"])`. Nothing given means presets.N0.
        Raises BindError, InvalidInputError. Cancelling it releases what was bound.
        """
        if isinstance(options, EndpointOptions):
            if settings:
                raise TypeError("give either EndpointOptions or keywords, not both")
        else:
            options = EndpointOptions(preset=options, **settings)
        return Binding(options)

    @classmethod
    async def bind_config(cls, config: EndpointConfig) -> "Endpoint":
        """Bind with a finished configuration; `EndpointBuilder.bind` ends here."""
        endpoint = cls(config)
        await asyncio.sleep(0)  # let the first tasks run: publishing, the home relay
        return endpoint

    def __init__(self, config: EndpointConfig) -> None:
        """Bind the sockets on the running loop. Use `Endpoint.bind` instead."""
        loop = asyncio.get_running_loop()
        self._secret_key = config.secret_key or SecretKey.generate()
        self._id = self._secret_key.public()
        self._alpns = config.alpns
        self._transport = config.transport
        self._user_data = config.user_data
        self._closing = self._closed = False
        self._close_task: asyncio.Task[None] | None = None
        self._router: Router | None = None
        self._memory: MemoryLookup | None = None
        self._relay_map = None
        if not config.relay_mode.is_disabled():
            self._relay_map = config.relay_mode.relay_map()
        self._services = AddressLookupServices()
        # Without a resolver of the application's, relays are found by the operating system.
        self._relay_resolver = RelayResolver(config.dns_resolver) if config.dns_resolver else None
        self._sock = MagicSock(
            self._secret_key,
            self._lookup,
            self._relay_map,
            config.bind_addrs,
            self._relay_resolver,
        )
        from iroh.quic.aioquic_engine import AioquicEndpoint  # late: 100 ms of imports

        engine = AioquicEndpoint(self._secret_key, transport=config.transport, rng=os.urandom)
        engine.set_accepting(bool(self._alpns))
        self._engine = EngineDriver(engine, self._sock.send)
        self._sock.deliver = self._engine.on_batches
        for addr in config.external_addrs:
            self._sock.add_external_addr(addr)
        self._addr: Watchable[EndpointAddr] = Watchable(self._sock.addr(), loop.create_future)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sock.start()
        self._start_services(config)
        if self._relay_map is not None:
            self._start_home_relay(self._relay_map)

    def _start_services(self, config: EndpointConfig) -> None:
        if config.addr_filter is not None:
            self._services.set_addr_filter(config.addr_filter)
        resolver = config.dns_resolver or DnsResolver()
        self._services.bind(LookupContext(secret_key=self._secret_key, resolver=resolver))
        for service in config.address_lookup:
            self.add_address_lookup(service)
        self._publish()

    def _start_home_relay(self, relay_map: RelayMap) -> None:
        async def probe(url: RelayUrl) -> float:
            from iroh_relay.client import probe_latency

            return await probe_latency(str(url), resolver=self._relay_resolver)

        home = HomeRelay(relay_map, probe, self._set_home, random.random)
        self._spawn(home.run(), "iroh-home-relay-choice")

    def _set_home(self, url: RelayUrl | None) -> None:
        assert self._sock.relay is not None
        self._sock.relay.set_home(url)
        self._address_changed()

    def _spawn(self, coroutine: Any, name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s failed", task.get_name(), exc_info=task.exception())

    # -- who and where we are -------------------------------------------------------------------

    def id(self) -> PublicKey:
        """Return our EndpointId: what others dial."""
        return self._id

    def secret_key(self) -> SecretKey:
        """Return our secret key."""
        return self._secret_key

    def addr(self) -> EndpointAddr:
        """Return our address as it is now: home relay and direct addresses."""
        return self._sock.addr()

    def bound_sockets(self) -> list[str]:
        """Return "ip:port" of the UDP sockets, IPv4 first. Works after close."""
        return [str(addr) for addr in self._sock.ip.bound_sockets()]

    def watch_addr(self, callback: AddrChangeCallback | None = None) -> Any:
        """Follow our address: a Watcher, or with a callback a WatchHandle that calls it."""
        watcher: Watcher[EndpointAddr] = self._addr.watch()
        if callback is None:
            return watcher
        return WatchHandle(watcher, callback.on_change, "iroh-watch-addr")

    def watch_home_relay(self, callback: HomeRelayCallback | None = None) -> Any:
        """Follow the home relay's status (None: no home relay), or call back with its URLs."""
        status = self._home_status()
        if callback is None:
            return status.watch()

        async def urls() -> AsyncIterator[list[str]]:
            async for value in status.watch():
                yield [str(value.url)] if value is not None and value.is_connected else []

        return WatchHandle(urls(), callback.on_change, "iroh-watch-home-relay")

    async def online(self) -> None:
        """Wait until the home relay is connected. Never returns without relays."""
        async for status in self._home_status().watch():
            if status is not None and status.is_connected:
                return
        await asyncio.get_running_loop().create_future()  # closed before it was online

    def _home_status(self) -> "Watchable[Any]":
        if self._sock.relay is not None:
            return self._sock.relay.home_status
        return Watchable(None, asyncio.get_running_loop().create_future)

    async def add_external_addr(self, addr: str) -> None:
        """Announce "ip:port", where others reach us and we cannot know it."""
        if not self._closing and self._sock.add_external_addr(SocketAddr.parse(addr)):
            self._address_changed()

    async def remove_external_addr(self, addr: str) -> bool:
        """Take it back; say whether it was there."""
        known = not self._closing and self._sock.remove_external_addr(SocketAddr.parse(addr))
        if known:
            self._address_changed()
        return known

    async def insert_relay(self, config: RelayConfig) -> None:
        """Use one more relay from now on."""
        if self._relay_map is not None and not self._closing:
            self._relay_map.insert(config)

    async def remove_relay(self, url: str) -> bool:
        """Stop using a relay; say whether it was in use."""
        if self._relay_map is None or self._closing:
            return False
        return self._relay_map.remove(url)

    def _address_changed(self) -> None:
        self._addr.set(self._sock.addr())
        self._publish()

    # -- address lookup -------------------------------------------------------------------------

    def add_address(self, addr: EndpointAddr) -> None:
        """Remember a peer's address: `connect` with its id alone finds it."""
        if self._memory is None:
            self._memory = MemoryLookup()
            self.add_address_lookup(self._memory)
        self._memory.add_endpoint_info(addr)

    def add_address_lookup(self, service: AddressLookup) -> None:
        """Add a lookup service; it is told our address at once."""
        self._services.add(service)

    def set_user_data(self, text: str | UserData | None) -> None:
        """Publish this text beside our addresses, at most 245 bytes; None takes it back."""
        self._user_data = UserData(text) if isinstance(text, str) else text
        self._publish()

    def _publish(self) -> None:
        """Tell the services our address. Direct addresses first, the relay last, as upstream."""
        if self._closing:
            return
        addr = self._sock.addr()
        addresses: list[TransportAddr] = [*addr.ip_addrs, *addr.relay_urls]
        if addresses or self._user_data is not None:
            self._services.publish(EndpointData(addresses, self._user_data))

    def _lookup(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        return self._services.resolve(endpoint_id)

    async def remote_addr(self, id: PublicKey) -> EndpointAddr | None:
        """Return what we know of a peer's addresses, None if nothing."""
        remote = self._sock.remotes.find(id)
        if remote is None or not remote.addresses:
            return None
        return EndpointAddr(id).with_addrs(remote.addresses)

    # -- dialling -------------------------------------------------------------------------------

    async def connect(self, addr: EndpointAddr | PublicKey, alpn: bytes) -> Connection:
        """Dial an endpoint by its id, or by an address, and agree on the ALPN.

        Every known address is tried at once, and those that a lookup finds meanwhile; the first
        answer wins. Raises ConnectError (LookupFailedError, ConnectTimeoutError after 30 s of
        silence, EndpointClosedError). Cancelling it abandons the dial.
        """
        return await (await self.connect_pending(addr, alpn))

    async def connect_pending(self, addr: EndpointAddr | PublicKey, alpn: bytes) -> Connecting:
        """Start dialling: find an address and send the first packet. See `connect`."""
        if self._closing:
            raise EndpointClosedError("the endpoint is closed")
        if isinstance(addr, PublicKey):
            addr = EndpointAddr(addr)
        remote_id = addr.id()
        if remote_id == self._id:
            raise ConnectError("connecting to ourself is not supported")
        (alpn,) = check_alpns([alpn])
        remote = self._sock.remotes.get(remote_id)
        remote.add(addr.sorted_addrs(), Source.APP)
        await remote.resolve()
        if self._closing:
            raise EndpointClosedError("the endpoint was closed while it looked up an address")
        mixed = self._sock.mapped.mixed.get(remote_id)
        driver = self._engine.connect(mixed, remote_id.to_bytes(), [alpn], self._transport)
        return Connecting(driver, self._establish, remote_id)

    def _establish(self, driver: ConnectionDriver) -> Connection:
        connection = Connection(driver)
        self._sock.attach(driver, connection.remote_id())
        return connection

    # -- accepting ------------------------------------------------------------------------------

    def set_alpns(self, alpns: Sequence[bytes]) -> None:
        """Accept these application protocols from now on, the preferred first; none refuses."""
        if not self._closing:
            self._alpns = check_alpns(alpns)
            self._engine.engine.set_accepting(bool(self._alpns))

    async def accept_next(self) -> Incoming | None:
        """Take the next connection attempt; None once the endpoint is closed.

        Cancelling it loses no attempt.
        """
        incoming = await self._engine.next_incoming()
        if incoming is None:
            return None
        accept = AcceptConfig(self._server_config, self._establish)
        return Incoming(incoming, self._engine, accept)

    async def incoming(self) -> AsyncIterator[Incoming]:
        """Iterate over connection attempts until the endpoint is closed."""
        while (incoming := await self.accept_next()) is not None:
            yield incoming

    def _server_config(self) -> ServerConfig:
        return ServerConfig(self._alpns, self._transport)

    def serve(self, protocols: dict[bytes, Any]) -> None:
        """Serve protocols with a router that ends with the endpoint."""
        handlers = {
            alpn: entry.create(self) if isinstance(entry, ProtocolCreator) else entry
            for alpn, entry in protocols.items()
        }
        self._router = Router(self, handlers)

    # -- the end --------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        """Say whether close has finished."""
        return self._closed

    async def close(self) -> None:
        """Close every connection with code 0, then the sockets. Idempotent.

        Close connections yourself first if the peer should see another code. Cancelling the wait
        does not stop the closing.
        """
        if self._close_task is None:
            self._close_task = asyncio.create_task(self._close(), name="iroh-close")
        await asyncio.shield(self._close_task)

    async def _close(self) -> None:
        if self._router is not None:
            await self._router.stop()
        self._closing = True
        for task in self._tasks:
            task.cancel()
        self._engine.shut()
        await self._services.close()
        await self._sock.close()
        self._engine.abandon()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._addr.close()
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else ", ".join(self.bound_sockets())
        return f"<Endpoint {self._id.fmt_short()} {state}>"


class Binding:
    """An endpoint about to be bound: await it, or enter it."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._endpoint: Endpoint | None = None

    def __await__(self) -> Generator[Any, Any, Endpoint]:
        return self._bind().__await__()

    async def _bind(self) -> Endpoint:
        builder = EndpointBuilder()
        builder.apply_options(self._options)
        endpoint = await builder.bind()
        if self._options.protocols is not None:
            endpoint.serve(self._options.protocols)
        return endpoint

    async def __aenter__(self) -> Endpoint:
        self._endpoint = await self._bind()
        return self._endpoint

    async def __aexit__(self, *_exc: object) -> None:
        assert self._endpoint is not None
        await self._endpoint.close()


__all__ = ["Binding", "Endpoint", "InvalidInputError"]
