"""Relay endpoints: endpoints without IP on a relay with TLS of an own authority (dialer on relay);
the other endpoint is of the other kind.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

import iroh
from interop import results
from interop.relay_clients import end, rust_process
from interop.relays import PEER_VARIABLE, Authority, Relay, about, relay, rust_program
from interop.test_relay_client import OTHER
from iroh import (
    CaTlsConfig,
    Endpoint,
    EndpointAddr,
    EndpointBuilder,
    EndpointId,
    Preset,
    RelayConfig,
    RelayMap,
    RelayMode,
)
from iroh.protocols.echo import ECHO_ALPN, Echo
from iroh.router import Router
from rust_peer.check import Where, our_endpoint, rust_endpoint

pytestmark = [pytest.mark.interop, pytest.mark.rust_relay]

MIB = 1 << 20
KILLS = 3
KILLS_LONG = 20
BACK_WITHIN = 20.0
"""Seconds; a Rust endpoint's backoff may have come to 16 s when the relay is gone for long."""
Evidence = Callable[[str], None]


class Node(Protocol):
    """An endpoint that echoes."""

    id: str
    proof: str

    async def dial(self, endpoint_id: str) -> None:
        """Connect to another one over the relay."""
        ...

    async def stream(self, size: int) -> None:
        """Have so much echoed on a new stream; it must come back as it was."""
        ...


def node_proof(kind: str) -> str:
    """Say what an endpoint of this kind is made of."""
    if kind == "rust":
        return f"iroh-rust-peer (Rust iroh 1.4.1): {about(rust_program(PEER_VARIABLE))}"
    return f"iroh in Python {iroh.__version__}, CPython {sys.version.split()[0]}"


class RelayOnly(Preset):
    """No address of its own."""

    def apply(self, builder: EndpointBuilder) -> None:
        builder.clear_ip_transports()


class OurNode:
    """An endpoint of ours."""

    def __init__(self, endpoint: Endpoint, url: str) -> None:
        self.id = bytes(endpoint.id().to_bytes()).hex()
        self.proof = node_proof("ours")
        self._endpoint = endpoint
        self._url = url

    async def dial(self, endpoint_id: str) -> None:
        known = EndpointId.from_bytes(bytes.fromhex(endpoint_id))
        addr = EndpointAddr(known).with_relay_url(self._url)
        self._connection = await self._endpoint.connect(addr, ECHO_ALPN)

    async def stream(self, size: int) -> None:
        send, recv = await self._connection.open_bi()
        data = bytes(at % 251 for at in range(size))

        async def write() -> None:
            await send.write_all(data)
            await send.finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            reading = tasks.create_task(recv.read_to_end(size))
        assert reading.result() == data


class RustNode:
    """The Rust program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.id = ""
        self.proof = node_proof("rust")
        self._process = process

    async def told(self, word: str) -> str:
        """Read the next line, which must begin so; give the rest."""
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode().strip()
        first, _, rest = line.partition(" ")
        assert first == word, line
        return rest

    async def order(self, line: str, answer: str) -> str:
        """Ask for something."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return await self.told(answer)

    async def dial(self, endpoint_id: str) -> None:
        await self.order(f"dial {endpoint_id}", "dialled")

    async def stream(self, size: int) -> None:
        assert await self.order(f"stream {size}", "echoed") == str(size)


@asynccontextmanager
async def our_node(where: Relay, authority: Authority) -> AsyncIterator[OurNode]:
    """Bind, and wait for the relay."""
    relays = RelayMap([RelayConfig(url=where.url, quic_port=where.quic_port)])
    endpoint = await Endpoint.bind(
        RelayOnly(),
        relay_mode=RelayMode.custom(relays),
        ca_tls_config=CaTlsConfig.custom_roots(authority.roots.read_bytes()),
    )
    async with Router(endpoint, {ECHO_ALPN: Echo()}):
        await endpoint.online()
        yield OurNode(endpoint, where.url)


@asynccontextmanager
async def rust_node(where: Relay, authority: Authority) -> AsyncIterator[RustNode]:
    """Run the program, and wait for the relay."""
    relay_map = f"{where.url}={where.quic_port}"
    process = await rust_process("relay-endpoint", str(authority.roots), relay_map)
    try:
        node = RustNode(process)
        node.id = await node.told("id")
        await node.told("online")
        yield node
    finally:
        await end(process)


def node(
    kind: str, where: Relay, authority: Authority
) -> AbstractAsyncContextManager[OurNode | RustNode]:
    """Start an endpoint of this kind."""
    return (our_node if kind == "ours" else rust_node)(where, authority)


@dataclass
class Joined:
    """Two endpoints, connected over a relay."""

    relay: Relay
    dialer: Node
    listener: Node


@pytest.fixture(params=results.PAIRS)
async def joined(
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    tmp_path: Path,
) -> AsyncIterator[Joined]:
    """A dialer of the first kind on a relay of the second; the listener is of the other kind."""
    kind, server = request.param.split("-")
    authority = Authority(tmp_path)
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(relay(server, "https", authority))
        dialer = await stack.enter_async_context(node(kind, where, authority))
        listener = await stack.enter_async_context(node(OTHER[kind], where, authority))
        for proof in (where.proof, dialer.proof, listener.proof):
            record_property(results.PROOF, proof)
        await dialer.dial(listener.id)
        yield Joined(where, dialer, listener)


async def test_streams(joined: Joined, evidence: Evidence) -> None:
    """4 MiB are echoed over the relay and nothing else, in batches, without a challenge"""
    start = asyncio.get_running_loop().time()
    await joined.dialer.stream(4 * MIB)
    evidence(f"{64 / (asyncio.get_running_loop().time() - start):.0f} Mbit/s")
    assert await joined.relay.metric("bytes_recv") > 8 * MIB
    if joined.relay.kind == "ours":
        assert await joined.relay.metric("handshakes_by_key_material") == 2


@pytest.mark.parametrize("pair", results.PAIRS)
async def test_address_discovery(
    pair: str, record_property: Callable[[str, object], None], tmp_path: Path, evidence: Evidence
) -> None:
    """A net report of an endpoint with IP holds the address it is bound to, told over QUIC"""
    kind, server = pair.split("-")
    authority = Authority(tmp_path)
    roots = authority.roots.read_bytes()
    async with relay(server, "https", authority) as where:
        relays = [Where(int(where.url.rpartition(":")[2]), where.quic_port)]
        if kind == "ours":
            told = await our_endpoint(roots, relays)
        else:
            told = await rust_endpoint(rust_program(PEER_VARIABLE), roots, relays)
        record_property(results.PROOF, where.proof)
        record_property(results.PROOF, node_proof(kind))
        assert told.right
        evidence(f"{told.seconds * 1000:.0f} ms")
        assert await where.metric("qad_connections") >= 1


async def kill_often(joined: Joined, times: int, evidence: Evidence) -> None:
    """Kill the relay under traffic, start it again; the same connection must go on."""
    loop, slowest = asyncio.get_running_loop(), 0.0
    for _ in range(times):
        streaming = asyncio.create_task(joined.dialer.stream(4 * MIB))
        before = await joined.relay.metric("bytes_recv")
        while await joined.relay.metric("bytes_recv") < before + MIB // 4:
            assert not streaming.done()
        await joined.relay.end(signal.SIGKILL)
        await joined.relay.start()
        start = loop.time()
        await streaming
        slowest = max(slowest, loop.time() - start)
    assert slowest < BACK_WITHIN
    evidence(f"{times} kills, the rest of 4 MiB within {slowest:.1f} s")


async def test_relay_killed(joined: Joined, evidence: Evidence) -> None:
    """kill -9 of the relay in the middle of streams: both are back, every byte is right"""
    await kill_often(joined, KILLS, evidence)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_relay_killed_20_times(joined: Joined, evidence: Evidence) -> None:
    """The same, 20 times"""
    await kill_often(joined, KILLS_LONG, evidence)
