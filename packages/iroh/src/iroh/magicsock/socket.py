"""The switchboard: QUIC says where in mapped addresses, the magic socket finds the transport.

    SocketAddr      -> UDP
    RelayPathAddr   -> that relay
    CustomPathAddr  -> the custom transport that reaches it
    MixedAddr       -> every known address of the endpoint, until one of them has answered

A datagram that finds no transport is lost, as on any network: QUIC repairs it.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from iroh.ca_tls import CaTlsConfig
from iroh.machine import Machine, UdpSockets
from iroh.magicsock.binds import Bind
from iroh.magicsock.direct_addrs import DirectAddresses
from iroh.magicsock.driver import ConnectionDriver
from iroh.magicsock.mapped import (
    CustomPathAddr,
    MappedAddrs,
    MixedAddr,
    RelayPathAddr,
    transport_addr,
)
from iroh.magicsock.remote import Lookup, RemoteMap, RemoteState
from iroh.magicsock.remote_paths import RemoteConnection, Surroundings
from iroh.magicsock.selector import BiasedRttPathSelector, PathSelector
from iroh.magicsock.transports.custom import CustomTransport, CustomTransports
from iroh.magicsock.transports.ip import is_mapped
from iroh.magicsock.transports.relay import RelayResolver, RelayTransport
from iroh.metrics import SocketMetrics
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.path import Path
from iroh_base import (
    CustomAddr,
    EndpointAddr,
    PublicKey,
    RelayUrl,
    SecretKey,
    SocketAddr,
    TransportAddr,
)
from iroh_relay.relay_map import RelayMap

if TYPE_CHECKING:
    from iroh.net_report.report import Report

logger: logging.Logger = logging.getLogger(__name__)

LOOKUP_END_TIMEOUT = 1.0  # seconds that cancelled lookups of foreign services may take to end


class MagicSock:
    """All transports of an endpoint behind one `send`."""

    def __init__(
        self,
        secret_key: SecretKey,
        lookup: Lookup,
        relay_map: RelayMap | None,
        binds: Sequence[Bind] = (),
        resolver: RelayResolver | None = None,
        default_binds: bool = True,
        custom_transports: Sequence[CustomTransport] = (),
        path_selector: PathSelector | None = None,
        tls: CaTlsConfig | None = None,
        proxy_for: Callable[[str], str | None] = lambda _url: None,
        machine: Machine | None = None,
    ) -> None:
        """Bind the sockets. relay_map None: no relay is ever used. Raises BindError.

        The custom transports are not opened: `await self.custom.start()` does that.
        """
        loop = asyncio.get_running_loop()
        machine = machine or Machine()
        metrics = self._metrics = SocketMetrics()
        self.deliver: Callable[[Sequence[Datagrams]], None] = lambda _batches: None
        self.mapped: MappedAddrs = MappedAddrs(machine.random_bytes)
        self.ip: UdpSockets = machine.ip_transport(self._deliver, binds, metrics, default_binds)
        self.relay: RelayTransport | None = None
        if relay_map is not None:
            self.relay = RelayTransport(
                *(secret_key, relay_map, self.mapped, self._deliver, resolver, metrics),
                make_client=machine.relay_client,
                tls=tls,
                proxy_for=proxy_for,
            )
        self.custom: CustomTransports = CustomTransports(
            custom_transports, self.mapped, self._deliver, metrics
        )
        self.dropped_no_transport: int = 0
        self.direct: DirectAddresses = DirectAddresses(_configured_v4_port(binds))
        """Where we are reached without a relay. Whoever changes it calls `direct_changed`."""
        self.direct.set_local(self.ip.direct_addresses())
        self.on_addr_changed: Callable[[], None] = lambda: None
        """Told when our direct addresses changed: to publish them."""
        self.report: Callable[[], Report | None] = lambda: None
        """Gives the last net report, if there is one."""
        around = Surroundings(
            clock=loop,
            metrics=metrics,
            direct=self.direct,
            selector=path_selector or BiasedRttPathSelector(),
            path_address=self.path_address,
            transport_addr=self.transport_addr,
            explain=self._explain,
            reaches=self.custom.reaches,
        )
        self.remotes: RemoteMap = RemoteMap(lookup, around)
        self._id = secret_key.public()

    def start(self) -> None:
        """Receive from now on."""
        self.ip.start()

    async def close(self) -> None:
        """Let what is queued leave, then release every socket. Takes a few seconds at most."""
        try:
            await asyncio.gather(
                *(self._end_lookups(), self.ip.flush(), self._end_relays(), self.custom.close())
            )
        finally:
            self.ip.close()

    async def _end_lookups(self) -> None:
        try:
            async with asyncio.timeout(LOOKUP_END_TIMEOUT):
                await self.remotes.close()
        except TimeoutError:
            logger.warning("an address lookup does not end although it was cancelled")

    async def _end_relays(self) -> None:
        if self.relay is not None:
            await self.relay.close()

    def abort(self) -> None:
        """Release the sockets at once; for an endpoint whose loop is gone."""
        self.ip.close()
        self.custom.abort()

    def counters(self) -> SocketMetrics:
        """Return a copy of the counters."""
        return replace(self._metrics) if self.relay is None else self.relay.counted()

    def drops(self) -> dict[str, int]:
        """Return how many datagrams the transports dropped, by reason."""
        ip, relay, custom = self.ip, self.relay, self.custom
        return {
            "no transport": self.dropped_no_transport,
            "not sent by UDP": ip.dropped,
            "not sent to a relay": relay.dropped if relay is not None else 0,
            "custom transports": custom.dropped,
            "from a mapped address": ip.dropped_mapped_source,
            "from no endpoint id": relay.dropped_bad_source if relay is not None else 0,
        }

    def count_network_change(self) -> None:
        """Count a change of the machine's network."""
        self._metrics.actor_link_change += 1

    # -- sending --------------------------------------------------------------------------------

    def send(self, batches: Sequence[Datagrams]) -> None:
        """Send each batch through the transport that its remote address names."""
        for batch in batches:
            if not self._send(batch):
                self.dropped_no_transport += len(batch)

    def _send(self, batch: Datagrams) -> bool:
        remote = batch.remote
        if isinstance(remote, SocketAddr):
            return self.ip.send(batch)
        if isinstance(remote, RelayPathAddr):
            return self.relay is not None and self.relay.send(batch)
        if isinstance(remote, CustomPathAddr):
            return self.custom.send(batch)
        return isinstance(remote, MixedAddr) and self._fan_out(remote, batch)

    def _fan_out(self, remote: MixedAddr, batch: Datagrams) -> bool:
        state = self.remotes.find(remote.key)
        if state is None:
            return False
        sent = False
        for target in state.targets([*self.direct.get(), *self.custom.local_addrs()]):
            address = self.path_address(remote.key, target)
            copy = Datagrams(address, batch.data, batch.segment_size, batch.ecn)
            sent = self._send(copy) or sent
        return sent

    def _deliver(self, batches: Sequence[Datagrams]) -> None:
        self.deliver(batches)

    # -- addresses ------------------------------------------------------------------------------

    def path_address(self, endpoint_id: PublicKey, target: TransportAddr) -> Address:
        """Return what QUIC calls this address of this endpoint."""
        if isinstance(target, RelayUrl):
            return self.mapped.relay.get((target, endpoint_id))
        if isinstance(target, CustomAddr):
            return self.mapped.custom.get(target)
        return target

    def transport_addr(self, address: Address) -> TransportAddr | None:
        """Return the transport address behind what QUIC calls it; None for "any path"."""
        return transport_addr(address)

    def direct_changed(self) -> None:
        """Act on other direct addresses: offer them to the peers, punch, tell the endpoint."""
        for remote in self.remotes:
            remote.direct_changed()
        self.on_addr_changed()

    def addr(self) -> EndpointAddr:
        """Return our own address: the home relay and the direct addresses."""
        home = self.relay.home if self.relay is not None else None
        return EndpointAddr(self._id, home, self.direct.get())

    # -- connections ----------------------------------------------------------------------------

    def attach(self, driver: ConnectionDriver, endpoint_id: PublicKey) -> None:
        """Manage the paths of an established connection until it ends."""
        remote = self.remotes.hold(endpoint_id)
        metrics = self._metrics
        metrics.num_conns_opened += 1
        connection = remote.attach(driver, self.remotes.number())
        driver.explain = partial(self._explain, remote, connection)

        def ended() -> None:
            metrics.num_conns_closed += 1
            remote.detach(connection)
            self.remotes.release(remote)

        driver.inbox.at_end(ended)

    def network_changed(self, major: bool, is_recoverable: Callable[[Path], bool]) -> None:
        """Act on a change of the machine's network: every path is nudged or replaced.

        major: addresses or routes are others: holes are punched again, too. Call it when the
        sockets are bound again and `direct` is up to date. is_recoverable: whether a path may work
        again as it is, our own address still being ours.
        """
        for remote in self.remotes:
            remote.network_changed(major, is_recoverable)

    def _explain(self, remote: RemoteState, connection: RemoteConnection) -> str | None:
        return remote.why_not_direct(connection, bool(self.ip.bound_sockets()), self.report())

    # -- candidates -----------------------------------------------------------------------------

    def is_usable_candidate(self, addr: SocketAddr) -> bool:
        """Say whether a peer's candidate may be probed: we can send there, and it is not us.

        Link-local addresses need a scope, which a candidate has not.
        """
        if not any(bound.is_ipv4 == addr.is_ipv4 for bound in self.ip.bound_sockets()):
            return False
        if is_mapped(addr.ip) or addr in self.direct:
            return False
        return addr.is_ipv4 or not ipaddress.ip_address(addr.ip).is_link_local


def _configured_v4_port(binds: Sequence[Bind]) -> int:
    return next((bind.addr.port for bind in binds if bind.addr.is_ipv4), 0)
