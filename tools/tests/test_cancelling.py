"""The gate on cancelled awaits, the kit that it stands on, and that the public API passes it."""

import ast
import asyncio
import inspect
import textwrap
from collections.abc import AsyncIterator

import pytest

import cancelling
import docstrings
from cancelling import at_step, cancels, each_step, next_of, nothing


def test_each_public_await_is_cancelled_at_each_step() -> None:
    assert cancelling.problems() == []
    assert len(cancelling.suspending()) > 100


def test_what_has_no_step_says_so() -> None:
    """It never waits; or it is a program's to write, and its text says when it is cancelled."""
    functions = {found.name: found for found in docstrings.public_functions()}
    for name in (cancelling.public_awaits().keys() - cancelling.suspending()) & functions.keys():
        text = docstrings.docstring(functions[name])
        assert "ever waits" in text or "ancel" in text, name


async def test_what_awaits_nothing_has_no_step() -> None:
    """The rule by which the gate leaves functions out."""

    async def example() -> int:
        return 1

    assert not cancelling.awaits_something(example)
    assert await each_step(example, nothing) == 0
    for name, others in cancelling.DELEGATES.items():
        awaits = cancelling.public_awaits()
        body = ast.parse(textwrap.dedent(inspect.getsource(awaits[name])))
        waits = [node.value for node in ast.walk(body) if isinstance(node, ast.Await)]
        names = [ast.unparse(call.func) for call in waits if isinstance(call, ast.Call)]
        assert names == ["self." + other.rpartition(".")[2] for other in others]


def test_names_are_found_in_tests_only() -> None:
    text = """
@cancels("x.y", "x.z")
async def test_it(): ...
@cancels("x.not")
async def helper(): ...
"""
    assert list(cancelling._named(ast.parse(text))) == ["x.y", "x.z"]


def test_names_lead_to_code() -> None:
    import iroh

    assert cancelling.code_of("iroh.RecvStream.read") is iroh.RecvStream.read.__code__
    assert cancelling.code_of("iroh.resolver.reap") is iroh.resolver.reap.__code__


async def test_a_claim_has_to_be_kept() -> None:
    @cancels("iroh.resolver.SystemClock.sleep")
    async def claims(seen: bool) -> None:
        from iroh.resolver import SystemClock

        if seen:
            await at_step(1, lambda: SystemClock().sleep(3600))

    await claims(True)
    with pytest.raises(AssertionError, match=r"never cancelled.*SystemClock\.sleep"):
        await claims(False)


async def test_steps() -> None:
    """Each is cancelled once, as by a task: what is waited for is cancelled, too."""
    done: list[int] = []
    waited: list[asyncio.Future[None]] = []

    async def three() -> int:
        for number in range(3):
            waited.append(asyncio.get_running_loop().create_future())
            asyncio.get_running_loop().call_soon(finish, waited[-1])
            await waited[-1]
            done.append(number)
        return 7

    def finish(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)

    results: list[int | None] = []

    async def after(result: int | None) -> None:
        results.append(result)

    assert await each_step(three, after) == 3
    assert results == [None, None, None, 7]
    assert done == [0, 0, 1, 0, 1, 2]
    assert [future.cancelled() for future in waited].count(True) == 3
    with pytest.raises(AssertionError, match="it gave 7"):
        await at_step(4, three)


async def test_generators_are_seen_and_closed() -> None:
    closed: list[bool] = []

    async def items() -> AsyncIterator[int]:
        try:
            await asyncio.get_running_loop().create_future()
            yield 1
        finally:
            closed.append(True)

    cancelling._cancelled.clear()
    await at_step(1, lambda: next_of(items()))
    assert closed == [True]
    assert items.__code__ in cancelling._cancelled
