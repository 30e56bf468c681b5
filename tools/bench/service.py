"""The server's side of the workloads: the first byte of a stream says what it wants.

U, bytes, end            upload: answered with the number of bytes (8 bytes, big-endian)
D, seconds (8, double)   download for so long; the last 8 bytes are the number of those before
E, bytes                 echo
T, end                   report of the datagrams since the last report, as JSON
"""

import asyncio
import json
import struct
import time
from collections.abc import Awaitable, Callable

from bench.interface import Stream

CHUNK = 1 << 16
"""What the application writes and reads at a time."""
QUIET = 0.3
"""Seconds without a datagram after which the report is given."""


class Service:
    """Serves the workloads."""

    def __init__(self) -> None:
        self._received = 0
        self._last = 0.0

    def on_datagram(self, _data: bytes) -> None:
        """Count it."""
        self._received += 1
        self._last = time.monotonic()

    async def on_stream(self, stream: Stream) -> None:
        """Serve one stream."""
        actions: dict[bytes, Callable[[Stream], Awaitable[None]]] = {
            b"U": self._upload,
            b"D": self._download,
            b"E": self._echo,
            b"T": self._report,
        }
        await actions[await stream.read_exactly(1)](stream)
        await stream.finish()

    async def _upload(self, stream: Stream) -> None:
        total = 0
        while data := await stream.read(CHUNK):
            total += len(data)
        await stream.write(total.to_bytes(8, "big"))

    async def _download(self, stream: Stream) -> None:
        (seconds,) = struct.unpack(">d", await stream.read_exactly(8))
        blob, total, end = bytes(CHUNK), 0, time.monotonic() + seconds
        while time.monotonic() < end:
            await stream.write(blob)
            total += CHUNK
        await stream.write(total.to_bytes(8, "big"))

    async def _echo(self, stream: Stream) -> None:
        while data := await stream.read(CHUNK):
            await stream.write(data)

    async def _report(self, stream: Stream) -> None:
        while time.monotonic() - self._last < QUIET:  # noqa: ASYNC110 (quiet is no event)
            await asyncio.sleep(0.02)
        report = json.dumps({"received": self._received, "last": self._last})
        self._received = 0
        await stream.write(report.encode())
