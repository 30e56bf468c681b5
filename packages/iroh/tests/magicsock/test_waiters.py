import asyncio

from iroh.magicsock.waiters import Waiters


async def test_wakes_all_of_a_key_and_nobody_else() -> None:
    waiters = Waiters()
    a = [asyncio.create_task(waiters.wait("a")) for _ in range(3)]
    b = asyncio.create_task(waiters.wait("b"))
    await asyncio.sleep(0)
    waiters.wake("a")
    await asyncio.gather(*a)
    assert not b.done()
    waiters.close()
    await b


async def test_cancelled_waiter_leaves_nothing_behind() -> None:
    waiters = Waiters()
    task = asyncio.create_task(waiters.wait("a"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert not waiters._by_key


async def test_nobody_sleeps_after_close() -> None:
    waiters = Waiters()
    waiters.close()
    await waiters.wait("anything")
