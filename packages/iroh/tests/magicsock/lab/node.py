"""Pairs of simulated endpoints, and what the tests of the lab ask of them."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from iroh.connection import Connection
from iroh.testing.simulated_endpoint import RELAY, SimulatedEndpoint, simulated_pair

KINDS = {
    "none": "none",
    "full": "full-cone",
    "addr": "address-restricted",
    "port": "port-restricted",
    "sym": "symmetric",
}
"""Short names of the kinds of NAT."""


def pair(client: str, server: str, seed: int = 0) -> AbstractAsyncContextManager[Any]:
    """Give the network and two endpoints behind NATs of these kinds."""
    return simulated_pair(KINDS[client], KINDS[server], seed)


async def meet(
    client: SimulatedEndpoint, server: SimulatedEndpoint, addrs: Sequence[Any] = (RELAY,)
) -> tuple[Any, Any]:
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
