import asyncio

import pytest

from iroh.magicsock.waiters import Waiters


async def sleepers(waiters: Waiters, count: int, key="key") -> list[asyncio.Task]:
    tasks = [asyncio.create_task(waiters.wait(key)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def cancel(*tasks: asyncio.Task) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def awake(tasks: list[asyncio.Task]) -> list[bool]:
    return [task.done() and not task.cancelled() for task in tasks]


async def test_a_wake_reaches_everybody_who_waits_for_the_key() -> None:
    waiters = Waiters()
    tasks = await sleepers(waiters, 2)
    other = (await sleepers(waiters, 1, "other"))[0]
    waiters.wake("key")
    await asyncio.gather(*tasks)
    assert not other.done()
    await cancel(other)


async def test_a_counted_wake_takes_them_in_their_order() -> None:
    waiters = Waiters()
    tasks = await sleepers(waiters, 4)
    waiters.wake("key", 2)
    await asyncio.sleep(0)
    assert awake(tasks) == [True, True, False, False]
    waiters.wake("key", 9)
    await asyncio.gather(*tasks)
    assert len(waiters) == 0


async def test_a_cancelled_sleeper_hands_its_wake_to_the_next() -> None:
    waiters = Waiters()
    first, second, third = tasks = await sleepers(waiters, 3)
    waiters.wake("key", 1)
    first.cancel()  # after it was chosen, before it ran
    await asyncio.wait((second,))
    assert awake(tasks) == [False, True, False]
    third.cancel()  # before a wake that must not choose it
    waiters.wake("key", 1)
    await asyncio.wait((third,))
    assert third.cancelled()
    assert len(waiters) == 0


async def test_cancelling_leaves_nothing_behind() -> None:
    waiters = Waiters()
    await cancel(*await sleepers(waiters, 3))
    assert not waiters._by_key
    waiters.wake("key")


async def test_closing_wakes_all_and_nobody_sleeps_again() -> None:
    waiters = Waiters()
    tasks = [*await sleepers(waiters, 2), *await sleepers(waiters, 2, "other")]
    waiters.close()
    await asyncio.gather(*tasks)
    await waiters.wait("key")


async def test_another_loop_is_told_so() -> None:
    waiters = Waiters()

    def elsewhere() -> None:
        asyncio.run(waiters.wait("key"))

    with pytest.raises(RuntimeError, match="belong to the loop"):
        await asyncio.to_thread(elsewhere)
