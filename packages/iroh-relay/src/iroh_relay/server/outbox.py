"""What waits to be sent to one client: two bounded queues and a task that exists only for them.

    send_packet   idle: written at once     busy: queued     queue full: dropped, counted
    send_control  the same, on a queue of its own that goes first

A client that keeps up never has a queue or a task. One that does not gets a task that drains the
queues in order, control first, and has `write_timeout` seconds per frame; after that it is
dropped, so that a stuck reader costs at most its two queues, and nobody else anything.
(Rust serves packets first; a flood must not keep a client from hearing about its connection.)
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from .metrics import RelayMetrics
from .stream import Stream

__all__ = ["Outbox"]

logger: logging.Logger = logging.getLogger(__name__)


_LATE: Final = 0.1
"""Seconds by which a timer may be late in a loop that is merely busy."""


class Outbox:
    """The sending half of one connection. `on_broken` is called once if it cannot send any more."""

    __slots__ = (
        "_closed",
        "_control",
        "_depth",
        "_metrics",
        "_on_broken",
        "_packets",
        "_stream",
        "_task",
        "_write_timeout",
    )

    def __init__(
        self,
        stream: Stream,
        metrics: RelayMetrics,
        *,
        depth: int,
        write_timeout: float,
        on_broken: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._metrics = metrics
        self._depth = depth
        self._write_timeout = write_timeout
        self._on_broken = on_broken
        self._packets: deque[tuple[bytes, int]] = deque()
        self._control: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def send_packet(self, frame: bytes, contents: int) -> bool:
        """Send a frame with `contents` bytes of datagrams; False if it was dropped."""
        if not self._packets and not self._control and self._stream.write_now(frame):
            self._metrics.send_packets_sent += 1
            self._metrics.bytes_sent += contents
            return True
        if self._closed or len(self._packets) >= self._depth:
            return False
        self._packets.append((frame, contents))
        self._start()
        return True

    def send_control(self, frame: bytes) -> bool:
        """Send a frame about the connection, ahead of packets; False if it was dropped."""
        if not self._control and self._stream.write_now(frame):
            self._metrics.other_packets_sent += 1
            return True
        if self._closed or len(self._control) >= self._depth:
            self._metrics.other_packets_dropped += 1
            return False
        self._control.append(frame)
        self._start()
        return True

    async def close(self) -> None:
        """Send nothing any more and forget what waits; returns when the task is gone."""
        self._closed = True
        self._packets.clear()
        self._control.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        """Task root: write until nothing waits, or until the client is given up."""
        try:
            while self._packets or self._control:
                await self._write_next()
        except TimeoutError:
            self._metrics.write_timeouts += 1
            logger.debug("client takes nothing for %s s, dropping it", self._write_timeout)
            self._broken()
        except ConnectionError as error:
            logger.debug("client gone while sending: %s", error)
            self._broken()
        finally:
            self._task = None

    async def _write_next(self) -> None:
        """Write one frame; control frames go first."""
        metrics = self._metrics
        if self._control:
            await self._write(self._control.popleft())
            metrics.other_packets_sent += 1
            return
        frame, contents = self._packets.popleft()
        try:
            await self._write(frame)
        except (TimeoutError, ConnectionError):
            metrics.send_packets_dropped += 1
            raise
        metrics.send_packets_sent += 1
        metrics.bytes_sent += contents

    async def _write(self, frame: bytes) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._write_timeout
        try:
            async with asyncio.timeout_at(due):
                await self._stream.write(frame)
        except TimeoutError:
            if loop.time() < due + _LATE:
                raise
            # It is our own loop that stood still. The frame is with the transport all the same.

    def _broken(self) -> None:
        self._closed = True
        self._metrics.send_packets_dropped += len(self._packets)
        self._packets.clear()
        self._control.clear()
        self._on_broken()
