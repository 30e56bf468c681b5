"""A QUIC stream as asyncio's StreamReader and StreamWriter, for code that is written for those.

    reader, writer = asyncio_streams(await conn.open_bi())
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    await writer.drain()
    print(await reader.readline())
    writer.close()
    await writer.wait_closed()

    RecvStream --pump task--> StreamReader     stops reading while twice `limit` bytes wait
    StreamWriter --buffer, pump task--> SendStream     drain waits above HIGH_WATER

`writer.write_eof()` finishes the stream, `writer.close()` finishes it and stops reading,
`writer.transport.abort()` resets it. The end of the stream is the reader's EOF; a reset, and the
loss of the connection, raise in the reader what `RecvStream.read` raises.
"""

import asyncio
from typing import Any

from iroh.streams import BiStream
from iroh_base import IrohError

__all__ = ["asyncio_streams"]

HIGH_WATER = 65_536
"""Bytes that wait to be written above which `drain` waits (asyncio's own default)."""
CHUNK = 65_536


def asyncio_streams(
    stream: BiStream, limit: int = 2**16
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Wrap a stream; it must not be used directly from then on. limit: see asyncio.StreamReader.

    Close the writer in the end: until then two tasks belong to it.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = _StreamTransport(stream, reader, protocol)
    protocol.connection_made(transport)
    transport.start()
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _StreamTransport(asyncio.Transport):
    """What StreamReader and StreamWriter stand on."""

    def __init__(
        self, stream: BiStream, reader: asyncio.StreamReader, protocol: asyncio.StreamReaderProtocol
    ) -> None:
        super().__init__()
        self._send, self._recv = stream
        self._reader, self._protocol = reader, protocol
        self._queue: list[bytes] = []
        self._queued = 0
        self._work = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._eof = self._closing = self._paused = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to read and to write."""
        for pump in (self._read_all(), self._write_all()):
            self._tasks.append(asyncio.create_task(pump, name="iroh-asyncio-stream"))

    # -- reading ---------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        try:
            while data := await self._recv.read(CHUNK):
                self._protocol.data_received(data)
                await self._may_read.wait()
        except IrohError as error:
            self._reader.set_exception(error)
        else:
            self._protocol.eof_received()

    def pause_reading(self) -> None:
        """Called by the reader when enough waits."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Called by the reader when there is room again."""
        self._may_read.set()

    def is_reading(self) -> bool:
        """Say whether data is taken off the stream."""
        return self._may_read.is_set()

    # -- writing ---------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue data."""
        if self._eof:
            raise RuntimeError("cannot write after write_eof or close")
        if not data:
            return
        self._queue.append(bytes(data))
        self._queued += len(data)
        self._work.set()
        if self._queued > HIGH_WATER and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """Finish the stream behind what is queued."""
        self._eof = True
        self._work.set()

    def can_write_eof(self) -> bool:
        """A stream's halves end one by one."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return the bytes that wait."""
        return self._queued

    async def _write_all(self) -> None:
        error: Exception | None = None
        try:
            while True:
                queue, self._queue = self._queue, []
                for data in queue:
                    await self._send.write_all(data)
                    self._written(len(data))
                if self._queue:
                    continue
                if self._eof:
                    break
                self._work.clear()
                await self._work.wait()
            await self._send.finish()
        except IrohError as caught:
            error = caught
        self._eof = True
        if error is not None:
            self._end(error)
        elif self._closing:
            self._end(None)

    def _written(self, count: int) -> None:
        self._queued -= count
        if self._paused and self._queued <= HIGH_WATER // 2:
            self._paused = False
            self._protocol.resume_writing()

    # -- the end ---------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Say whether `close` or `abort` was called, or the stream was lost."""
        return self._closing

    def close(self) -> None:
        """Finish the stream when all is written, and read no more."""
        if self._closing:
            return
        self._closing = True
        writing = self._tasks[1]
        if writing.done():
            self._end(None)
        else:
            self.write_eof()

    def abort(self) -> None:
        """Reset the stream, and read no more."""
        if not self._tasks[1].done():
            self._tasks[1].cancel()
            self._spawn_last(self._send.reset(0))
        self._eof = True
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        self._closing = True
        if not self._tasks[0].done():
            self._tasks[0].cancel()
            self._spawn_last(self._recv.stop(0))
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)

    def _spawn_last(self, act: Any) -> None:
        """Run what never waits, though it is a coroutine."""
        try:
            act.send(None)
        except (StopIteration, IrohError):
            return  # an error: it ended meanwhile
        finally:
            act.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the halves of the stream: "send_stream", "recv_stream"."""
        return {"send_stream": self._send, "recv_stream": self._recv}.get(name, default)
