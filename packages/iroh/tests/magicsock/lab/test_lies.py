"""Peers, relays and networks that lie: bounded work, and the path in use untouched."""

import asyncio
import random

from iroh.magicsock.mapped import RelayPathAddr
from iroh.quic.datagrams import Datagrams
from iroh.quic.nat_probes import BURST, RATE
from iroh.testing import run_in_virtual_time as run
from iroh_base import SecretKey, SocketAddr
from iroh_relay.protos.forward import Readdresser

from .node import Flow, become_direct, becomes, meet, pair, sock_of

VICTIM = "192.0.2.99"
SECONDS = 30
SMALL = 60
"""Bytes of the largest probe."""


def victims(count: int, first: int = 1) -> list[SocketAddr]:
    return [SocketAddr(VICTIM, port) for port in range(first, first + count)]


def commands_of(conn):
    return conn._driver.connection.path_commands


def parts_of(conn):
    return conn._driver.connection._p


async def direct_pair(dialler, listener):
    dialled, accepted = await meet(dialler, listener)
    assert await become_direct(dialled, accepted)
    return dialled, accepted


def lying(script) -> None:
    """Run a script beside a flow over a direct path, which must not feel it."""

    async def main() -> None:
        async with pair("port", "port") as (fabric, dialler, listener):
            dialled, accepted = await direct_pair(dialler, listener)
            before = [path.remote_addr for path in dialled.paths() if path.is_selected]
            flow = Flow(dialled, accepted, pause=0.05)
            await script(fabric, (dialler, dialled), (listener, accepted))
            assert [path.remote_addr for path in dialled.paths() if path.is_selected] == before
            assert dialled.close_reason() is None
            await flow.end()
            assert flow.stall < 0.5

    run(main())


def bounded(fabric) -> None:
    """A third party got few and small datagrams."""
    heard = sum(count for addr, count in fabric.heard.items() if addr.ip == VICTIM)
    assert heard <= BURST + RATE * (SECONDS + 5)


def test_a_server_names_a_third_party() -> None:
    """ADD_ADDRESS: thousands of addresses that are somebody else's, 32 at a time, ever new ones."""

    async def script(fabric, dialler, listener) -> None:
        attacker, client = commands_of(listener[1]), dialler[1]
        rounds = sock_of(dialler[0]).counters().holepunch_attempts
        for turn in range(SECONDS * 10):
            attacker.set_candidates(victims(32, 1 + 32 * turn))
            listener[1]._driver.schedule()
            await asyncio.sleep(0.1)
        bounded(fabric)
        assert fabric.heard, "it is not ignored either"
        nat = parts_of(client).mp.nat
        assert len(nat.remote_candidates()) <= 32
        assert sock_of(dialler[0]).counters().holepunch_attempts - rounds < SECONDS / 5 + 10
        assert len(sock_of(dialler[0]).remotes.find(listener[0].id()).addrs) < 40

    lying(script)


def test_a_client_names_a_third_party() -> None:
    """REACH_OUT: a round every 50 ms, each with 32 addresses of somebody else."""

    async def script(fabric, dialler, listener) -> None:
        attacker = commands_of(dialler[1])
        for turn in range(SECONDS * 20):
            attacker.set_candidates(victims(32, 1 + turn))
            attacker.start_round(asyncio.get_running_loop().time())
            dialler[1]._driver.schedule()
            await asyncio.sleep(0.05)
        bounded(fabric)
        assert fabric.heard
        assert parts_of(listener[1]).mp.nat._probes.held_back

    lying(script)


def test_candidates_that_are_no_peers() -> None:
    """The client's own address, and those that no socket of ours reaches, are never probed."""
    bad = ("[fd15:70a:510b::1]:1", "[2001:db8::1]:1", "[fe80::1]:1", "10.0.1.2:4000")

    async def main() -> None:
        async with pair("port", "port") as (_fabric, dialler, listener):
            usable = sock_of(dialler).is_usable_candidate
            assert usable(SocketAddr("192.0.2.1", 1))
            assert not any(usable(SocketAddr.parse(text)) for text in bad)
            dialled, accepted = await direct_pair(dialler, listener)
            commands_of(accepted).set_candidates([SocketAddr.parse(text) for text in bad])
            accepted._driver.schedule()
            nat = parts_of(dialled).mp.nat
            assert await becomes(lambda: nat.ignored >= len(bad), within=5)
            assert not any(SocketAddr.parse(text) in nat._probes for text in bad)

    run(main())


def test_everything_is_replayed_from_elsewhere() -> None:
    """Who records the datagrams and sends them again, from another address, moves no path."""

    async def script(fabric, dialler, listener) -> None:
        recorded: list[Datagrams] = []
        sock = sock_of(listener[0])
        honest = sock.deliver

        def recording(batches) -> None:
            recorded.extend(batches)
            honest(batches)

        sock.deliver = recording
        await asyncio.sleep(2)
        sock.deliver = honest
        assert len(recorded) > 20
        rng = random.Random(1)
        for number in range(300):
            batch = rng.choice(recorded)
            copy = Datagrams(SocketAddr("192.0.2.66", 1 + number), batch.data, batch.segment_size)
            honest((copy,))
            await asyncio.sleep(0.01)
        remotes = {path.remote_addr for path in listener[1].paths()}
        assert not any(remote.startswith("192.0.2.66") for remote in remotes)

    lying(script)


def test_a_relay_that_lies_about_sources() -> None:
    """It tells that the peer's datagrams came from somebody else; the direct path stays."""
    other = SecretKey.generate(random.Random(5).randbytes).public().to_bytes()

    async def script(fabric, dialler, listener) -> None:
        clients = list(fabric.relay.service.clients.connections())
        assert len(clients) == 2
        for client in clients:
            client.readdress = Readdresser(other).readdress
        await asyncio.sleep(20)
        for path in parts_of(listener[1]).paths:
            if isinstance(path.remote, RelayPathAddr):
                assert path.remote.endpoint_id.to_bytes() in (other, dialler[0].id().to_bytes())
        assert other not in [key.to_bytes() for key in sock_of(listener[0]).remotes._held]

    lying(script)


def test_interfaces_that_flap() -> None:
    """Addresses that come and go ten times a second cost a few rounds, not one each."""

    async def script(fabric, dialler, listener) -> None:
        for node, _conn in (dialler, listener):
            sock, rounds = sock_of(node), sock_of(node).counters().holepunch_attempts
            for turn in range(100):
                more = [SocketAddr(f"10.9.{turn % 3}.1", 4000)]
                sock.direct.set_local([fabric.host_of(node).addr, *more])
                sock.direct_changed()
                sock.network_changed(True, lambda _path: True)
                await asyncio.sleep(0.1)
            assert sock.counters().holepunch_attempts - rounds < 12

    lying(script)
