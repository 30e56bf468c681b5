"""kill -9 of the DNS server while it takes PUTs: what it answered with 2xx must be there after it.

    python -m reliability.crash [--kills 20] [--puts 10000]

Each round starts the program on the data of the rounds before, publishes `--puts` packets of new
keys on 64 connections, kills the server at a moment chosen at random among them, starts it again,
and fetches every packet that was acknowledged in this round. At the end those of all rounds.
"""

import argparse
import asyncio
import contextlib
import random
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from iroh_base import SecretKey, SignedPacket

CONNECTIONS = 64
PATIENCE = 20.0
Acknowledged = dict[str, bytes]
"""z32 -> the packet that was answered with 204."""


class Server:
    """The program on a port and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port: int = sock.getsockname()[1]
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it serves. Raises RuntimeError."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "iroh_dns_server", "--dev"),
            *("--data-dir", str(self._folder), "--dns-bind-addr", "127.0.0.1:0"),
            *("--http-bind-addr", f"127.0.0.1:{self.port}"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            if not await self._process.stdout.readline():
                raise RuntimeError("the server did not start again")

    async def kill(self) -> None:
        """Kill it the hard way."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.communicate()


@contextlib.asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def publish(port: int, packets: list[tuple[str, bytes]], into: Acknowledged) -> None:
    """Publish on one connection until nothing is left, or the server is gone."""
    with contextlib.suppress(OSError, EOFError):
        async with connected(port) as (reader, writer):
            while packets:
                z32, body = packets.pop()
                head = (
                    f"PUT /pkarr/{z32} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                if answer.startswith(b"HTTP/1.1 2"):
                    into[z32] = body


async def missing(port: int, wanted: Acknowledged) -> int:
    """Count the packets that are not there as they were published."""
    lost = 0
    async with connected(port) as (reader, writer):
        for z32, body in wanted.items():
            writer.write(f"GET /pkarr/{z32} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r")[0])
            lost += await reader.readexactly(length) != body
    return lost


def sign(count: int) -> list[tuple[str, bytes]]:
    """Sign packets of new keys."""
    packets = []
    for _ in range(count):
        key = SecretKey.generate()
        packet = SignedPacket.sign(key, ["addr=192.0.2.1:1"], time.time_ns() // 1000)
        packets.append((key.public().to_z32(), packet.to_relay_payload()))
    return packets


async def one_round(server: Server, puts: int) -> tuple[Acknowledged, int]:
    """Publish, kill at a random moment, start again: what was acknowledged, how much is lost."""
    packets, acknowledged = sign(puts), Acknowledged()
    moment = random.randrange(puts // 20, puts * 19 // 20)
    writers = [
        asyncio.create_task(publish(server.port, packets, acknowledged)) for _ in range(CONNECTIONS)
    ]
    while len(acknowledged) < moment and not all(w.done() for w in writers):  # noqa: ASYNC110
        await asyncio.sleep(0)  # the moment is one of any, and they come from many tasks
    await server.kill()
    await asyncio.gather(*writers)
    await server.start()
    return acknowledged, await missing(server.port, acknowledged)


async def run(kills: int, puts: int) -> tuple[int, int]:
    """Do all rounds: how many were acknowledged, how many of them are lost."""
    everything = Acknowledged()
    lost = 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        await server.start()
        try:
            for _ in range(kills):
                acknowledged, gone = await one_round(server, puts)
                everything |= acknowledged
                lost += gone
            lost = max(lost, await missing(server.port, everything))
        finally:
            await server.kill()
    return len(everything), lost


def main(arguments: Iterable[str] | None = None) -> int:
    """Run, print, and say whether anything was lost."""
    parser = argparse.ArgumentParser(description="kill -9 of the DNS server under PUTs.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--puts", type=int, default=10_000)
    parser.add_argument("--write", action="store_true", help="renew docs/reliability.md")
    options = parser.parse_args(None if arguments is None else list(arguments))
    start = time.monotonic()
    acknowledged, lost = asyncio.run(run(options.kills, options.puts))
    told = (
        f"DNS server: {options.kills} times kill -9 while {options.puts} packets are published: "
        f"{acknowledged} acknowledged, {lost} of them lost, {time.monotonic() - start:.0f} s"
    )
    print(told)
    if options.write:
        from reliability import report  # late: a program of its own must not need the others

        report.write("crash", f"- {told}")
    return 1 if lost or not acknowledged else 0


if __name__ == "__main__":
    sys.exit(main())
