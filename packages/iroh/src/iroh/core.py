"""What an endpoint is made of, behind the public face of `Endpoint`.

    magic socket <--> engine driver        packets
    relays ------> net report --> home relay, public addresses --> lookup services

It is bound in two steps, so that whatever fails can be undone: the constructor binds sockets or
raises, `start` does the rest, and `close` undoes both.
"""

import asyncio
import itertools
import logging
import os
import socket
import warnings
import weakref
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from iroh.address_lookup import AddressLookup, AddressLookupServices, LookupContext, LookupItem
from iroh.errors import BindError, EndpointClosedError
from iroh.hooks import HookChain
from iroh.keylog import keylog_from_environment
from iroh.machine import Machine
from iroh.magicsock.host import EngineDriver
from iroh.magicsock.socket import MagicSock
from iroh.magicsock.transports.relay import RelayResolver
from iroh.metrics import CounterStats, Family, LookupMetrics, page, snapshot
from iroh.netmon import NetworkMonitor
from iroh.network import NetworkCare, is_recoverable
from iroh.options import EndpointConfig
from iroh.qlog import qlog_from_environment
from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.reports import NetReports
from iroh_base import (
    EndpointAddr,
    EndpointData,
    PublicKey,
    SecretKey,
    TransportAddr,
    UserData,
    Watchable,
)
from iroh_relay.relay_map import RelayMap

if TYPE_CHECKING:
    from iroh.port_forwarding import PortForwarding
    from iroh.resolver import DnsResolver
    from iroh.router import Router
    from iroh_relay.client import RelayStatus

logger: logging.Logger = logging.getLogger(__name__)

SERVICES_CLOSE_TIMEOUT = 3.0  # seconds that lookup services, maybe foreign ones, get to end


class EndpointCore:
    """The parts of one endpoint. Belongs to the running loop."""

    def __init__(self, config: EndpointConfig) -> None:
        """Bind the sockets; nothing is read or sent yet. Raises BindError and leaves nothing."""
        from iroh.quic.engine import new_endpoint  # late: bind_endpoint has imported it

        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        machine = config.machine or Machine()
        self.machine: Machine = machine
        self.secret_key: SecretKey = config.secret_key or SecretKey.generate(machine.random_bytes)
        self.id: PublicKey = self.secret_key.public()
        self.alpns: tuple[bytes, ...] = config.alpns
        self.transport: TransportConfig = config.transport
        self.user_data: UserData | None = config.user_data
        self.closing: bool = False
        self.closed: bool = False
        self.closing_begun: asyncio.Event = asyncio.Event()
        self.router: Router | None = None
        self.relay_map: RelayMap | None = None
        self.forwarding: PortForwarding | None = None
        if not config.relay_mode.is_disabled():
            self.relay_map = config.relay_mode.relay_map()
        self.services: AddressLookupServices = AddressLookupServices()
        self.hooks: HookChain = HookChain(config.hooks)
        self._config = config
        self._face: object = None
        self._forgotten: weakref.finalize[Any, Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._close_task: asyncio.Task[None] | None = None
        # Without a resolver of the application's, relays are found by the operating system.
        self._relay_resolver = RelayResolver(config.dns_resolver) if config.dns_resolver else None
        keylog, qlog = keylog_from_environment(), qlog_from_environment()
        rng = machine.random_bytes
        engine = new_endpoint(self.secret_key, config.transport, rng, keylog, qlog)
        engine.set_accepting(bool(self.alpns))
        self.sock: MagicSock = self._bind(config)
        self.engine: EngineDriver = EngineDriver(engine, self.sock.send)
        self.engine.candidate_filter = self.sock.is_usable_candidate
        self.sock.deliver = self.engine.on_batches
        self.addr: Watchable[EndpointAddr] = Watchable(self.sock.addr(), self.loop.create_future)
        self.sock.on_addr_changed = self.address_changed
        self.resolver: DnsResolver = self._make_resolver()
        self.monitor: NetworkMonitor = machine.monitor()
        parts = config, machine, self.sock, self.engine, self.monitor
        self.reports: NetReports = NetReports(*parts, self.address_changed)
        self.network: NetworkCare = NetworkCare(
            self.monitor,
            self.sock,
            self.loop,
            Watchable(self.monitor.state, self.loop.create_future),
            reset_resolver=self._reset_resolver,
            ask_report=self._network_changed,
            tell_paths=self._renew_paths,
        )
        nobody: Watchable[RelayStatus | None] = Watchable(None, self.loop.create_future)
        self.home_status: Watchable[RelayStatus | None] = (
            nobody if self.sock.relay is None else self.sock.relay.home_status
        )

    def _bind(self, config: EndpointConfig) -> MagicSock:
        sock = MagicSock(
            self.secret_key,
            self._lookup,
            self.relay_map,
            config.binds,
            self._relay_resolver,
            config.default_binds,
            custom_transports=config.custom_transports,
            path_selector=config.path_selector,
            tls=config.ca_tls,
            proxy_for=config.proxy_for,
            machine=self.machine,
        )
        for addr in config.external_addrs:
            sock.direct.add_external(addr)
        return sock

    def start(self) -> None:
        """Receive, publish, choose a home relay. When it raises, `close` must follow."""
        config = self._config
        if self.relay_map is None and not self.sock.ip.bound_sockets() and not self.sock.custom:
            raise BindError(
                "no valid address available: no UDP socket, relay or custom transport to use"
            )
        self.sock.start()
        self.monitor.start()
        self._start_forwarding()
        if config.addr_filter is not None:
            self.services.set_addr_filter(config.addr_filter)
        self.services.bind(
            LookupContext(
                secret_key=self.secret_key,
                resolver=self.resolver,
                ssl_context=config.ca_tls.ssl_context(),
                monitor=self.monitor,
            )
        )
        for service in config.address_lookup:
            self.add_service(service)
        self.publish()
        if self.relay_map is not None:
            self._spawn(self.reports.start(self.relay_map).run(), "iroh-net-report")

    def show(self, face: object) -> None:
        """Take the public face: it lives as long as we do, until the loop forgets our sockets.

        If that happens before `close`, or the program ends, a ResourceWarning names it.
        """
        self._face = face
        sockets = self.sock.ip.sockets(), self.monitor.sockets
        self._forgotten = weakref.finalize(face, _unclosed, repr(face), *sockets)

    def _make_resolver(self) -> "DnsResolver":
        from iroh.resolver import DnsResolver

        return self._config.dns_resolver or DnsResolver()

    def _reset_resolver(self) -> None:
        try:
            self.resolver.reset()
        except Exception:  # the application's own resolver: its bug must not cost us the network
            logger.exception("the resolver failed to reset")

    def _network_changed(self, major: bool) -> None:
        self.sock.count_network_change()
        self.reports.request(major)
        if self.forwarding is not None:
            self.forwarding.network_changed()

    def _start_forwarding(self) -> None:
        wanted = self._config.portmapper and self.machine.has_router
        if not wanted or os.environ.get("IROH_PORTMAPPER") == "0":
            return
        from iroh.port_forwarding import PortForwarding  # late: not every endpoint wants one

        self.forwarding = PortForwarding(
            self.sock, self.monitor, lambda: self.reports.request(False)
        )
        self._spawn(self.forwarding.run(), "iroh-portmap-follow")

    def _renew_paths(self, major: bool) -> None:
        local = self.monitor.state.local_addresses
        self.sock.network_changed(major, lambda path: is_recoverable(path, local))

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("%s failed", task.get_name(), exc_info=task.exception())

    # -- what the public face uses --------------------------------------------------------------

    def check_open(self) -> None:
        """Raise EndpointClosedError once the endpoint is closing."""
        if self.closing:
            raise EndpointClosedError("the endpoint is closed")

    def server_config(self) -> ServerConfig:
        """How connections are accepted now."""
        return ServerConfig(self.alpns, self.transport)

    def address_changed(self) -> None:
        """Tell watchers and services where we are now."""
        self.addr.set(self.sock.addr())
        self.publish()

    def add_service(self, service: AddressLookup) -> None:
        """Add a lookup service; it is told our address at once."""
        self.services.add(service)

    def publish(self) -> None:
        """Tell the services our address. Direct addresses first, the relay last, as upstream."""
        if self.closing:
            return
        addr = self.sock.addr()
        addresses: list[TransportAddr] = [*addr.ip_addrs, *addr.relay_urls]
        if addresses or self.user_data is not None:
            self.services.publish(EndpointData(addresses, self.user_data))

    def _lookup(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        return self.services.resolve(endpoint_id)

    def stats(self) -> dict[str, CounterStats]:
        """Return all counters, by "group:name"."""
        found = self.services.stats()
        lookups = LookupMetrics(found.lookups, found.lookups_failed)
        network = replace(self.reports.metrics)
        if self.forwarding is not None:
            counted = self.forwarding.mapper.counters
            network.portmap_attempts = counted.attempts
            network.portmap_external_address_updated = counted.external_address_updated
        counters = self.sock.counters()
        counters.datagrams_dropped = sum(self.drops().values())
        counters.incoming_refused = self.engine.incoming_refused
        return {
            **snapshot("socket", counters),
            **snapshot("net_report", network),
            **snapshot("address_lookup", lookups),
        }

    def drops(self) -> dict[str, int]:
        """Return how many datagrams were dropped, by reason: the engine's and the transports'."""
        found = {**self.engine.engine.dropped, **self.sock.drops()}
        return {reason: count for reason, count in found.items() if count}

    def openmetrics(self) -> str:
        """Return all counters as a page for Prometheus."""
        found, name = self.services.stats(), "address_lookup:service_"
        results = Family(name + "results", found.service_results, "Results of each service.")
        errors = Family(name + "errors", found.service_errors, "Errors of each service.")
        why = "Datagrams dropped, by reason (not counted upstream)."
        drops = Family("socket:dropped", self.drops(), why, "reason")
        return page(self.stats(), (results, errors, drops))

    # -- the end --------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close everything. Idempotent; cancelling the wait does not stop the closing."""
        if self._close_task is None:
            self._close_task = asyncio.create_task(self._close(), name="iroh-close")
        await asyncio.shield(self._close_task)

    async def _close(self) -> None:
        if self.router is not None:
            await self.router.stop()
        self.closing = True
        self.closing_begun.set()
        self._end_monitor()
        self.reports.close()
        for task in self._tasks:
            task.cancel()
        try:
            self.engine.shut()
            ends = self._close_services(), self._end_forwarding(), self.sock.close()
            await asyncio.gather(*ends)
        finally:
            self.engine.abandon()
            self.addr.close()
            self.network.state.close()
            self.home_status.close()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._set_closed()

    def _end_monitor(self) -> None:
        self.network.close()
        self.monitor.stop()

    async def _end_forwarding(self) -> None:
        if self.forwarding is not None:
            await self.forwarding.close()

    async def _close_services(self) -> None:
        try:
            async with asyncio.timeout(SERVICES_CLOSE_TIMEOUT):
                await self.services.close()
        except TimeoutError:
            logger.warning("a lookup service takes too long to close; not waiting for it")

    def abort(self) -> None:
        """Release the sockets without a word, because the loop is gone. Idempotent."""
        self.closing = True
        self._end_monitor()
        self.sock.abort()
        self._set_closed()

    def _set_closed(self) -> None:
        self.closed = True
        self._face = None
        if self._forgotten is not None:
            self._forgotten.detach()


def _unclosed(name: str, *sockets: list[socket.socket]) -> None:
    for sock in itertools.chain(*sockets):
        sock.close()
    remedy = "`await endpoint.close()`, or bind it with `async with`: peers were not told"
    warnings.warn(f"unclosed endpoint {name}; {remedy}", ResourceWarning, stacklevel=1)
