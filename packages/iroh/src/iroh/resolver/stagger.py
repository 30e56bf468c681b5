"""Several attempts at one thing, started one after the other; the first success wins.

    stagger  each attempt has its own moment: now, and each delay counted from the start. All must
             fail for it to fail, so a failure costs the whole schedule (upstream `stagger_call`).
    hedge    the next attempt starts after a gap, or at once when one fails ("happy eyeballs",
             RFC 8305 in spirit; n0-dns-resolver `race`).

Both cancel what still runs before they return, raise or are cancelled themselves.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from .clock import Clock
from .errors import DnsTimeoutError, StaggeredError

__all__ = [
    "DNS_STAGGERING_MS",
    "MAX_JITTER_PERCENT",
    "add_jitter",
    "hedge",
    "reap",
    "stagger",
    "with_timeout",
]

DNS_STAGGERING_MS = (200, 300, 600, 1000, 2000, 3000)
"""Delays of the second to seventh attempt; upstream iroh `DNS_STAGGERING_MS`."""

MAX_JITTER_PERCENT = 20
"""Each delay is moved by up to this much, both ways; upstream iroh-dns `MAX_JITTER_PERCENT`."""

T = TypeVar("T")
Randbelow = Callable[[int], int]
"""A random number from 0 up to but without its argument."""


def add_jitter(delay_ms: int, randbelow: Randbelow = random.randrange) -> int:
    """Return a delay in [0.8, 1.2) of `delay_ms`, whole milliseconds; 0 stays 0."""
    width = delay_ms * MAX_JITTER_PERCENT * 2 // 100
    if width == 0:
        return delay_ms
    return delay_ms - width // 2 + randbelow(width)


async def stagger(
    call: Callable[[], Awaitable[T]],
    delays_ms: Iterable[int] = DNS_STAGGERING_MS,
    *,
    clock: Clock,
    randbelow: Randbelow = random.randrange,
) -> T:
    """Call now and again at each jittered delay from now, until one call succeeds.

    Raises `StaggeredError` with all errors when every call failed. Cancel-safe.
    """

    async def attempt(delay_ms: int) -> T:
        if delay_ms:
            await clock.sleep(delay_ms / 1000)
        return await call()

    schedule = [0, *(add_jitter(delay, randbelow) for delay in delays_ms)]
    tasks = [asyncio.create_task(attempt(delay)) for delay in schedule]
    errors: list[BaseException] = []
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=tasks.index):
                error = task.exception()
                if error is None:
                    return task.result()
                errors.append(error)
    finally:
        await reap(tasks)
    raise StaggeredError(errors)


async def hedge(
    attempts: Sequence[Callable[[], Awaitable[T]]],
    gap: float,
    *,
    clock: Clock,
    limit: int = 3,
) -> T:
    """Run attempts in order, at most `limit` at a time, until one succeeds.

    The next one starts `gap` seconds after the one before it, or at once when a running one fails.
    Raises the last error when all failed. `attempts` must not be empty. Cancel-safe.
    """
    waiting = deque(attempts)
    running: set[asyncio.Task[T]] = set()
    timer: asyncio.Task[None] | None = None
    last: BaseException | None = None

    async def run(attempt: Callable[[], Awaitable[T]]) -> T:
        return await attempt()

    try:
        while waiting or running:
            if waiting and timer is None and len(running) < limit:
                running.add(asyncio.create_task(run(waiting.popleft())))
                timer = asyncio.create_task(clock.sleep(gap)) if waiting else None
            awaited: set[asyncio.Task[Any]] = {*running} if timer is None else {*running, timer}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if timer is not None and timer.done():
                timer = None
            for task in [task for task in running if task.done()]:
                running.discard(task)
                last = task.exception()
                if last is None:
                    return task.result()
                if timer is not None:
                    await reap((timer,))
                    timer = None
    finally:
        await reap(running if timer is None else {*running, timer})
    assert last is not None, "hedge needs an attempt"
    raise last


async def with_timeout(call: Callable[[], Awaitable[T]], timeout: float, *, clock: Clock) -> T:
    """Await a call, but at most `timeout` seconds; raises `DnsTimeoutError`. Cancel-safe."""

    async def run() -> T:
        return await call()

    task = asyncio.create_task(run())
    timer = asyncio.create_task(clock.sleep(timeout))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise DnsTimeoutError
    finally:
        await reap((task, timer))


async def reap(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks and wait until they have ended; their results and errors are dropped."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
        task.add_done_callback(_drop_result)
    left = [task for task in ending if not task.done()]
    if left:
        await asyncio.wait(left)


def _drop_result(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()  # marks it as seen: asyncio would log it otherwise
