"""Endpoints on a SimulatedNetwork: the real stack above what is real about a network.

Path selection, hole punching, relays that step in, QUIC: all of it runs, and takes no real time
when the loop has virtual time. In place of sockets, relay connections and net reports there is
the simulation.

    async def story():
        async with simulated_pair("port-restricted", "full-cone") as (network, one, other):
            dialled, accepted = await asyncio.gather(one.dial(other), other.accept())

    run_in_virtual_time(story())
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from iroh.connection import Connection
from iroh.errors import EndpointClosedError
from iroh.magicsock.host import EngineDriver
from iroh.magicsock.mapped import RelayPathAddr
from iroh.magicsock.remote import Source
from iroh.magicsock.socket import MagicSock
from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.engine import new_endpoint
from iroh.testing.simulated_network import PORT, QAD, Nat, NatKind, SimulatedNetwork
from iroh_base import PublicKey, RelayUrl, SecretKey, SocketAddr, TransportAddr
from iroh_relay.relay_map import RelayMap

__all__ = ["RELAY", "SimulatedEndpoint", "add_endpoint", "simulated_pair"]

ALPN = b"simulated/0"
RELAY = RelayUrl("https://relay.example/")
"""The relay that every simulated endpoint has for its home."""


class _Ip:
    """In place of IpTransport: one IPv4 socket behind a NAT."""

    def __init__(
        self, nat: Nat, network: SimulatedNetwork, deliver: Callable[..., None], metrics: Any
    ) -> None:
        self.nat, self.network, self.metrics = nat, network, metrics
        network.attach(nat, lambda batch: deliver((batch,)))

    def send(self, batch: Datagrams) -> bool:
        if not (isinstance(batch.remote, SocketAddr) and batch.remote.is_ipv4):
            return False
        self.network.send(self.nat, batch)
        return True

    def start(self) -> None:
        pass

    close = start

    async def flush(self) -> None:
        pass

    def bound_sockets(self) -> list[SocketAddr]:
        return [SocketAddr("0.0.0.0", PORT)]

    def direct_addresses(self) -> list[SocketAddr]:
        return [self.nat.host]


class _Relay:
    """In place of RelayTransport: the network's relay."""

    def __init__(
        self, nat: Nat, network: SimulatedNetwork, key: PublicKey, mapped: Any, deliver: Any
    ) -> None:
        self.home = RELAY
        self.nat, self.network, self.key, self.mapped = nat, network, key.to_bytes(), mapped
        self.deliver = deliver
        self.metrics: Any = None
        network.attach_relayed(self.key, nat.public_ip, self._arrived)

    def send(self, batch: Datagrams) -> bool:
        assert isinstance(batch.remote, RelayPathAddr)
        dest = batch.remote.endpoint_id.to_bytes()
        self.network.relay(self.key, self.nat.public_ip, dest, batch)
        return True

    def _arrived(self, source: bytes, batch: Datagrams) -> None:
        remote = self.mapped.relay.get((RELAY, PublicKey.from_bytes(source)))
        self.deliver((Datagrams(remote, batch.data, batch.segment_size),))

    async def close(self) -> None:
        pass

    def counted(self) -> Any:
        return replace(self.metrics)


@dataclass
class SimulatedEndpoint:
    """One endpoint: made by `add_endpoint`, dials and accepts real connections."""

    key: SecretKey
    nat: Nat
    sock: MagicSock
    engine: EngineDriver

    @property
    def id(self) -> PublicKey:
        """Our EndpointId."""
        return self.key.public()

    def learn_public_address(self) -> None:
        """Do what a net report does: see our mapping as a relay sees it."""
        seen = None if self.nat.kind == "none" else self.nat.outward(QAD)
        self.sock.direct.set_report(seen, None, self.nat.is_symmetric)
        self.sock.direct_changed()

    async def dial(
        self, peer: "SimulatedEndpoint", addrs: Sequence[TransportAddr] = (RELAY,)
    ) -> Connection:
        """Connect to another one, at first over the relay unless it is told other addresses."""
        remote = self.sock.remotes.hold(peer.id)
        remote.add(addrs, Source.APP)
        mixed = self.sock.mapped.mixed.get(peer.id)
        driver = self.engine.connect(mixed, peer.id.to_bytes(), [ALPN])
        await driver.inbox.wait_connected()
        self.sock.attach(driver, peer.id)
        self.sock.remotes.release(remote)
        return Connection(driver)

    async def accept(self) -> Connection:
        """Take the next connection. Raises EndpointClosedError."""
        incoming = await self.engine.next_incoming()
        if incoming is None:
            raise EndpointClosedError("the endpoint was closed")
        driver = self.engine.accept(incoming, ServerConfig([ALPN]))
        await driver.inbox.wait_connected()
        connection = Connection(driver)
        self.sock.attach(driver, connection.remote_id())
        return connection

    async def close(self) -> None:
        """Close all connections with code 0."""
        self.engine.shut()
        await self.sock.close()
        self.engine.abandon()


async def _no_lookup(_endpoint_id: PublicKey) -> AsyncIterator[Any]:
    """Find nothing."""
    for _ in ():
        yield


def add_endpoint(
    network: SimulatedNetwork, number: int, kind: NatKind, seed: int = 0
) -> SimulatedEndpoint:
    """Put an endpoint behind a NAT of that kind.

    number: 1 to 254, makes its addresses: 203.0.113.number is the NAT's. seed: of all randomness.
    Raises InvalidInputError for a kind that there is not.
    """
    rng = random.Random(f"{seed} {number}").randbytes
    key = SecretKey.generate(rng)
    public_ip = f"203.0.113.{number}"
    host = SocketAddr(public_ip if kind == "none" else f"10.0.{number}.2", PORT)
    nat = Nat(kind, public_ip, host)
    relays: list[_Relay] = []

    def make_ip(deliver: Any, _binds: Any, metrics: Any, _defaults: Any) -> Any:
        for relay in relays:
            relay.metrics = metrics
        return _Ip(nat, network, deliver, metrics)

    def make_relay(
        _key: Any, _map: Any, mapped: Any, deliver: Any, _resolver: Any, metrics: Any, **_more: Any
    ) -> Any:
        relay = _Relay(nat, network, key.public(), mapped, deliver)
        relay.metrics = metrics
        return relay

    class Sock(MagicSock):
        """On the transports of this network."""

    Sock.make_ip, Sock.make_relay = staticmethod(make_ip), staticmethod(make_relay)
    sock = Sock(key, _no_lookup, RelayMap.from_urls([str(RELAY)]), rng=rng)
    quic = new_endpoint(key, TransportConfig(), rng)
    quic.set_accepting(True)
    engine = EngineDriver(quic, sock.send)
    engine.candidate_filter = sock.is_usable_candidate
    sock.deliver = engine.on_batches
    node = SimulatedEndpoint(key, nat, sock, engine)
    node.learn_public_address()
    return node


@asynccontextmanager
async def simulated_pair(
    client: NatKind, server: NatKind, seed: int = 0
) -> AsyncIterator[tuple[SimulatedNetwork, SimulatedEndpoint, SimulatedEndpoint]]:
    """Give a network and two endpoints behind NATs of these kinds; they are closed at the end."""
    network = SimulatedNetwork()
    pair = [add_endpoint(network, n, kind, seed) for n, kind in enumerate((client, server), 1)]
    try:
        yield network, pair[0], pair[1]
    finally:
        await asyncio.gather(*(endpoint.close() for endpoint in pair))
