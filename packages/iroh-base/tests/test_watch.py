"""Watched values, on asyncio's futures; no test waits for a time."""

import asyncio
from typing import TypeVar

import pytest

from iroh_base.errors import WatchClosedError
from iroh_base.watch import Watchable, Watcher

T = TypeVar("T")


def watchable(value: T) -> Watchable[T]:
    return Watchable(value, lambda: asyncio.get_running_loop().create_future())


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_set_says_whether_the_value_changed() -> None:
    source = watchable(1)
    assert not source.set(1)
    assert source.set(2)
    assert source.get() == 2


async def test_updated_waits_for_another_value() -> None:
    source = watchable(1)
    task = asyncio.create_task(source.watch().updated())
    await settle()
    source.set(1)
    await settle()
    assert not task.done()
    source.set(2)
    assert await task == 2


async def test_changes_coalesce() -> None:
    source = watchable(1)
    watcher = source.watch()
    for value in (2, 3, 4):
        source.set(value)
    assert await watcher.updated() == 4
    source.set(5)
    source.set(4)  # back before anybody looked: nothing new
    task = asyncio.create_task(watcher.updated())
    await settle()
    assert not task.done()
    source.set(6)
    assert await task == 6


async def test_get_counts_as_seen() -> None:
    source = watchable("a")
    watcher = source.watch()
    source.set("b")
    assert watcher.get() == "b"
    task = asyncio.create_task(watcher.updated())
    await settle()
    assert not task.done()
    source.set("c")
    assert await task == "c"


async def test_a_cancelled_wait_loses_nothing() -> None:
    source = watchable(1)
    watcher = source.watch()
    task = asyncio.create_task(watcher.updated())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    source.set(2)
    assert await watcher.updated() == 2


async def test_a_waiter_cancelled_with_the_change_loses_nothing() -> None:
    source = watchable(1)
    watcher = source.watch()
    task = asyncio.create_task(watcher.updated())
    await settle()
    source.set(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await watcher.updated() == 2


async def test_cancelled_waiters_are_forgotten() -> None:
    source = watchable(1)
    for _ in range(100):
        task = asyncio.create_task(source.changed())
        await settle()
        task.cancel()
        await settle()
    assert source._waiters == {}


async def test_several_watchers() -> None:
    source = watchable(0)
    tasks = [asyncio.create_task(source.watch().updated()) for _ in range(3)]
    await settle()
    source.set(7)
    assert await asyncio.gather(*tasks) == [7, 7, 7]


async def test_initialized_is_the_first_value() -> None:
    source: Watchable[str | None] = watchable(None)
    task = asyncio.create_task(source.watch().initialized())
    await settle()
    assert not task.done()
    source.set("x")
    assert await task == "x"
    assert await source.watch().initialized() == "x"


async def test_iteration_gives_the_current_value_then_updates_until_the_end() -> None:
    source = watchable(1)
    seen: list[int] = []

    async def collect(watcher: Watcher[int]) -> None:
        async for value in watcher:
            seen.append(value)  # noqa: PERF401 - what was seen before the end counts

    task = asyncio.create_task(collect(source.watch()))
    await settle()
    source.set(2)
    await settle()
    source.set(3)
    source.close()
    await task
    assert seen == [1, 2, 3]


async def test_leaving_a_loop_early_leaves_nothing_behind() -> None:
    source = watchable(1)
    async for value in source.watch():
        assert value == 1
        break
    assert source._waiters == {}


async def test_the_end() -> None:
    source = watchable(1)
    watcher = source.watch()
    waiting = asyncio.create_task(source.watch().updated())
    await settle()
    source.set(2)
    source.close()
    assert source.closed
    assert await waiting == 2
    assert await watcher.updated() == 2
    with pytest.raises(WatchClosedError):
        await watcher.updated()
    never: Watchable[int | None] = watchable(None)
    never.close()
    with pytest.raises(WatchClosedError):
        await never.watch().initialized()
    assert [value async for value in never.watch()] == [None]
