"""Standard input and output for a pipe: each on a thread of its own.

They may be terminals, pipes, sockets or files, and asyncio's transports do not take all of these;
a thread that reads does. The threads are daemons: one that waits for a key that nobody presses
does not keep the program alive.
"""

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Input", "Nothing", "Output", "take_stdin", "take_stdout"]


class _Worker:
    """A daemon thread that runs one call after another."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Run it there; the future has what it returns or raises."""
        future = self._loop.create_future()
        self._calls.put((future, function))
        return future

    def end(self) -> None:
        """End the thread after the call that it is at."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            error: OSError | None = None
            result = None
            try:
                result = function()
            except OSError as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants it any more
                self._loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: "asyncio.Future[Any]", result: Any, error: OSError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class Input:
    """A file descriptor as a pipe's reader. Nothing is read before the first `read`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._worker: _Worker | None = None
        self._pending: asyncio.Future[bytes] | None = None

    async def read(self, n: int) -> bytes:
        """Return some bytes, b"" at the end. Cancelling it loses nothing."""
        if self._worker is None:
            self._worker = _Worker("iroh-stdin")
        if self._pending is None:
            self._pending = self._worker.call(lambda: os.read(self._descriptor, n))
        data = await asyncio.shield(self._pending)
        self._pending = None
        return data

    def close(self) -> None:
        """Let the thread end, once what it reads has come."""
        if self._worker is not None:
            self._worker.end()


class Nothing:
    """An input that has ended already."""

    async def read(self, _n: int) -> bytes:
        """Return b""."""
        return b""

    def close(self) -> None:
        """Do nothing."""


class Output:
    """A file descriptor as a pipe's writer. `write_eof` closes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._worker = _Worker("iroh-stdout")
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take bytes, which `drain` writes."""
        self._parts.append(data)

    async def drain(self) -> None:
        """Write what was taken. Raises OSError: BrokenPipeError when nobody reads it any more."""
        data, self._parts = b"".join(self._parts), []
        await self._worker.call(lambda: _write_all(self._descriptor, data))

    def write_eof(self) -> None:
        """Close the descriptor: whoever reads it sees the end."""
        descriptor, self._descriptor = self._descriptor, -1
        self._worker.call(lambda: os.close(descriptor))

    def close(self) -> None:
        """Close the descriptor, and let the thread end."""
        if self._descriptor >= 0:
            self.write_eof()
        self._worker.end()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def take_stdin() -> Input:
    """Standard input, for bytes."""
    _set_binary(0)
    return Input(0)


def take_stdout() -> Output:
    """Standard output, for bytes; whatever else would be written there goes to stderr."""
    sys.stdout.flush()
    descriptor = os.dup(1)
    _set_binary(descriptor)
    os.dup2(2, 1)
    return Output(descriptor)


def _set_binary(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)
