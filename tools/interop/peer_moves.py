"""What a peer moves over a connection: streams and datagrams, with checksums.

Part of peer_ffi.py, with the same rule: nothing but the standard library and `iroh` is imported.
Payloads are made from a seed on both sides and compared by SHA-256, so that no bulk passes through
the pipes.
"""

import asyncio
import hashlib
import sys
import time
from collections.abc import Awaitable, Iterator
from typing import Any

import iroh

CHUNK = 1 << 16
BLOCK = 1 << 20


def payload(seed: str, size: int) -> bytes:
    """Make `size` reproducible bytes that no compression and no off-by-one survives."""
    return hashlib.shake_128(seed.encode()).digest(size)


def digest(data: bytes) -> str:
    """Give the checksum that goes through the pipe in place of the data."""
    return hashlib.sha256(data).hexdigest()


async def bi_once(connection: Any, seed: str, size: int) -> bool:
    """Write and read one echoed stream at the same time."""
    stream = await connection.open_bi()
    data = payload(seed, size)
    writing = asyncio.create_task(write_chunks(stream.send(), data))
    hasher = hashlib.sha256()
    while part := await stream.recv().read(CHUNK):
        hasher.update(part)
    await writing
    return hasher.hexdigest() == digest(data)


async def write_chunks(send: Any, data: bytes) -> None:
    """Write in chunks and finish."""
    for at in range(0, len(data), CHUNK):
        await send.write_all(data[at : at + CHUNK])
    await send.finish()


def bulk(seed: str, size: int) -> Iterator[bytes]:
    """Make `size` reproducible bytes in blocks that all differ, fast and without holding them."""
    base = payload(seed, BLOCK)
    for number in range(-(-size // BLOCK)):
        block = number.to_bytes(8, "big") + base[8:]
        yield block[: min(BLOCK, size - number * BLOCK)]


def spent(start: tuple[float, float]) -> dict[str, float]:
    """Say how much time went by since `clocks()`, and how much this process worked."""
    wall, cpu = clocks()
    return {"seconds": round(wall - start[0], 4), "cpu": round(cpu - start[1], 4)}


def clocks() -> tuple[float, float]:
    """Read the wall clock and this process's own, seconds."""
    return time.monotonic(), time.process_time()


async def comes_back(connection: Any, data: bytes) -> bool:
    """Wait a second for this datagram; late echoes of others are passed over."""
    try:
        async with asyncio.timeout(1):
            while bytes(await connection.read_datagram()) != data:
                pass
    except TimeoutError:
        return False
    return True


async def echo_one(send: Any, recv: Any) -> None:
    """Give back what one stream brings, while it comes."""
    while data := await recv.read(CHUNK):
        await send.write_all(data)
    await send.finish()


class Moves:
    """The commands about streams and datagrams; `Agent` has the others."""

    connections: dict[int, Any]
    streams: dict[int, Any]
    """Receiving halves that are to be read on."""
    serving: set[asyncio.Task[None]]
    numbers: Iterator[int]

    def keep(self, table: dict[int, Any], thing: Any) -> int:
        """Give a thing its number."""
        number = next(self.numbers)
        table[number] = thing
        return number

    # serving: echo until the connection ends

    async def do_serve_echo(self, connection: int, datagrams: bool = False) -> dict[str, Any]:
        """Echo every bi stream, or every datagram."""
        echo = self.echo_datagrams if datagrams else self.echo_bi
        self.start(echo(self.connections[connection]))
        return {}

    def start(self, work: Any) -> None:
        """Run something until the connection under it ends."""
        task = asyncio.create_task(self.until_gone(work))
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)

    async def until_gone(self, work: Awaitable[None]) -> None:
        """Serving ends when the connection does, which the API tells by raising IrohError."""
        try:
            await work
        except iroh.IrohError as error:
            print(f"serving ended: {error!r}", file=sys.stderr)

    async def echo_bi(self, connection: Any) -> None:
        """Accept bi streams and echo each in a task of its own."""
        while True:
            stream = await connection.accept_bi()
            self.start(echo_one(stream.send(), stream.recv()))

    async def echo_datagrams(self, connection: Any) -> None:
        """Give back each datagram."""
        while True:
            connection.send_datagram(await connection.read_datagram())

    # exercising an echo at the other end

    async def do_bi(self, connection: int, seed: str, size: int, count: int = 1) -> dict[str, Any]:
        """Send `size` bytes on each of `count` bi streams at once; compare what comes back."""
        start = time.monotonic()
        known = self.connections[connection]
        parts = [bi_once(known, f"{seed}/{n}", size) for n in range(count)]
        same = await asyncio.gather(*parts)
        took = time.monotonic() - start
        mbit = 8 * size * count / took / 1e6
        return {"streams": count, "same": sum(same), "bytes": size * count, "mbit_s": round(mbit)}

    async def do_send_uni(self, connection: int, seed: str, size: int) -> dict[str, Any]:
        """Send one uni stream."""
        data = payload(seed, size)
        await write_chunks(await self.connections[connection].open_uni(), data)
        return {"sha256": digest(data), "bytes": size}

    async def do_take_uni(self, connection: int) -> dict[str, Any]:
        """Take one uni stream."""
        recv = await self.connections[connection].accept_uni()
        data = await recv.read_to_end(1 << 30)
        return {"sha256": digest(data), "bytes": len(data)}

    async def do_send_bulk(self, connection: int, seed: str, size: int) -> dict[str, Any]:
        """Send one long uni stream and wait until all of it is acknowledged."""
        send = await self.connections[connection].open_uni()
        hasher = hashlib.sha256()
        start = clocks()
        for block in bulk(seed, size):
            hasher.update(block)
            await send.write_all(block)
        await send.finish()
        assert await send.stopped() is None
        return {"sha256": hasher.hexdigest(), "bytes": size, **spent(start)}

    async def do_take_bulk(self, connection: int) -> dict[str, Any]:
        """Take one long uni stream; the time counts from its first bytes."""
        recv = await self.connections[connection].accept_uni()
        hasher = hashlib.sha256()
        data = await recv.read(BLOCK)
        start, size = clocks(), 0
        while data:
            hasher.update(data)
            size += len(data)
            data = await recv.read(BLOCK)
        return {"sha256": hasher.hexdigest(), "bytes": size, **spent(start)}

    async def do_take_some(self, connection: int, size: int) -> dict[str, Any]:
        """Take a uni stream's first bytes, and leave the rest for later."""
        recv = await self.connections[connection].accept_uni()
        await recv.read_exact(size)
        return {"stream": self.keep(self.streams, recv)}

    async def do_read_on(self, stream: int) -> dict[str, Any]:
        """Read the rest of a stream that `take_some` began."""
        size = 0
        while data := await self.streams[stream].read(BLOCK):
            size += len(data)
        return {"bytes": size}

    async def do_max_datagram(self, connection: int) -> dict[str, Any]:
        """Give the largest datagram that can be sent now."""
        return {"size": self.connections[connection].max_datagram_size()}

    async def do_datagrams(self, connection: int, count: int, size: int) -> dict[str, Any]:
        """Send datagrams one by one, each again after a second without its echo."""
        known = self.connections[connection]
        sent = 0
        for number in range(count):
            data = payload(f"datagram {number}", size)
            for _ in range(5):
                await known.send_datagram_wait(data)
                sent += 1
                if await comes_back(known, data):
                    break
            else:
                return {"echoed": number, "sent": sent}
        return {"echoed": count, "sent": sent, "max": known.max_datagram_size()}

    # the unhappy ends of a stream

    async def do_reset(self, connection: int, code: int) -> dict[str, Any]:
        """Open a uni stream, write, and reset it."""
        send = await self.connections[connection].open_uni()
        await send.write_all(b"some")
        await send.reset(code)
        return {}

    async def do_see_reset(self, connection: int) -> dict[str, Any]:
        """Take a uni stream and say with which code it was reset."""
        recv = await self.connections[connection].accept_uni()
        return {"code": await recv.received_reset()}

    async def do_stopped(self, connection: int) -> dict[str, Any]:
        """Open a uni stream, write, and say with which code the reader stopped it."""
        send = await self.connections[connection].open_uni()
        await send.write_all(b"some")
        return {"code": await send.stopped()}

    async def do_stop(self, connection: int, code: int) -> dict[str, Any]:
        """Take a uni stream and stop it."""
        recv = await self.connections[connection].accept_uni()
        await recv.stop(code)
        return {}
