"""A magic socket with its engine, put into the fabric in place of sockets and relays."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from iroh.connection import Connection
from iroh.magicsock import socket as module
from iroh.magicsock.host import EngineDriver
from iroh.magicsock.remote import Source
from iroh.magicsock.socket import MagicSock
from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.engine import new_endpoint
from iroh_base import PublicKey, RelayUrl, SecretKey, SocketAddr
from iroh_relay.relay_map import RelayMap

from .fabric import PORT, QAD, Fabric, Nat

ALPN = b"lab/0"
RELAY = RelayUrl("https://relay.lab/")


class Ip:
    """In place of IpTransport: one IPv4 socket behind a NAT."""

    def __init__(self, nat: Nat, fabric: Fabric, deliver: Callable, metrics: Any) -> None:
        self.nat, self.fabric, self.metrics = nat, fabric, metrics
        fabric.attach(nat, lambda batch: deliver((batch,)))

    def send(self, batch: Datagrams) -> bool:
        if not batch.remote.is_ipv4:
            return False
        self.fabric.send(self.nat, batch)
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


class Relay:
    """In place of RelayTransport: the fabric's relay."""

    def __init__(self, nat: Nat, fabric: Fabric, key: PublicKey, mapped: Any, deliver: Any) -> None:
        self.home = RELAY
        self.nat, self.fabric, self.key, self.mapped = nat, fabric, key.to_bytes(), mapped
        self.deliver = deliver
        self.metrics: Any = None
        fabric.attach_relayed(self.key, nat.public_ip, self._arrived)

    def send(self, batch: Datagrams) -> bool:
        dest = batch.remote.endpoint_id.to_bytes()
        self.fabric.relay(self.key, self.nat.public_ip, dest, batch)
        return True

    def _arrived(self, source: bytes, batch: Datagrams) -> None:
        remote = self.mapped.relay.get((RELAY, PublicKey.from_bytes(source)))
        self.deliver((Datagrams(remote, batch.data, batch.segment_size),))

    async def close(self) -> None:
        pass

    def counted(self) -> Any:
        return replace(self.metrics)


@dataclass
class Node:
    """One endpoint of the lab."""

    key: SecretKey
    nat: Nat
    sock: MagicSock
    engine: EngineDriver

    @property
    def id(self) -> PublicKey:
        return self.key.public()

    def learn_public_address(self) -> None:
        """Do what a net report does: see our mapping as a relay sees it."""
        seen = None if self.nat.kind == "none" else self.nat.outward(QAD)
        self.sock.direct.set_report(seen, None, self.nat.is_symmetric)
        self.sock.direct_changed()

    async def dial(self, peer: "Node", addrs: Sequence[Any] = (RELAY,)) -> Connection:
        remote = self.sock.remotes.hold(peer.id)
        remote.add(addrs, Source.APP)
        mixed = self.sock.mapped.mixed.get(peer.id)
        driver = self.engine.connect(mixed, peer.id.to_bytes(), [ALPN])
        await driver.inbox.wait_connected()
        self.sock.attach(driver, peer.id)
        self.sock.remotes.release(remote)
        return Connection(driver)

    async def accept(self) -> Connection:
        incoming = await self.engine.next_incoming()
        driver = self.engine.accept(incoming, ServerConfig([ALPN]))
        await driver.inbox.wait_connected()
        connection = Connection(driver)
        self.sock.attach(driver, connection.remote_id())
        return connection

    async def close(self) -> None:
        self.engine.shut()
        await self.sock.close()
        self.engine.abandon()


async def no_lookup(_endpoint_id: PublicKey) -> AsyncIterator[Any]:
    """Find nothing."""
    for _ in ():
        yield


def make_node(fabric: Fabric, number: int, kind: str, seed: int = 0) -> Node:
    """Put an endpoint behind a NAT of that kind. number: 1 and up, makes its addresses."""
    rng = random.Random(f"{seed} {number}").randbytes
    key = SecretKey.generate(rng)
    public_ip = f"203.0.113.{number}"
    host = SocketAddr(public_ip if kind == "none" else f"10.0.{number}.2", PORT)
    nat = Nat(kind, public_ip, host)
    relays: list[Relay] = []

    def make_ip(deliver, _binds, metrics, _defaults):
        for relay in relays:
            relay.metrics = metrics
        return Ip(nat, fabric, deliver, metrics)

    def make_relay(_key, _map, mapped, deliver, _resolver, metrics, **_more):
        relay = Relay(nat, fabric, key.public(), mapped, deliver)
        relay.metrics = metrics
        return relay

    with (
        mock.patch.object(module, "IpTransport", make_ip),
        mock.patch.object(module, "RelayTransport", make_relay),
    ):
        sock = MagicSock(key, no_lookup, RelayMap.from_urls([str(RELAY)]), rng=rng)
    quic = new_endpoint(key, TransportConfig(), rng)
    quic.set_accepting(True)
    engine = EngineDriver(quic, sock.send)
    engine.candidate_filter = sock.is_usable_candidate
    sock.deliver = engine.on_batches
    node = Node(key, nat, sock, engine)
    node.learn_public_address()
    return node


@asynccontextmanager
async def pair(client: str, server: str, seed: int = 0) -> AsyncIterator[tuple[Fabric, Any, Any]]:
    """Give the fabric and two nodes behind NATs of these kinds."""
    fabric = Fabric()
    nodes = [make_node(fabric, n, kind, seed) for n, kind in enumerate((client, server), 1)]
    try:
        yield fabric, *nodes
    finally:
        await asyncio.gather(*(node.close() for node in nodes))


async def meet(client: Node, server: Node, addrs: Sequence[Any] = (RELAY,)) -> tuple[Any, Any]:
    """Connect; gives the dialling and the accepting end."""
    return tuple(await asyncio.gather(client.dial(server, addrs), server.accept()))


def is_direct(conn: Connection) -> bool:
    return any(path.is_selected and path.is_ip for path in conn.paths())


async def becomes(holds: Callable[[], bool], within: float) -> bool:
    """Wait until it holds; say whether it did within so many virtual seconds."""
    end = asyncio.get_running_loop().time() + within
    while not holds():
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(0.01)
    return True


async def become_direct(*conns: Connection, within: float = 10.0) -> bool:
    return await becomes(lambda: all(map(is_direct, conns)), within)


class Flow:
    """Bytes from one end to the other, with the longest time that none arrived."""

    def __init__(self, sender: Connection, receiver: Connection, pause: float = 0.01) -> None:
        self._pause = pause
        self.stall = 0.0
        self.received = 0
        self._ends = sender, receiver
        self._stop = False
        self._digests = hashlib.sha256(), hashlib.sha256()
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    async def _send(self) -> None:
        stream = await self._ends[0].open_uni()
        number = 0
        while not self._stop:
            number += 1
            chunk = number.to_bytes(8, "big") * 125
            self._digests[0].update(chunk)
            await stream.write_all(chunk)
            await asyncio.sleep(self._pause)
        await stream.finish()

    async def _receive(self) -> None:
        stream = await self._ends[1].accept_uni()
        loop = asyncio.get_running_loop()
        last = loop.time()
        while chunk := await stream.read(1 << 16):
            now = loop.time()
            self.stall, last = max(self.stall, now - last), now
            self.received += len(chunk)
            self._digests[1].update(chunk)

    async def end(self) -> None:
        """Send the end, and compare what arrived."""
        self._stop = True
        await asyncio.gather(*self._tasks)
        assert self._digests[0].digest() == self._digests[1].digest()
