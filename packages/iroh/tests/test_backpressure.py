"""Backpressure is real: whoever sends to a peer that does not read waits, and holds little."""

import asyncio
import tracemalloc

import pytest

from iroh.quic.config import TransportConfig

GIB = 1 << 30
BLOCK = bytes(1 << 20)
CONFIG = TransportConfig(send_window=2_000_000, stream_receive_window=500_000)
MOST_TAKEN = CONFIG.send_window + CONFIG.stream_receive_window
"""What is held here, not acknowledged, and there, not read."""
MOST_HELD = 3 * MOST_TAKEN
"""Bytes of memory for it, both ends together, in one process."""


class Writer:
    """Writes a gibibyte, a block at a time, and counts."""

    def __init__(self, send) -> None:
        self.written = 0
        self.task = asyncio.create_task(self._write(send))

    async def _write(self, send) -> None:
        while self.written < GIB:
            view = memoryview(BLOCK)
            while view:
                taken = await send.write(view)
                self.written += taken
                view = view[taken:]

    async def stalls(self) -> int:
        """Wait until it makes no progress for a good number of loop turns; what it has written."""
        progress = -1
        while progress != self.written:
            progress = self.written
            for _ in range(500):
                await asyncio.sleep(0)
        return progress


@pytest.fixture
def memory():
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


async def test_a_gibibyte_to_a_peer_that_does_not_read(connect, memory) -> None:
    client, server = await connect(transport_config=CONFIG)
    send, _ = await client.open_bi()
    before = memory()
    writer = Writer(send)
    _, recv = await server.accept_bi()
    stalled = await writer.stalls()
    assert CONFIG.stream_receive_window < stalled <= MOST_TAKEN
    assert memory() - before <= MOST_HELD
    # Whoever reads on finds all of it, and lets the writer go on.
    got = 0
    while got <= stalled or writer.written == stalled:
        got += len(await recv.read(1 << 20))
    assert writer.written > stalled
    assert memory() - before <= MOST_HELD
    writer.task.cancel()
    await asyncio.wait([writer.task])


async def test_more_datagrams_than_anybody_reads(connect, memory) -> None:
    client, server = await connect(transport_config=CONFIG)
    before = memory()
    for _ in range(6000):
        client.send_datagram(bytes(1000))  # 6 MB, and nobody reads one of them
    await server.read_datagram()
    limit = CONFIG.datagram_send_buffer_size + CONFIG.datagram_receive_buffer_size
    assert memory() - before <= 3 * limit
