"""Everything that can happen to a network happens, and afterwards everything works again.

noq's `random_interaction` is the model, one floor higher: whole endpoints, which move, whose lines
are slow, bad or cut, whose NATs forget, whose relays end and begin again, while they talk.
"""

import asyncio
import logging
import random
from dataclasses import dataclass

import pytest

from iroh.connection import Connection
from iroh.endpoint import Endpoint
from iroh.errors import IrohError
from iroh.protocols import ECHO_ALPN, Echo
from iroh.testing import SimulatedNetwork, becomes_direct, run_in_virtual_time
from iroh.testing.simulated.host import SimulatedHost

from .test_nat_matrix import can_meet

KINDS = {
    "none": "none",
    "full-cone": "full",
    "address-restricted": "addr",
    "port-restricted": "port",
    "symmetric": "sym",
}
CLIENTS = 2
SECONDS = 90.0
PATIENCE = 40.0
"""Seconds after which a client gives up what it is doing."""


@dataclass
class Chaos:
    """One network and one run of it."""

    net: SimulatedNetwork
    rng: random.Random
    hosts: list[SimulatedHost]

    async def happen(self, until: float) -> None:
        """Let something happen every few seconds."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            await asyncio.sleep(8 * self.rng.random())
            await self._something(self.rng.choice(self.hosts))

    async def _something(self, host: SimulatedHost) -> None:
        rng, line = self.rng, host.line
        match rng.randrange(7):
            case 0:
                host.move(rng.choice(list(KINDS)))
            case 1:
                line.loss = 0.2 * rng.random()
            case 2:
                line.passes_udp = not line.passes_udp
            case 3:
                line.is_up = False
                await asyncio.sleep(15 * rng.random())
                line.is_up = True
            case 4:
                host.nat.forget()
            case 5:
                relay = rng.choice(self.net.relays)
                relay.stop()
                await asyncio.sleep(15 * rng.random())
                relay.start()
            case 6:
                line.delay = 0.2 * rng.random()

    def end(self) -> None:
        """Let everything be well."""
        for host in self.hosts:
            line = host.line
            line.is_up = line.passes_udp = True
            line.loss, line.delay = 0.0, 0.005


async def echo(conn: Connection, size: int) -> None:
    send, recv = await conn.open_bi()
    await send.write_all(bytes(size))
    await send.finish()
    assert await recv.read_to_end(size) == bytes(size)


async def talk(client: Endpoint, server: Endpoint, rng: random.Random, until: float) -> None:
    """Ask for echoes as long as it lasts; dial again when the connection is gone."""
    loop = asyncio.get_running_loop()
    conn: Connection | None = None
    while loop.time() < until:
        try:
            async with asyncio.timeout(PATIENCE):
                if conn is None or conn.close_reason() is not None:
                    conn = await client.connect(server.id(), ECHO_ALPN)
                await echo(conn, rng.randint(1, 30_000))
        except (IrohError, TimeoutError):
            pass
        await asyncio.sleep(2 * rng.random())


async def story(seed: int) -> None:
    rng = random.Random(seed)
    until = asyncio.get_running_loop().time() + SECONDS
    async with SimulatedNetwork(seed=seed, relays=rng.randint(1, 3)) as net:
        server = await net.endpoint(rng.choice(list(KINDS)), protocols={ECHO_ALPN: Echo()})
        clients = [await net.endpoint(rng.choice(list(KINDS))) for _ in range(CLIENTS)]
        chaos = Chaos(net, rng, [net.host_of(endpoint) for endpoint in (server, *clients)])
        await asyncio.gather(
            chaos.happen(until), *(talk(client, server, rng, until) for client in clients)
        )
        chaos.end()
        await asyncio.sleep(60)
        for client in clients:
            async with asyncio.timeout(10):
                conn = await client.connect(server.id(), ECHO_ALPN)
                await echo(conn, 100_000)
            kinds = (KINDS[net.host_of(endpoint).nat.kind] for endpoint in (client, server))
            if can_meet(*kinds):
                await becomes_direct(conn, within=30)


@pytest.mark.parametrize("seed", range(4))
def test_chaos(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        run_in_virtual_time(story(seed))
    assert not caplog.records
