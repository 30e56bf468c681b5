"""A thread with an event loop, and calls into it that block.

    caller's thread                        portal's thread
    wait(timeout, f, *args)  --post-->     a task awaits f(*args), at most `timeout` seconds
            |  sleeps                          |
            <------------- outcome ------------'

The thread is no daemon: it ends when the portal is closed or collected, and by itself within a
second after the main thread ended, so that a program which forgets to close still comes to its end.
In each case endpoints on it are closed first.
"""

import asyncio
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar

from iroh_base import IrohError, IrohErrorKind

__all__ = ["Portal", "PortalClosedError"]

P = ParamSpec("P")
T = TypeVar("T")

LOOK_AFTER_MAIN = 1.0  # seconds between two looks whether the main thread still lives
SLICE = 0.1 if sys.platform == "win32" else -1.0
"""Seconds that a caller sleeps at a stretch: there a lock's wait is deaf to Ctrl-C."""


class PortalClosedError(IrohError, ConnectionError):
    """The portal was closed: its endpoints and all that belongs to them are gone."""

    default_kind = IrohErrorKind.CLOSED


class _Call(Generic[T]):
    """One call into the loop."""

    def __init__(self, function: Callable[[], Awaitable[T]], timeout: float | None) -> None:
        self._function = function
        self._timeout = timeout
        self._task: asyncio.Task[T] | None = None
        self._value: T
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def start(self, on_done: Callable[["_Call[Any]"], None]) -> None:
        """Begin. In the loop's thread."""
        self._task = asyncio.create_task(self._run(), name="iroh-portal-call")
        self._task.add_done_callback(lambda _task: on_done(self))

    async def _run(self) -> T:
        if self._timeout is None:
            return await self._function()
        async with asyncio.timeout(self._timeout):
            return await self._function()

    def cancel(self) -> None:
        """End early. In the loop's thread."""
        if self._task is not None:
            self._task.cancel()

    def finish(self) -> None:
        """Wake the caller. In the loop's thread, or when there is no loop any more."""
        task, self._task = self._task, None
        if task is None or task.cancelled():
            self._error = PortalClosedError("the portal was closed meanwhile")
        else:
            self._error = task.exception()
            if self._error is None:
                self._value = task.result()
        self._done.release()

    def join(self) -> None:
        """Sleep until it is finished. In the caller's thread; signals interrupt it."""
        while not self._done.acquire(timeout=SLICE):
            pass
        self._done.release()

    def result(self) -> T:
        """Give or raise what came of it."""
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error, self  # else the traceback would keep the exception alive


class _Worker:
    """The thread's side. It knows nothing of the Portal, so that a forgotten one is collected."""

    def __init__(self, name: str) -> None:
        self.thread = threading.Thread(target=self._run, name=name, daemon=False)
        self.loop: asyncio.AbstractEventLoop
        self.pid = os.getpid()
        self.endings: list[Callable[[], Awaitable[None]]] = []
        """What is closed before the loop ends, the last first."""
        self._lock = threading.Lock()
        self._open = False
        self._calls: set[_Call[Any]] = set()
        self._stop: asyncio.Event
        self._started = threading.Event()

    def begin(self) -> None:
        """Start, and wait until calls are taken."""
        self.thread.start()
        self._started.wait()

    def _run(self) -> None:
        """Serve calls until the end."""
        try:
            with asyncio.Runner() as runner:  # ends tasks, generators and executors
                runner.run(self._serve())
        except RuntimeError:
            # Python 3.12 ends an executor by a thread, of which there can be no more after the main
            # one; the interpreter itself ends the executor's threads.
            if threading.main_thread().is_alive():
                raise
        finally:
            self._started.set()
            with self._lock:
                self._open = False
                left, self._calls = self._calls, set()
            for call in left:
                call.finish()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._open = True
        self._started.set()
        while threading.main_thread().is_alive():
            try:
                async with asyncio.timeout(LOOK_AFTER_MAIN):
                    await self._stop.wait()
                break
            except TimeoutError:
                continue
        for ending in reversed(self.endings):
            await ending()

    def submit(self, call: _Call[Any]) -> None:
        """Let a call begin."""
        with self._lock:
            if not self._open:
                raise PortalClosedError("the portal is closed")
            self._calls.add(call)
            self.loop.call_soon_threadsafe(call.start, self._on_done)

    def _on_done(self, call: _Call[Any]) -> None:
        with self._lock:
            self._calls.discard(call)
        call.finish()

    def cancel(self, call: _Call[Any]) -> None:
        """Let a call end early; `join` it afterwards."""
        with self._lock:
            if call in self._calls and not self.loop.is_closed():
                self.loop.call_soon_threadsafe(call.cancel)

    def stop(self) -> None:
        """Let it come to its end. From any thread, at any time."""
        with self._lock:
            if self._open:
                self.loop.call_soon_threadsafe(self._stop.set)

    @property
    def is_open(self) -> bool:
        """Whether calls are taken."""
        return self._open


class Portal:
    """An event loop in a thread of its own, for blocking calls from other threads.

    `Endpoint.bind` makes one for itself; give it one to let several endpoints share a thread:

        with Portal() as portal:
            one = Endpoint.bind(presets.Minimal, portal=portal)
            two = Endpoint.bind(presets.Minimal, portal=portal)

    It may be used from any number of threads, but not from its own, and not in a child process
    that was forked: there each call raises RuntimeError. (`multiprocessing` with the start method
    "spawn" or "forkserver" is fine: make the endpoint in the process that uses it.)
    """

    def __init__(self, name: str = "iroh-portal") -> None:
        self._worker = _Worker(name)
        self._worker.begin()
        self._forgotten = weakref.finalize(self, _forget, self._worker)
        self._forgotten.atexit = False  # by then the thread has ended by itself

    def wait(
        self,
        timeout: float | None,
        function: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Await `function(*args, **kwargs)` in the loop, and return what it gives.

        Raises what it raises; TimeoutError after `timeout` seconds, None waits for ever;
        PortalClosedError. After a timeout, KeyboardInterrupt or whatever else a signal handler
        raises, it is as with a task that was cancelled: docstrings say what that does.
        """
        self._check_process()
        self._check_caller()
        call = _Call(lambda: function(*args, **kwargs), timeout)
        try:
            self._worker.submit(call)
            call.join()
        except PortalClosedError:
            raise
        except BaseException:
            self._worker.cancel(call)
            call.join()
            raise
        return call.result()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that does not wait in the loop's thread, and return what it gives.

        After the end it is called right here: what only looks at something still works.
        """

        async def call() -> T:
            return function(*args, **kwargs)

        self._check_process()
        if not self._worker.thread.is_alive() or self.is_here():
            return function(*args, **kwargs)
        return self.wait(None, call)

    def is_here(self) -> bool:
        """Say whether the caller is in the loop's thread."""
        return threading.get_ident() == self._worker.thread.ident and self._worker.thread.is_alive()

    def is_closed(self) -> bool:
        """Say whether no more calls are taken."""
        return not self._worker.is_open

    def before_end(self, ending: Callable[[], Awaitable[None]]) -> None:
        """Have something closed before the loop ends, the last given first."""
        self._worker.endings.append(ending)

    def forget(self, ending: Callable[[], Awaitable[None]]) -> None:
        """Take it back: it is closed already."""
        if ending in self._worker.endings:
            self._worker.endings.remove(ending)

    def close(self) -> None:
        """Close the endpoints, end the loop, and wait for the thread. Idempotent.

        Calls of other threads that still wait raise PortalClosedError.
        """
        self._check_process()
        self._check_caller()
        self._forgotten.detach()
        self._worker.stop()
        self._worker.thread.join()

    def _check_process(self) -> None:
        if os.getpid() != self._worker.pid:
            raise RuntimeError(
                "this process was forked: the thread of its endpoints stayed behind; bind here, "
                "or use multiprocessing's start method 'spawn'"
            )

    def _check_caller(self) -> None:
        if self.is_here():
            raise RuntimeError(
                "a blocking call in the event loop's own thread would wait for itself; "
                "handlers and callbacks there are async functions of `iroh`"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Portal {self._worker.thread.name}: {'closed' if self.is_closed() else 'open'}>"


def _forget(worker: _Worker) -> None:
    if os.getpid() == worker.pid:
        worker.stop()
        warnings.warn(f"unclosed portal {worker.thread.name}", ResourceWarning, stacklevel=1)
