"""The Mainline DHT as BitTorrent clients speak it: our nodes and libtorrent's, on loopback."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from iroh.address_lookup import Dht
from iroh_base import SecretKey
from iroh_base.mainline import MutableItem

VARIABLE = "IROH_TORRENT_PYTHON"
PROGRAM = str(Path(__file__).with_name("peer_torrent.py"))
LOOPBACK = ("127.0.0.1", 0)
PATIENCE = 20.0

pytestmark = pytest.mark.skipif(
    not os.environ.get(VARIABLE), reason="libtorrent: nox -s interop -- --libtorrent"
)


@pytest.fixture
async def nodes() -> AsyncIterator[list[Dht]]:
    """Three nodes of ours that know each other."""
    async with AsyncExitStack() as stack:
        nodes: list[Dht] = []
        for _ in range(3):
            bootstrap = [f"127.0.0.1:{nodes[0].local_addr[1]}"] if nodes else []
            node = Dht(bootstrap=bootstrap, server=True, bind=LOOPBACK)
            stack.push_async_callback(node.close)
            await node.start()
            nodes.append(node)
        yield nodes


async def test_libtorrent_and_ours_in_one_network(nodes: list[Dht]) -> None:
    """It finds what we put on our nodes; we put on its node, and find by it."""
    first, second = (SecretKey(bytes([number]) * 32) for number in (1, 2))
    assert (await nodes[0].put(MutableItem.sign(first, 5, b"hello"))).stored == 2
    pipe = asyncio.subprocess.PIPE
    arguments = (str(nodes[0].local_addr[1]), bytes(first.public()).hex())
    command = (os.environ[VARIABLE], "-I", PROGRAM, *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    client = None
    try:
        async with asyncio.timeout(PATIENCE):
            port = int(await process.stdout.readline())
            assert await process.stdout.readline() == b"5 %b\n" % b"hello".hex().encode()
            client = Dht(bootstrap=[f"127.0.0.1:{port}"], bind=LOOPBACK)
            item = MutableItem.sign(second, 7, b"by way of libtorrent")
            stored = (await client.put(item)).stored
            assert stored >= 3
            assert (await client.get(item.key)).item == item
            assert client.stats.malformed == 0
    finally:
        if client is not None:
            await client.close()
        process.stdin.close()
        await process.wait()
    print(f"libtorrent: stored by {stored} nodes", file=sys.stderr)
