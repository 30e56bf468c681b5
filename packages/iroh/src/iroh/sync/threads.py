"""Threads in which an event loop lets blocking functions run, and waits for them.

    loop                                           thread
    await run(f, ...)  --start, if there is room-->  f(...)
          |  waits                                     |
          <------------- value or exception -----------'
    cancelled: what `f` waits for is ended, and `f` has a few seconds to notice

The threads are daemons: what hangs for ever does not keep a program alive that has come to its end.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

__all__ = ["MAX_THREADS", "Threads", "leave_loop_to_its_end"]

logger: logging.Logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 64
"""At once, for the handlers of an endpoint; more connections wait for their turn."""
ENDING = 5.0
"""Seconds that a function gets to notice that its connection is over."""

_here = threading.local()


class _Work:
    """One call in a thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self._loop.create_future()
        self.is_leaving = False
        """Whether it waits for the loop's end itself, which must not wait for it then."""

    def run(self) -> None:
        """Be the thread."""
        _here.work = self
        try:
            value, error = self._call(), None
        except BaseException as caught:  # noqa: BLE001 - whoever awaits it gets it
            value, error = None, caught
        del self._call  # with what it holds: connections live as long as somebody holds them
        with suppress(RuntimeError):  # the loop has come to its end without us
            self._loop.call_soon_threadsafe(self._finish, value, error)

    def _finish(self, value: Any, error: BaseException | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(value)
        elif isinstance(error, Exception) and not isinstance(error, StopIteration):
            self.done.set_exception(error)
        else:
            self.done.set_exception(RuntimeError(f"a handler's thread ended by {error!r}"))


class Threads:
    """Runs blocking functions for a loop, at most `limit` at once."""

    def __init__(self, name: str, limit: int = MAX_THREADS) -> None:
        self._name = name
        self._room = asyncio.Semaphore(limit)

    async def run(
        self, end: Callable[[], object], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function` in a thread; raises what it raises.

        Cancelling calls `end`, which makes it fail where it waits, and waits ENDING seconds for it.
        """
        async with self._room:
            work = _Work(lambda: function(*args, **kwargs))
            threading.Thread(target=work.run, name=self._name, daemon=True).start()
            try:
                value: T = await asyncio.shield(work.done)
            except asyncio.CancelledError:
                end()
                await self._let_end(work)
                raise
            return value

    async def _let_end(self, work: _Work) -> None:
        if not work.is_leaving:
            await asyncio.wait((work.done,), timeout=ENDING)
        if work.done.done() and not work.done.cancelled():
            work.done.exception()  # it was told to fail
        elif not work.is_leaving:
            logger.warning("a thread of %s goes on although its connection ended", self._name)


def leave_loop_to_its_end() -> None:
    """Say that this thread is about to wait until its own loop, or a router there, has ended."""
    work: _Work | None = getattr(_here, "work", None)
    if work is not None:
        work.is_leaving = True
