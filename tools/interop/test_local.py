"""On one local network: multicast DNS, and the Mainline DHT's own protocol, ours and Rust's.

The Rust side is tools/rust_lookup, with iroh-mdns-address-lookup and iroh-mainline-address-lookup.
Everything happens in a network namespace: nothing leaves this machine.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import iroh
from interop import namespace, relays, results
from iroh_base import SecretKey

pytestmark = [pytest.mark.interop, pytest.mark.rust_lookup]

VARIABLE = "IROH_RUST_LOOKUP"
OURS = (sys.executable, "-I", str(Path(__file__).with_name("peer_mdns.py")))
OUR_DHT = (sys.executable, "-I", str(Path(__file__).with_name("peer_dht.py")))
PROOFS = {
    "ours": lambda: f"iroh {iroh.__version__}",
    "rust": lambda: relays.about(os.environ[VARIABLE]),
}
PATIENCE = 20.0
NETWORK = """
ip link add seg0 type veth peer name seg1
ip addr add 10.77.0.1/24 dev seg0
ip addr add fd77::1/64 dev seg0 nodad
ip link set seg1 up
ip link set seg0 up
ip route add default via 10.77.0.2
"""
Evidence = Callable[[str], None]


class Program:
    """A peer of either kind, told and heard line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self, *words: str) -> str:
        """The next line that starts with these words. Raises TimeoutError, EOFError."""
        assert self._process.stdout is not None
        start = " ".join(words)
        async with asyncio.timeout(PATIENCE):
            while line := (await self._process.stdout.readline()).decode().rstrip("\n"):
                if line.startswith(start):
                    return line
        raise EOFError(start)

    def say(self, line: str) -> None:
        """Write to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def end(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[Program]:
    """A program, ended afterwards."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield Program(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()


@pytest.fixture
async def network() -> AsyncIterator[tuple[str, ...]]:
    """The words that run a command in a namespace with a network that can do multicast."""
    reason = namespace.missing()
    if reason is not None:
        pytest.skip(reason)
    async with namespace.enter() as prefix:
        for line in NETWORK.strip().splitlines():
            process = await asyncio.create_subprocess_exec(*prefix, *line.split())
            assert await process.wait() == 0
        yield prefix


@pytest.fixture
def prove(record_property: Callable[[str, object], None]) -> Evidence:
    """Note what a peer was."""
    return lambda text: record_property(results.PROOF, text)


@pytest.mark.parametrize("pair", ["ours-rust", "rust-ours", "rust-rust"])
async def test_mdns(
    network: tuple[str, ...], pair: str, evidence: Evidence, prove: Evidence
) -> None:
    """One tells of itself; the other discovers it, resolves it, and notices that it has gone."""
    programs = {"ours": OURS, "rust": (os.environ[VARIABLE], "mdns")}
    for name in pair.split("-"):
        prove(f"{name}: {PROOFS[name]()}")
    listens, tells = (programs[name] for name in pair.split("-"))
    key = secrets.token_hex(32)
    endpoint_id = str(SecretKey.from_string(key).public())
    addresses = ["10.77.0.1:4433", "[fd77::1]:4433", "https://relay.example/"]
    says = f"{endpoint_id} {','.join(addresses)} text=of={pair}"
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(
            running(*network, *listens, secrets.token_hex(32), "0", "-")
        )
        await listener.line("running")
        teller = await stack.enter_async_context(
            running(*network, *tells, key, "1", f"text=of={pair}", *addresses)
        )
        assert await listener.line("discovered") == f"discovered {says}"
        listener.say(f"resolve {endpoint_id}")
        assert await listener.line("resolved") == f"resolved {says}"
        await teller.end()
        assert await listener.line("expired") == f"expired {endpoint_id}"
        evidence("discovered, resolved, expired")


@pytest.mark.parametrize("pair", ["ours-rust", "rust-ours", "rust-rust"])
async def test_dht(
    network: tuple[str, ...], pair: str, evidence: Evidence, prove: Evidence
) -> None:
    """One publishes to a DHT whose nodes are ours, Rust's, and both; the other finds it there."""
    for name in pair.split("-"):
        prove(f"{name}: {PROOFS[name]()}")
    for nodes in (["ours"], ["rust"], ["ours", "rust"]):
        await publish_and_resolve(network, pair, nodes)
    evidence("over nodes of ours, of Rust's, and of both: published, resolved")


async def publish_and_resolve(network: tuple[str, ...], pair: str, kinds: list[str]) -> None:
    """One DHT of six nodes."""
    programs = {"ours": OUR_DHT, "rust": (os.environ[VARIABLE],)}
    resolver, publisher = pair.split("-")
    key = secrets.token_hex(32)
    endpoint_id = str(SecretKey.from_string(key).public())
    says = f"resolved {endpoint_id} https://relay.example/ text-of-{pair}"
    async with AsyncExitStack() as stack:
        bootstrap: list[str] = []
        for number in range(6):
            name = kinds[number % len(kinds)]
            command = (*network, *programs[name], "node", *bootstrap[:1])
            node = await stack.enter_async_context(running(*command))
            port = (await node.line("listening")).split()[1]
            bootstrap.append(f"127.0.0.1:{port}")
        command = (*programs[publisher], "publish", key, "https://relay.example/")
        await stack.enter_async_context(
            running(*network, *command, f"text-of-{pair}", bootstrap[0])
        )
        found = ""
        async with asyncio.timeout(PATIENCE):
            while found != says:  # publishing tells nobody when it is done
                command = (*programs[resolver], "resolve", endpoint_id, bootstrap[-1])
                async with running(*network, *command) as resolving:
                    found = await resolving.line()
