"""A network in memory, whose loss and delay a test sets as it goes (iroh `TestNetwork`).

    network = MemoryNetwork()
    key = SecretKey.generate()
    endpoint = await Endpoint.bind(network.create_transport(key.public()), secret_key=key)

An address is the EndpointId in 32 bytes, under the transport id 0x20. A transport is also a preset:
it adds itself and the network's address lookup, and leaves out every socket, so that an id alone
can be dialled, over this network and nothing else.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import ClassVar

from iroh.address_lookup import AddressLookup, LookupItem
from iroh.magicsock.transports.custom import CustomTransport, Deliver
from iroh.options import EndpointBuilder
from iroh_base import (
    CustomAddr,
    EndpointData,
    EndpointInfo,
    InvalidInputError,
    PublicKey,
)

__all__ = ["MEMORY_TRANSPORT_ID", "MemoryNetwork", "MemoryTransport", "memory_addr"]

MEMORY_TRANSPORT_ID = 0x20
"""iroh `TEST_TRANSPORT_ID`, from the registry in `TRANSPORTS.md`."""
MAX_IN_FLIGHT = 1024
"""Datagrams on the way to one transport; then they are lost. Upstream's channel holds 256."""


def memory_addr(endpoint_id: PublicKey) -> CustomAddr:
    """Return where an endpoint is reached on a memory network (iroh `to_custom_addr`)."""
    return CustomAddr(MEMORY_TRANSPORT_ID, endpoint_id.to_bytes())


class MemoryNetwork:
    """Connects its transports. All their endpoints live on one event loop.

    loss: the probability that a datagram is lost, 0 to 1. delay: seconds that one is on its way.
    Both may be set at any moment, and count for what is sent from then on.
    """

    def __init__(
        self, *, loss: float = 0.0, delay: float = 0.0, rng: Callable[[], float] = random.random
    ) -> None:
        """rng gives uniform numbers of [0, 1)."""
        self.loss = loss
        self.delay = delay
        self.lost: int = 0
        """Datagrams lost by chance, by `MemoryTransport.is_up`, or for want of a receiver."""
        self._rng = rng
        self._transports: dict[PublicKey, MemoryTransport] = {}

    def create_transport(self, endpoint_id: PublicKey) -> "MemoryTransport":
        """Make the transport of an endpoint. Raises InvalidInputError if it has one here."""
        if endpoint_id in self._transports:
            raise InvalidInputError(f"{endpoint_id.fmt_short()} is on this network already")
        transport = self._transports[endpoint_id] = MemoryTransport(self, endpoint_id)
        return transport

    def address_lookup(self) -> AddressLookup:
        """Return a lookup service that finds whoever is on this network."""
        return _Lookup(self._transports)

    def carry(self, source: "MemoryTransport", dst: CustomAddr, data: bytes, size: int) -> None:
        """Bring datagrams of `size` bytes each to whom they are for. Transports call it."""
        target = self._transports.get(PublicKey.from_bytes(dst.data))
        for at in range(0, len(data), size):
            if target is None or not (source.is_up and target.is_up) or self._rng() < self.loss:
                self.lost += 1
            else:
                self.lost += not target.take(source.addr, data[at : at + size], self.delay)

    def leave(self, endpoint_id: PublicKey) -> None:
        """Forget an endpoint. Its transport calls it at the end."""
        self._transports.pop(endpoint_id, None)


class MemoryTransport(CustomTransport):
    """One endpoint's connection to a MemoryNetwork. Made by `MemoryNetwork.create_transport`.

    addr: where it is reached. is_up: False loses all that is sent, in both directions.
    """

    max_transmit_segments: ClassVar[int] = 16

    def __init__(self, network: MemoryNetwork, endpoint_id: PublicKey) -> None:
        self.addr: CustomAddr = memory_addr(endpoint_id)
        self.is_up = True
        self.local_addrs.set((self.addr,))
        self._id = endpoint_id
        self._network = network
        self._deliver: Deliver | None = None
        self._in_flight = 0

    def apply(self, builder: EndpointBuilder) -> None:
        """Make the builder's endpoint one of this network alone, as presets do."""
        builder.clear_ip_transports()
        builder.add_custom_transport(self)
        builder.address_lookup(self._network.address_lookup())

    async def start(self, deliver: Deliver) -> None:
        """Receive from now on. Never waits."""
        self._deliver = deliver

    def is_valid_send_addr(self, addr: CustomAddr) -> bool:
        """Whether it is an address of memory networks, though perhaps not of this one."""
        return addr.id == MEMORY_TRANSPORT_ID

    def send(self, dst: CustomAddr, src: CustomAddr | None, data: bytes, segment_size: int) -> bool:
        """Send. Raises IrohError for an address that is no EndpointId."""
        self._network.carry(self, dst, data, segment_size)
        return True

    def take(self, remote: CustomAddr, data: bytes, delay: float) -> bool:
        """Receive a datagram after `delay` seconds; say False when there is no room for it."""
        if self._deliver is None or self._in_flight >= MAX_IN_FLIGHT:
            return False
        if delay <= 0:
            self._deliver(remote, data, local=self.addr)
            return True
        self._in_flight += 1
        asyncio.get_running_loop().call_later(delay, self._arrive, remote, data)
        return True

    def _arrive(self, remote: CustomAddr, data: bytes) -> None:
        self._in_flight -= 1
        if self._deliver is not None:
            self._deliver(remote, data, local=self.addr)

    async def close(self) -> None:
        """Leave the network: the id can be used again. Never waits."""
        self._deliver = None
        self._network.leave(self._id)


class _Lookup(AddressLookup):
    """Finds who is on the network."""

    def __init__(self, transports: dict[PublicKey, MemoryTransport]) -> None:
        self._transports = transports

    def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem] | None:
        """Give the endpoint's address, if it is here."""
        transport = self._transports.get(endpoint_id)
        return None if transport is None else _once(endpoint_id, transport.addr)


async def _once(endpoint_id: PublicKey, addr: CustomAddr) -> AsyncIterator[LookupItem]:
    yield LookupItem(EndpointInfo(endpoint_id, EndpointData([addr])), "memory_network")
