"""Pairs of endpoints on a simulated network, and what the tests of the lab ask of them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from iroh.connection import Connection
from iroh.endpoint import Endpoint
from iroh.magicsock.socket import MagicSock
from iroh.testing import SimulatedNetwork, is_direct

ALPN = b"lab/0"
KINDS = {
    "none": "none",
    "full": "full-cone",
    "addr": "address-restricted",
    "port": "port-restricted",
    "sym": "symmetric",
}
"""Short names of the kinds of NAT."""

Pair = tuple[SimulatedNetwork, Endpoint, Endpoint]


@asynccontextmanager
async def pair(client: str, server: str, *, relays: int = 1) -> AsyncIterator[Pair]:
    """Give the network and two endpoints behind NATs of these kinds; the second one accepts."""
    async with SimulatedNetwork(relays=relays) as net:
        dialler = await net.endpoint(KINDS[client])
        listener = await net.endpoint(KINDS[server], alpns=[ALPN])
        await asyncio.gather(dialler.online(), listener.online())
        yield net, dialler, listener


async def meet(client: Endpoint, server: Endpoint) -> tuple[Connection, Connection]:
    """Connect by id, so that only the relay is known; gives the dialling and the accepting end."""

    async def accept() -> Connection:
        incoming = await server.accept_next()
        assert incoming is not None
        return await incoming

    dialled, accepted = await asyncio.gather(client.connect(server.id(), ALPN), accept())
    return dialled, accepted


def sock_of(endpoint: Endpoint) -> MagicSock:
    """Give what is inside."""
    return endpoint._core.sock


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
