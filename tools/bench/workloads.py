"""The client's side of the workloads. Each is bounded by time, so slow and fast ones cost the same.

A workload takes a bound client, the server's info and its duration in seconds, and gives figures by
name. `cpu_tx`, `cpu_rx`: processor seconds of the sending and of the receiving process per GB.
"""

import asyncio
import json
import struct
import time
from collections.abc import Awaitable, Callable

from bench import figures
from bench.interface import Client, Conn, Info, Stream
from bench.service import CHUNK

Figures = dict[str, float]
Workload = Callable[[Client, Info, float], Awaitable[Figures]]

WARM_UP_BYTES = 1 << 20
WARM_UP_ROUNDS = 30
LANES = 100
MESSAGE = bytes(64)
DATAGRAM = bytes(1000)
SETTLE = 1.0
"""Seconds until the memory of new connections is read."""


class Meter:
    """Time and processor time of both processes since it was made."""

    def __init__(self, info: Info) -> None:
        self._server = info["pid"]
        self._cpu = (figures.cpu(), figures.cpu(self._server))
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.perf_counter() - self._start

    def cpu(self) -> tuple[float, float]:
        """Processor seconds of the client and of the server."""
        return figures.cpu() - self._cpu[0], figures.cpu(self._server) - self._cpu[1]


async def read_all(stream: Stream) -> bytes:
    """Read to the end."""
    parts = []
    while data := await stream.read(CHUNK):
        parts.append(data)
    return b"".join(parts)


# -- bulk ---------------------------------------------------------------------------------------


async def upload(conn: Conn, seconds: float, at_most: int | None = None) -> int:
    """Upload for so long, and give the number of bytes when the peer has them all."""
    stream = await conn.open_bi()
    await stream.write(b"U")
    blob, total, end = bytes(CHUNK), 0, time.monotonic() + seconds
    while time.monotonic() < end and (at_most is None or total < at_most):
        await stream.write(blob)
        total += CHUNK
    await stream.finish()
    counted = int.from_bytes(await stream.read_exactly(8), "big")
    if counted != total:
        raise ValueError(f"{total} bytes were sent and {counted} received")
    return total


async def download(conn: Conn, seconds: float) -> int:
    """Download for so long, and give the number of bytes."""
    stream = await conn.open_bi()
    await stream.write(b"D" + struct.pack(">d", seconds))
    await stream.finish()
    total, tail = 0, b""
    while data := await stream.read(CHUNK):
        total += len(data)
        tail = (tail + data[-8:])[-8:]
    if int.from_bytes(tail, "big") != total - 8:
        raise ValueError(f"{total - 8} bytes came instead of {int.from_bytes(tail, 'big')}")
    return total


async def bulk(client: Client, info: Info, seconds: float, is_upload: bool) -> Figures:
    """Move bytes on one stream, after a warm-up that lets windows and MTU grow."""
    conn = await client.connect(info)
    if is_upload:
        await upload(conn, seconds / 4, WARM_UP_BYTES)
    else:
        await download(conn, seconds / 10)
    meter = Meter(info)
    total = await (upload if is_upload else download)(conn, seconds)
    took, (mine, theirs) = meter.seconds, meter.cpu()
    await conn.close()
    sender, receiver = (mine, theirs) if is_upload else (theirs, mine)
    return {
        "rate": total / took / figures.MEGABYTE,
        "cpu_tx": sender / total * 1e9,
        "cpu_rx": receiver / total * 1e9,
    }


async def bulk_up(client: Client, info: Info, seconds: float) -> Figures:
    """The client sends."""
    return await bulk(client, info, seconds, is_upload=True)


async def bulk_down(client: Client, info: Info, seconds: float) -> Figures:
    """The server sends."""
    return await bulk(client, info, seconds, is_upload=False)


# -- small things -------------------------------------------------------------------------------


async def rtt(client: Client, info: Info, seconds: float) -> Figures:
    """Send 64 bytes and wait for their echo, again and again on one stream."""
    conn = await client.connect(info)
    stream = await conn.open_bi()
    await stream.write(b"E")

    async def turn() -> float:
        start = time.perf_counter()
        await stream.write(MESSAGE)
        await stream.read_exactly(len(MESSAGE))
        return time.perf_counter() - start

    for _ in range(WARM_UP_ROUNDS):
        await turn()
    taken: list[float] = []
    meter = Meter(info)
    while meter.seconds < seconds:
        taken.append(await turn())
    both = sum(meter.cpu())
    await stream.finish()
    await conn.close()
    taken.sort()
    return {
        "p50": figures.percentile(taken, 0.5) * 1e6,
        "p99": figures.percentile(taken, 0.99) * 1e6,
        "cpu": both / len(taken) * 1e6,
    }


async def streams100(client: Client, info: Info, seconds: float) -> Figures:
    """Open a stream, have 63 bytes echoed, close it: 100 at a time."""
    conn = await client.connect(info)
    done = 0

    async def one() -> None:
        stream = await conn.open_bi()
        await stream.write(b"E" + MESSAGE[:63])
        await stream.finish()
        if len(await read_all(stream)) != 63:
            raise ValueError("a stream lost bytes")

    async def lane() -> None:
        nonlocal done
        while meter.seconds < seconds:
            await one()
            done += 1

    await one()
    meter = Meter(info)
    await asyncio.gather(*(lane() for _ in range(LANES)))
    took, both = meter.seconds, sum(meter.cpu())
    await conn.close()
    return {"rate": done / took, "cpu": both / done * 1e6}


async def handshake(client: Client, info: Info, seconds: float) -> Figures:
    """Connect and close, one after the other."""
    await (await client.connect(info)).close()
    taken: list[float] = []
    meter = Meter(info)
    while meter.seconds < seconds:
        start = time.perf_counter()
        conn = await client.connect(info)
        taken.append(time.perf_counter() - start)
        await conn.close()
    took, both = meter.seconds, sum(meter.cpu())
    taken.sort()
    return {
        "rate": len(taken) / took,
        "p50": figures.percentile(taken, 0.5) * 1e3,
        "cpu": both / len(taken) * 1e3,
    }


async def datagram(client: Client, info: Info, seconds: float) -> Figures:
    """Send datagrams of 1000 bytes as fast as the API takes them."""
    conn = await client.connect(info)
    meter, start, sent = Meter(info), time.monotonic(), 0
    while meter.seconds < seconds:
        for _ in range(16):
            await conn.send_datagram(DATAGRAM)
        sent += 16
    stream = await conn.open_bi()
    await stream.write(b"T")
    await stream.finish()
    report = json.loads(await read_all(stream))
    both = sum(meter.cpu())
    await conn.close()
    received = report["received"]
    return {
        "rate": received / max(report["last"] - start, 1e-9),
        "loss": 100 * (1 - received / sent),
        "cpu": both / max(received, 1) * 1e6,
    }


async def idle(client: Client, info: Info, seconds: float) -> Figures:
    """Hold connections open and do nothing."""
    count = max(10, round(25 * seconds))
    before = (figures.memory(), figures.memory(info["pid"]))
    conns = [await client.connect(info) for _ in range(count)]
    await asyncio.sleep(SETTLE)
    after = (figures.memory(), figures.memory(info["pid"]))
    meter = Meter(info)
    await asyncio.sleep(max(1.0, seconds))
    busy = sum(meter.cpu()) / meter.seconds
    for conn in conns:
        await conn.close()
    return {
        "bound": info["memory_bound"] / figures.MIB,
        "client": (after[0] - before[0]) / count / 1024,
        "server": (after[1] - before[1]) / count / 1024,
        "cpu": 100 * busy,
    }


WORKLOADS: dict[str, Workload] = {
    "bulk_up": bulk_up,
    "bulk_down": bulk_down,
    "rtt": rtt,
    "streams100": streams100,
    "handshake": handshake,
    "datagram": datagram,
    "idle": idle,
}
