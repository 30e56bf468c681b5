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
PATIENCE = 30.0
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
    proofs = {"ours": f"iroh {iroh.__version__}", "rust": relays.about(os.environ[VARIABLE])}
    for name in pair.split("-"):
        prove(f"{name}: {proofs[name]}")
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
