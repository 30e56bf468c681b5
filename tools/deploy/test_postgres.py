"""DNS servers that share a real PostgreSQL: the same rules, no lost packet, no stale answer."""

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import dns.asyncquery
import dns.message
import pytest

from iroh_base import SecretKey, SignedPacket
from iroh_dns_server import (
    Config,
    DnsConfig,
    DnsServer,
    HttpConfig,
    PostgresConfig,
    PutOutcome,
    RateLimit,
    StoreConfig,
    StoreError,
)
from iroh_dns_server.store.postgres import MAX_GROUP, PostgresStore

from .conftest import PATIENCE, free_port
from .postgres import Database, database

LOCALHOST = IPv4Address("127.0.0.1")
ORIGIN = "dns.example."
KEY = bytes(32)


@pytest.fixture
async def postgres() -> AsyncIterator[Database]:
    """Give a database with nothing in it."""
    async with database() as server:
        yield server


def payload(timestamp: int, message: bytes = b"dns", signature: int = 0) -> bytes:
    return bytes((signature,)) * 64 + timestamp.to_bytes(8) + message


def server(url: str) -> DnsServer:
    """Make a stateless server on that database."""
    return DnsServer(
        Config(
            http=HttpConfig(port=0, bind_addr=LOCALHOST),
            dns=DnsConfig(port=0, bind_addr=LOCALHOST, origins=(ORIGIN,)),
            zone_store=StoreConfig(max_packets=10**9),
            postgres=PostgresConfig(url=url),
            pkarr_put_rate_limit=RateLimit.DISABLED,
        )
    )


async def test_the_rules_are_those_of_sqlite(postgres: Database) -> None:
    """Newer wins, equal timestamps are decided by the message, expiry is oldest first."""
    store = await PostgresStore.open(postgres.url)
    assert await store.get(KEY) is None
    assert await store.put(KEY, payload(5, b"bb")) is PutOutcome.INSERTED
    assert await store.put(KEY, payload(4, b"zz")) is PutOutcome.STALE
    assert await store.put(KEY, payload(5, b"ba", 255)) is PutOutcome.STALE
    assert await store.put(KEY, payload(5, b"b", 255)) is PutOutcome.STALE
    assert await store.put(KEY, payload(5, b"bb", 1)) is PutOutcome.UPDATED
    assert await store.put(KEY, payload(5, b"bb\0")) is PutOutcome.UPDATED
    assert await store.put(KEY, payload(5, b"\xff")) is PutOutcome.UPDATED
    assert await store.get(KEY) == payload(5, b"\xff")
    with pytest.raises(StoreError, match="beyond what the packet store holds"):
        await store.put(KEY, payload(2**63))
    keys = [n.to_bytes(32) for n in range(1, 3 * MAX_GROUP)]
    await asyncio.gather(*(store.put(key, payload(10 + n)) for n, key in enumerate(keys)))
    assert await store.count() == len(keys) + 1
    assert (await store.expire(12, 2)) == ([KEY, keys[0]], True)
    assert (await store.expire(12, 2)) == ([keys[1]], False)
    await store.close()
    await store.close()
    again = await PostgresStore.open(postgres.url)
    assert await again.get(keys[-1]) is not None
    await again.close()


async def test_writers_that_meet_agree_on_the_newest(postgres: Database) -> None:
    """Four stores put the same keys in different orders: no deadlock, and the newest is kept."""
    stores = await asyncio.gather(*(PostgresStore.open(postgres.url) for _ in range(4)))
    rng = random.Random(7)
    puts = [
        (rng.randrange(150).to_bytes(32), rng.randrange(20), rng.randbytes(2)) for _ in range(3000)
    ]

    async def write(store: PostgresStore) -> None:
        mine = random.sample(puts, len(puts))
        async with asyncio.TaskGroup() as group:
            for key, when, message in mine:
                group.create_task(store.put(key, payload(when, message)))

    await asyncio.gather(*(write(store) for store in stores))
    newest: dict[bytes, tuple[int, bytes]] = {}
    for key, when, message in puts:
        newest[key] = max(newest.get(key, (0, b"")), (when, message))
    for key, (when, message) in newest.items():
        assert await stores[0].get(key) == payload(when, message)
    await asyncio.gather(*(store.close() for store in stores))


async def resolve(at: DnsServer, key: SecretKey) -> str:
    """Ask one server for the text of a key."""
    name = f"_iroh.{key.public().to_z32()}.{ORIGIN}"
    query = dns.message.make_query(name, "TXT")
    reply = await dns.asyncquery.udp(query, "127.0.0.1", PATIENCE, port=at.dns_addr.port)
    return reply.answer[0][0].to_text() if reply.answer else ""


def packet(key: SecretKey, text: str) -> bytes:
    """Sign a packet dated now."""
    return SignedPacket.sign(key, [text], time.time_ns() // 1000).to_relay_payload()


async def put(session: aiohttp.ClientSession, base: str, key: SecretKey, body: bytes) -> int:
    """Publish; give the status."""
    async with session.put(f"{base}/pkarr/{key.public().to_z32()}", data=body) as response:
        return response.status


async def until(at: DnsServer, key: SecretKey, wanted: str) -> None:
    """Ask until the answer is the wanted one: a server hears of another's change in a moment."""
    async with asyncio.timeout(PATIENCE):
        while await resolve(at, key) != f'"{wanted}"':  # noqa: ASYNC110 - caches tell nobody
            await asyncio.sleep(0.01)


async def test_no_server_remembers_what_another_one_changed(postgres: Database) -> None:
    """What was cached by one goes when the other stores a newer packet; also after a restart of
    the database, while which nothing is lost and requests wait or get 503."""
    key = SecretKey.from_bytes(bytes([9]) * 32)
    async with (
        server(postgres.url) as one,
        server(postgres.url) as two,
        aiohttp.ClientSession() as session,
    ):
        base = f"http://{one.http_addr}"
        assert await put(session, base, key, packet(key, "a=1")) == 204
        await until(two, key, "a=1")
        await until_kept(two, key)
        assert await put(session, base, key, packet(key, "a=2")) == 204
        await until(two, key, "a=2")
        before = two.metrics.cache_zones
        await postgres.stop()
        status = await put(session, base, key, packet(key, "a=3"))
        assert status == 503
        await postgres.start()
        assert await put(session, base, key, packet(key, "a=4")) == 204
        await until(two, key, "a=4")
        await until_kept(two, key)
        assert two.metrics.cache_zones == before
        assert await put(session, base, key, packet(key, "a=5")) == 204
        await until(two, key, "a=5")


async def until_kept(at: DnsServer, key: SecretKey) -> None:
    """Ask until the server listens and keeps the zone in memory."""
    async with asyncio.timeout(PATIENCE):
        while not at.metrics.cache_zones:
            await resolve(at, key)
            await asyncio.sleep(0.01)


SETTINGS = """
pkarr_put_rate_limit = "disabled"
[http]
port = {http}
bind_addr = "127.0.0.1"
[dns]
port = 0
bind_addr = "127.0.0.1"
origins = ["dns.example."]
default_soa = "ns1.dns.example hostmaster.dns.example 0 10800 3600 604800 60"
default_ttl = 30
[metrics]
disabled = true
[postgres]
url = "{url}"
"""


async def test_kill_9_and_a_crash_of_the_database_lose_nothing(
    postgres: Database, tmp_path: Path
) -> None:
    """Two server processes take PUTs; one is killed, the database crashes and comes back: what
    was answered with 204 is there, by way of the other server."""
    ports = free_port(), free_port()
    acknowledged: list[tuple[SecretKey, bytes]] = []
    files = {port: tmp_path / f"{port}.toml" for port in ports}
    for port, file in files.items():
        file.write_text(SETTINGS.format(http=port, url=postgres.url))
    processes = [await spawn(file) for file in files.values()]
    try:
        async with aiohttp.ClientSession() as session:
            writers = [
                asyncio.create_task(publish(session, f"http://127.0.0.1:{port}", n, acknowledged))
                for n, port in enumerate(ports * 8)
            ]
            await many(acknowledged, 500)
            processes[0].send_signal(signal.SIGKILL)
            await many(acknowledged, 1000)
            await postgres.stop("immediate")
            await postgres.start()
            await many(acknowledged, 1500)
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
            base = f"http://127.0.0.1:{ports[1]}/pkarr/"
            for key, body in acknowledged:
                async with session.get(base + key.public().to_z32()) as response:
                    assert response.status == 200
                    assert await response.read() == body
        processes[1].terminate()
        assert await processes[1].wait() == 0
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def spawn(path: Path) -> asyncio.subprocess.Process:
    """Start the program and wait until it serves."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "iroh_dns_server", "--config", str(path),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        assert (await process.stdout.readline()).startswith(b"iroh-dns-server http on ")
    return process


async def publish(
    session: aiohttp.ClientSession, base: str, n: int, into: list[tuple[SecretKey, bytes]]
) -> None:
    """Publish one new key after the other until the server is gone."""
    rng = random.Random(n)
    while True:
        key = SecretKey.from_bytes(rng.randbytes(32))
        body = packet(key, f"n={n}")
        try:
            if await put(session, base, key, body) == 204:
                into.append((key, body))
        except aiohttp.ClientError:
            return


async def many(acknowledged: list[tuple[SecretKey, bytes]], count: int) -> None:
    """Wait for so many more."""
    wanted = len(acknowledged) + count
    async with asyncio.timeout(60):
        while len(acknowledged) < wanted:  # noqa: ASYNC110 - a list tells nobody
            await asyncio.sleep(0.01)
