"""What is published and asked for in `nox -s bench -- dns`: one JSON line of settings on stdin.

    fill     put `count` packets into the sqlite store of `folder`, with no server there
    put      publish `count` packets over HTTP/1.1 on `connections` connections, each with one
             request under way; told are puts/s from the first to the last answer, and statuses

Key number n is the same in every run. A packet has what an endpoint publishes: a relay, an address.
Signing is done before the clock runs. The generator needs about 20 us of CPU for a PUT.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iroh_base import SecretKey, SignedPacket
from iroh_dns_server import SqliteStore

__all__ = ["name"]

TEXTS = ["relay=https://euw1-1.relay.n0.iroh.link./", "addr=192.0.2.1:41641"]
CHUNK = 2000
"""Packets signed and put at a time."""


def secret(number: int) -> SecretKey:
    """Make key number `number`."""
    return SecretKey.from_bytes(b"iroh-bench".ljust(24) + number.to_bytes(8))


def name(number: int, origin: str) -> str:
    """Give the name under which key number `number` is asked for."""
    return f"_iroh.{secret(number).public().to_z32()}.{origin}"


def payload(key: SecretKey) -> bytes:
    """Sign a packet, dated now."""
    return SignedPacket.sign(key, TEXTS, time.time_ns() // 1000).to_relay_payload()


async def fill(folder: str, first: int, count: int) -> dict[str, float]:
    """Put packets into a store that no server has open."""
    store = SqliteStore.open(Path(folder))
    for start in range(first, first + count, CHUNK):
        keys = [secret(number) for number in range(start, min(start + CHUNK, first + count))]
        rows = [(key.public().to_bytes(), payload(key)) for key in keys]
        await asyncio.gather(*(store.put(*row) for row in rows))
    await store.close()
    return {"count": count}


class Publisher(asyncio.Protocol):
    """One connection that publishes one packet after the other."""

    def __init__(self, requests: list[bytes], statuses: "Counter[str]") -> None:
        self._requests = requests
        self._statuses = statuses
        self._seen = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """Take an answer; one to a PUT that worked has no body."""
        self._seen += data
        if b"\r\n\r\n" not in self._seen:
            return
        status = self._seen[9:12].decode()
        self._statuses[status] += 1
        self._seen = b""
        if status == "204":
            self._next()
        else:  # there is a body, which nobody wants to read
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notice that the server hung up."""
        self._end()

    def _next(self) -> None:
        if self._requests:
            self._transport.write(self._requests.pop())
        else:
            self._end()

    def _end(self) -> None:
        self._transport.close()
        if not self.done.done():
            self.done.set_result(None)


def request(number: int) -> bytes:
    """Write the request that publishes a new packet of key number `number`."""
    key = secret(number)
    body = payload(key)
    head = f"PUT /pkarr/{key.public().to_z32()} HTTP/1.1\r\nhost: bench\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def put(port: int, first: int, count: int, connections: int) -> dict[str, float]:
    """Publish, and tell how fast."""
    requests = [request(number) for number in range(first, first + count)]
    statuses: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    publishers: Sequence[tuple[Any, Publisher]] = await asyncio.gather(
        *(
            loop.create_connection(lambda: Publisher(requests, statuses), "127.0.0.1", port)
            for _ in range(connections)
        )
    )
    await asyncio.gather(*(publisher.done for _, publisher in publishers))
    seconds = time.perf_counter() - start
    done = statuses.pop("204", 0)
    if statuses or done != count:
        raise RuntimeError(f"{done} of {count} published, and {dict(statuses)}")
    return {"rate": done / seconds, "count": done}


def main() -> None:
    """Do what stdin says."""
    settings = json.loads(sys.stdin.readline())
    filling = settings.pop("work") == "fill"
    print(json.dumps(asyncio.run(fill(**settings) if filling else put(**settings))))


if __name__ == "__main__":
    main()
