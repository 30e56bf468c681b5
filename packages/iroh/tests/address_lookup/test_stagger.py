"""Staggered and hedged attempts, on a clock that the test moves."""

import asyncio

import pytest

from iroh.resolver import DnsTimeoutError, NoResponseError, NxDomainError, StaggeredError
from iroh.resolver.stagger import add_jitter, hedge, stagger, with_timeout

from .kit import FakeClock, no_jitter


class Attempts:
    """Hands out coroutines that wait for the test to say how they end."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.started: list[float] = []
        self.cancelled = 0
        self.results: list[asyncio.Future[int]] = []

    async def __call__(self) -> int:
        self.started.append(round(self.clock.now - 1000, 6))
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.results.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def test_jitter_zero() -> None:
    assert add_jitter(0) == 0


def test_jitter_bounds() -> None:
    """Upstream jitter_test_nonzero_lower_bound and _upper_bound."""
    assert add_jitter(300, lambda _: 0) == 240
    assert add_jitter(300, lambda width: width - 1) == 359
    for _ in range(200):
        assert 240 <= add_jitter(300) < 360


def test_jitter_of_a_tiny_delay() -> None:
    assert [add_jitter(delay) for delay in (1, 2)] == [1, 2]


async def test_stagger_basic(clock: FakeClock) -> None:
    """Upstream stagger_basic: the first call fails, of the others the sooner one wins."""
    outcomes = iter([NoResponseError(), 5, 3])

    async def call() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    task = asyncio.create_task(stagger(call, [1000, 15], clock=clock, randbelow=no_jitter))
    await clock.advance(0.1)
    assert await task == 5


async def test_stagger_schedule(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    task = asyncio.create_task(stagger(attempts, clock=clock, randbelow=no_jitter))
    await clock.advance(10)
    assert attempts.started == [0, 0.2, 0.3, 0.6, 1, 2, 3]
    attempts.results[3].set_result(7)
    assert await task == 7
    assert attempts.cancelled == 6


async def test_stagger_all_fail(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    task = asyncio.create_task(stagger(attempts, [10], clock=clock, randbelow=no_jitter))
    await clock.advance(1)
    attempts.results[1].set_exception(NxDomainError())
    await clock.advance(1)
    assert not task.done()  # one error never ends it
    attempts.results[0].set_exception(NoResponseError())
    with pytest.raises(StaggeredError) as caught:
        await task
    assert [type(error) for error in caught.value.errors] == [NxDomainError, NoResponseError]
    text = "no calls succeeded: [Domain name does not exist (NXDOMAIN)No response]"
    assert str(caught.value) == text


async def test_stagger_cancelled(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    task = asyncio.create_task(stagger(attempts, clock=clock, randbelow=no_jitter))
    await clock.advance(0.25)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attempts.cancelled == 2


async def test_hedge_starts_the_next_after_a_gap(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    task = asyncio.create_task(hedge([attempts] * 4, 0.1, clock=clock))
    await clock.advance(5)
    assert attempts.started == [0, 0.1, 0.2]  # three at once and no more
    attempts.results[2].set_exception(NoResponseError())
    await clock.advance(0)
    assert attempts.started == [0, 0.1, 0.2, 5]
    attempts.results[1].set_result(1)
    assert await task == 1
    assert attempts.cancelled == 2


async def test_hedge_starts_the_next_after_a_failure(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    task = asyncio.create_task(hedge([attempts] * 3, 0.1, clock=clock))
    await clock.advance(0.05)
    attempts.results[0].set_exception(NoResponseError())
    await clock.advance(0.05)
    assert attempts.started == [0, 0.05]
    await clock.advance(0.05)
    assert attempts.started == [0, 0.05, 0.15]
    attempts.results[1].set_exception(NoResponseError())
    attempts.results[2].set_exception(NxDomainError())
    with pytest.raises((NxDomainError, NoResponseError)):
        await task


async def test_hedge_cancelled(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    task = asyncio.create_task(hedge([attempts] * 3, 0.1, clock=clock))
    await clock.advance(0.15)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attempts.cancelled == 2


async def test_with_timeout(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    task = asyncio.create_task(with_timeout(attempts, 2, clock=clock))
    await clock.advance(2)
    with pytest.raises(DnsTimeoutError) as caught:
        await task
    assert isinstance(caught.value, TimeoutError)
    assert attempts.cancelled == 1
    task = asyncio.create_task(with_timeout(attempts, 2, clock=clock))
    await clock.advance(1)
    attempts.results[1].set_result(4)
    assert await task == 4
