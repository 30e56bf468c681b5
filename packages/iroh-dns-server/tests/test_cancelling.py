"""Each public await of the package, cancelled at each of its steps; see `tools/cancelling.py`."""

from collections.abc import Callable
from pathlib import Path

from cancelling import at_step, cancels, each_step, within
from iroh_dns_server import (
    Config,
    DnsConfig,
    DnsServer,
    HttpConfig,
    HttpsConfig,
    MainlineConfig,
    MetricsConfig,
    SqliteStore,
)

from .conftest import LOOPBACK, Publisher


def config(folder: Path) -> Config:
    return Config(
        data_dir=folder,
        http=HttpConfig(port=0, bind_addr=LOOPBACK),
        https=HttpsConfig(port=0, bind_addr=LOOPBACK, domains=("localhost",)),
        dns=DnsConfig(port=0, bind_addr=LOOPBACK),
        metrics=MetricsConfig(port=0, bind_addr=LOOPBACK),
        mainline=MainlineConfig(bootstrap=()),
    )


@cancels("iroh_dns_server.DnsServer.start", "iroh_dns_server.DnsServer.close")
async def test_a_server(tmp_path: Path) -> None:
    """What does not start leaves the folder to another; closing goes on without who waits."""
    servers: list[DnsServer] = []

    async def start() -> None:
        servers.append(DnsServer(config(tmp_path)))  # fails when another one has the folder
        await servers[-1].start()

    async def ended(_result: None) -> None:
        assert all(server._closing is not None for server in servers[:-1])

    assert await each_step(start, ended) >= 1
    await at_step(1, servers[-1].close)
    await servers[-1].close()
    await SqliteStore.open(tmp_path).close()


@cancels("iroh_dns_server.DnsServer.__aenter__", "iroh_dns_server.DnsServer.__aexit__")
async def test_a_block(tmp_path: Path) -> None:
    """The folder is free again, whether it was cancelled on the way in or out."""

    async def free(_result: object) -> None:
        await SqliteStore.open(tmp_path).close()

    assert await each_step(lambda: within(DnsServer(config(tmp_path))), free) >= 2


@cancels(
    "iroh_dns_server.SqliteStore.put",
    "iroh_dns_server.SqliteStore.count",
    "iroh_dns_server.SqliteStore.expire",
    "iroh_dns_server.SqliteStore.close",
)
async def test_a_store(tmp_path: Path, publisher: Callable[[int], Publisher]) -> None:
    """A statement may run nevertheless, the next ones do; closing goes on."""
    store, key = SqliteStore.open(tmp_path), publisher(1).key.to_bytes()
    for step, text in enumerate(("one", "two")):
        payload = publisher(1).txt(text, step)
        await at_step(1, lambda payload=payload: store.put(key, payload))
    await store.put(key, publisher(1).txt("three", 2))
    assert await store.get(key) == publisher(1).txt("three", 2)
    await at_step(1, store.count)
    assert await store.count() == 1
    await at_step(1, lambda: store.expire(0, 10))
    assert (await store.expire(3, 10)).keys == [key]
    assert await store.count() == 0
    await at_step(1, store.close)
    await store.close()
    await SqliteStore.open(tmp_path).close()  # its lock is free
