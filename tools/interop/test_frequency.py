"""ACK frequency: a dialler asks its listener for few ACKs (ACK_FREQUENCY), and gets few."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from interop.relay_clients import end, rust_process
from interop.test_early import PATIENCE, kinds
from interop.test_relay_endpoint import RustNode
from iroh import (
    AckFrequencyConfig,
    Endpoint,
    EndpointAddr,
    EndpointId,
    TransportConfig,
    presets,
)
from iroh.quic.connection import Connection as EngineConnection

pytestmark = [pytest.mark.interop, pytest.mark.rust_relay]
__all__ = ["kinds"]

ALPN = b"iroh-example/frequency/0"
SIZE = 4_000_000
OFTEN, SELDOM = 1, 200
"""Packets that may wait for an ACK."""
Dial = Callable[[int], Awaitable[int]]
Evidence = Callable[[str], None]


@asynccontextmanager
async def bound() -> AsyncIterator[Endpoint]:
    """Bind one of ours."""
    async with await Endpoint.bind(
        presets.Minimal, bind_addr="127.0.0.1:0", alpns=[ALPN], portmapper=False
    ) as endpoint:
        yield endpoint


async def serve(endpoint: Endpoint, asked: list[int]) -> None:
    """Read one stream of each connection, and note how many packets may wait for an ACK then."""
    while (incoming := await endpoint.accept_next()) is not None:
        connection = await incoming
        stream = await connection.accept_bi()
        await stream.recv().read_to_end(SIZE)
        engine = cast(EngineConnection, connection._quic)  # noqa: SLF001
        (path, *_) = engine._p.paths.all()  # noqa: SLF001  # no public method tells it
        asked.append(path.acks.threshold - 1)
        await stream.send().finish()
        await connection.closed()


@asynccontextmanager
async def listening(kind: str, asked: list[int]) -> AsyncIterator[tuple[str, str, RustNode | None]]:
    """Start a listener; gives its id, its address, and the Rust program."""
    if kind == "ours":
        async with bound() as endpoint, asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(serve(endpoint, asked))
            id_ = bytes(endpoint.id().to_bytes()).hex()
            yield id_, str(endpoint.bound_sockets()[0]), None
            serving.cancel()
        return
    process = await rust_process("frequency-serve")
    try:
        node = RustNode(process)
        yield await node.told("id"), await node.told("bound"), node
    finally:
        await end(process)


@asynccontextmanager
async def dialling(kind: str, id_: str, addr: str, logs: Path) -> AsyncIterator[Dial]:
    """Start a dialler: a function that sends, asking for a threshold, and counts the ACKs."""
    if kind == "ours":
        peer = EndpointAddr(EndpointId.from_bytes(bytes.fromhex(id_))).with_ip_addr(addr)
        seen: set[Path] = set()
        async with bound() as endpoint:

            async def ours(threshold: int) -> int:
                await send(endpoint, peer, threshold)
                return acks_in_new(logs, seen)

            yield ours
        return
    process = await rust_process("frequency-dial", id_, addr, str(SIZE))
    try:
        node = RustNode(process)
        await node.told("id")
        await node.told("bound")

        async def rust(threshold: int) -> int:
            return int(await node.order(str(threshold), "acks"))

        yield rust
    finally:
        await end(process)


async def send(endpoint: Endpoint, peer: EndpointAddr, threshold: int) -> None:
    """Send, and wait until all is there."""
    asks = AckFrequencyConfig(ack_eliciting_threshold=threshold)
    transport = TransportConfig(ack_frequency=asks)
    async with await endpoint.connect(peer, ALPN, transport_config=transport) as connection:
        stream, answer = await connection.open_bi()
        await stream.write_all(bytes(SIZE))
        await stream.finish()
        assert await answer.read_to_end(0) == b""


def acks_in_new(logs: Path, seen: set[Path]) -> int:
    """Count the ACK frames that a dialler of ours received, of the one new qlog in a folder."""
    (log,) = set(logs.glob("*_client.sqlog")) - seen
    seen.add(log)
    events = [json.loads(line) for line in log.read_text().split("\x1e") if line]
    received = [event["data"] for event in events if event.get("name") == "quic:packet_received"]
    return sum(f["frame_type"] == "ack" for data in received for f in data.get("frames", ()))


async def test_seldom_acks(
    kinds: tuple[str, str], evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 MB, asking for an ACK when 2 packets wait, then 201: that comes, and is heeded"""
    monkeypatch.setenv("QLOGDIR", str(tmp_path))
    asked: list[int] = []
    async with (
        asyncio.timeout(2 * PATIENCE),
        listening(kinds[1], asked) as (id_, addr, rust),
        dialling(kinds[0], id_, addr, tmp_path) as dial,
    ):
        counts = [0, 0]
        for _ in range(8):  # on a busy machine packets pile up, and so do their ACKs
            counts.clear()
            for threshold in (OFTEN, SELDOM):
                counts.append(await dial(threshold))
                if rust is not None:
                    assert int(await rust.told("asked")) >= 1, "the frame came"
                else:
                    assert asked[-1] == threshold
            if counts[1] < counts[0] / 2 or rust is None:  # ours acknowledges in batches anyhow
                break
        else:
            raise AssertionError(f"as many ACKs as before: {counts}")
    evidence(f"{counts[0]} ACKs, then {counts[1]}")
