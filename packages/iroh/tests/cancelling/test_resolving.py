"""DNS, and the attempts behind it: what is cancelled ends its queries, its tasks and its timers."""

import asyncio
import sys

import pytest

from cancelling import at_step, cancels, each_step, next_of, nothing, settle
from iroh import DnsResolver, SecretKey
from iroh.resolver import SystemClock, hedge, import_late, reap, stagger, with_timeout


class Waiting:
    """Waits for ever; counts who is waiting."""

    waiting = 0

    async def __call__(self, *_args: object) -> None:
        self.waiting += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.waiting -= 1


class Unanswering(Waiting):
    """A resolver that is asked, and never answers; and a clock that stands still."""

    lookup_ipv4 = lookup_ipv6 = lookup_txt = sleep = Waiting.__call__

    def monotonic(self) -> float:
        return 0.0


KEY = SecretKey(bytes([1]) * 32).public()
LOOKUPS = {
    "lookup_ipv4": "example.org",
    "lookup_ipv6": "example.org",
    "lookup_txt": "example.org",
    "resolve_host": "example.org",
    "resolve_host_staggered": "example.org",
    "lookup_endpoint_by_domain_name": "example.org",
    "lookup_endpoint_by_domain_name_staggered": "example.org",
}


@cancels(
    "iroh.DnsResolver.lookup_ipv4",
    "iroh.DnsResolver.lookup_ipv6",
    "iroh.DnsResolver.lookup_txt",
    "iroh.DnsResolver.resolve_host",
    "iroh.DnsResolver.resolve_host_all",
    "iroh.DnsResolver.resolve_host_staggered",
    "iroh.DnsResolver.lookup_endpoint_by_domain_name",
    "iroh.DnsResolver.lookup_endpoint_by_domain_name_staggered",
    "iroh.DnsResolver.lookup_endpoint_by_id",
    "iroh.DnsResolver.lookup_endpoint_by_id_staggered",
)
async def test_lookups() -> None:
    asked = Unanswering()
    resolver = DnsResolver.custom(asked, clock=asked)
    calls = [lambda n=name, a=arg: getattr(resolver, n)(a) for name, arg in LOOKUPS.items()]
    calls += [
        lambda: resolver.lookup_endpoint_by_id(KEY, "example.org"),
        lambda: resolver.lookup_endpoint_by_id_staggered(KEY, "example.org"),
        lambda: next_of(resolver.resolve_host_all("example.org")),
    ]
    for call in calls:
        await at_step(1, call)
        assert asked.waiting == 0
        assert not resolver._interrupts
        other = asyncio.create_task(as_called(call))
        for _ in range(3):
            await asyncio.sleep(0)
        assert asked.waiting > 0  # it was asked; so it was above, where there was time
        other.cancel()
        await asyncio.wait((other,))
        assert asked.waiting == 0


async def as_called(call) -> None:
    await call()


async def test_lookups_on_a_socket() -> None:
    """By the real resolver, whose sockets conftest.py looks for."""
    resolver = DnsResolver(nameservers=["127.0.0.1:9"])
    await at_step(1, lambda: resolver.lookup_ipv4("example.org"))
    await at_step(1, lambda: resolver.lookup_txt("example.org"))


@cancels("iroh.resolver.stagger", "iroh.resolver.hedge", "iroh.resolver.with_timeout")
async def test_attempts() -> None:
    """Whatever the step, no attempt goes on."""
    attempt, clock = Waiting(), Unanswering()

    async def soon() -> int:
        await asyncio.sleep(0)
        return 7

    async def ended(result: int | None) -> None:
        assert result in (None, 7)
        assert attempt.waiting == clock.waiting == 0

    for call in (
        lambda: stagger(attempt, clock=clock),
        lambda: hedge([attempt] * 3, 0.1, clock=clock),
        lambda: with_timeout(attempt, 1.0, clock=clock),
    ):
        await at_step(1, call)
        assert attempt.waiting == clock.waiting == 0
    for call in (
        lambda: stagger(soon, clock=clock),
        lambda: hedge([soon, attempt], 0.1, clock=clock),
        lambda: with_timeout(soon, 1.0, clock=clock),
    ):
        assert await each_step(call, ended) >= 1


@cancels("iroh.resolver.reap")
async def test_reaping_goes_on() -> None:
    """The tasks were told to end before the wait for them, which can be done again."""

    async def slow() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)

    before = asyncio.all_tasks()
    tasks = [asyncio.create_task(slow()) for _ in range(3)]
    await asyncio.sleep(0)
    await at_step(1, lambda: reap(tasks))
    await reap(tasks)
    await settle(before)
    assert all(task.cancelled() for task in tasks)


@cancels("iroh.resolver.SystemClock.sleep")
async def test_sleeping() -> None:
    await at_step(1, lambda: SystemClock().sleep(3600))
    assert await each_step(lambda: SystemClock().sleep(0), nothing) == 1


@cancels("iroh.resolver.import_late")
async def test_an_import_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)  # small, and of no use to us
    await at_step(1, lambda: import_late("colorsys"))
    await import_late("colorsys")
    assert "colorsys" in sys.modules
