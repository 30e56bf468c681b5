"""Waiting on a clock."""

import asyncio

import pytest

from iroh_relay.client.clock import LoopClock, deadline, sleep

from .fakes import ManualClock, settle


async def test_deadline_raises_timeout_and_leaves_no_timer() -> None:
    clock = ManualClock()

    async def limited() -> None:
        async with deadline(clock, 5):
            await asyncio.Event().wait()

    task = asyncio.create_task(limited())
    await clock.advance(4.9)
    assert not task.done()
    await clock.advance(0.2)
    with pytest.raises(TimeoutError):
        await task
    assert clock.pending == 0


async def test_deadline_does_not_count_the_time_in_which_the_loop_stood_still() -> None:
    clock = ManualClock()
    came = asyncio.Event()

    async def limited() -> None:
        async with deadline(clock, 5):
            await came.wait()

    tasks = [asyncio.create_task(limited()) for _ in range(2)]
    await settle()
    clock.jump(60)
    came.set()
    await asyncio.gather(*tasks)
    assert clock.pending == 0


async def test_deadline_after_a_loop_that_stood_still() -> None:
    clock = ManualClock()

    async def limited() -> None:
        async with deadline(clock, 5):
            await asyncio.Event().wait()

    task = asyncio.create_task(limited())
    await settle()
    clock.jump(60)
    await clock.advance(0.4)
    assert not task.done()
    await clock.advance(0.2)
    with pytest.raises(TimeoutError):
        await task
    assert clock.pending == 0


async def test_deadline_in_time_leaves_no_timer() -> None:
    clock = ManualClock()
    async with deadline(clock, 5):
        await asyncio.sleep(0)
    assert clock.pending == 0


async def test_deadline_lets_cancellation_through() -> None:
    clock = ManualClock()

    async def limited() -> None:
        async with deadline(clock, 5):
            await asyncio.Event().wait()

    task = asyncio.create_task(limited())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.pending == 0


async def test_sleep_ends_early_when_woken() -> None:
    clock = ManualClock()
    wake = asyncio.Event()
    task = asyncio.create_task(sleep(clock, 100, wake))
    await settle()
    wake.set()
    await task
    assert clock.pending == 0


async def test_sleep_takes_its_time() -> None:
    clock = ManualClock()
    task = asyncio.create_task(sleep(clock, 100))
    await clock.advance(99)
    assert not task.done()
    await clock.advance(2)
    assert task.done()


async def test_loop_clock_is_the_loop() -> None:
    loop = asyncio.get_running_loop()
    clock = LoopClock(loop)
    assert clock.now() <= loop.time()
    called = asyncio.Event()
    clock.call_later(0, called.set)
    await called.wait()
