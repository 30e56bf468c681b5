"""What the tests of cancellation are made with: a call is cancelled at each of its steps.

    @cancels("iroh.Connection.accept_bi")       the names of what the test cancels ...
    async def test_accepting(connect) -> None:
        ...
        await each_step(call, after)            ... which must be seen suspended, and cancelled

    python tools/cancelling.py        lists public awaits that no test cancels

A step is a suspension: where the call gives control back to the event loop.
`tests/test_cancelling.py` holds the public API to it: each of its awaits is in one such test,
unless nothing in it can suspend.
"""

import ast
import asyncio
import functools
import importlib
import inspect
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any, ParamSpec

import docstrings

MOST = 60
"""More steps than any call has; one that has more would never be seen to end."""

DELEGATES = {
    "iroh.Incoming.accept": ("iroh.Incoming.accept_with",),
    "iroh.SendStream.__aexit__": ("iroh.SendStream.finish", "iroh.SendStream.reset"),
}
"""What awaits nothing but other public functions, in which nothing can suspend."""

BLOCKS = ("__aenter__", "__aexit__", "__anext__")
"""What `async with` and `async for` await; public too, though nobody writes their names."""

PACKAGES = Path(__file__).resolve().parents[1] / "packages"

P = ParamSpec("P")
AsyncTest = Callable[P, Coroutine[Any, Any, None]]

_cancelled: set[CodeType] = set()
"""The code of what was cancelled where it was suspended, since the test began."""


def cancels(*names: str) -> Callable[[AsyncTest[P]], AsyncTest[P]]:
    """Say what a test cancels, by dotted names; it fails when it did not."""

    def decorate(test: AsyncTest[P]) -> AsyncTest[P]:
        @functools.wraps(test)
        async def checked(*args: P.args, **kwargs: P.kwargs) -> None:
            _cancelled.clear()
            await test(*args, **kwargs)
            missed = [name for name in names if code_of(name) not in _cancelled]
            assert not missed, f"never cancelled while it was suspended: {missed}"

        return checked

    return decorate


def code_of(name: str) -> CodeType:
    """The code of a function by its dotted name, "iroh.Connection.accept_bi"."""
    *path, last = name.split(".")
    while True:
        try:
            found: Any = importlib.import_module(".".join(path))
        except ModuleNotFoundError:
            last = f"{path.pop()}.{last}"
        else:
            break
    *owners, method = last.split(".")
    for owner in owners:
        found = getattr(found, owner)
    found = inspect.getattr_static(found, method) if owners else getattr(found, method)
    code: CodeType = getattr(found, "__func__", found).__code__
    return code


class Stepped:
    """Runs a coroutine, and cancels it where it suspends for the n-th time."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], last: int) -> None:
        self._coroutine, self._left = coroutine, last

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[], Any] = partial(self._coroutine.send, None)
        try:
            while True:
                waits = resume()
                self._left -= 1
                if not self._left:  # as asyncio.Task.cancel; it may still wait, to tidy up
                    _cancelled.update(_suspended(self._coroutine))
                    if waits is None or not waits.cancel():
                        waits = self._coroutine.throw(asyncio.CancelledError)
                try:
                    yield waits
                except BaseException as error:  # noqa: BLE001 (whatever the loop throws in)
                    resume = partial(self._coroutine.throw, error)
                else:
                    resume = partial(self._coroutine.send, None)
        except StopIteration as stop:
            return stop.value


def _suspended(waits: Any) -> Iterator[CodeType]:
    """The code of a suspended coroutine, of what it awaits, and so on."""
    while waits is not None:
        if inspect.iscoroutine(waits):
            yield waits.cr_code
            frame, is_next = waits.cr_frame, waits.cr_code is _NEXT
            waits = frame.f_locals["items"] if frame and is_next else waits.cr_await
        elif inspect.isasyncgen(waits):
            yield waits.ag_code
            waits = waits.ag_await
        else:
            return


async def next_of(items: AsyncIterator[Any]) -> Any:
    """Await the next item, so that the kit sees whose it is; if cancelled, close a generator."""
    try:
        return await anext(items)
    except asyncio.CancelledError:
        if inspect.isasyncgen(items):
            await items.aclose()
        raise


_NEXT = next_of.__code__


async def each_step(
    call: Callable[[], Awaitable[Any]], after: Callable[[Any], Awaitable[None]]
) -> int:
    """Cancel the call at each of its steps, a fresh one each time; give their number.

    after: gets what it gave, None when it was cancelled. What it began has ended then.
    """
    for step in range(1, MOST):
        tasks = asyncio.all_tasks()
        try:
            result = await Stepped(as_coroutine(call()), step)
        except asyncio.CancelledError:
            await settle(tasks)
            await after(None)
        else:
            await after(result)
            return step - 1
    raise AssertionError(f"it does not end in {MOST} steps")


async def at_step(
    number: int, call: Callable[[], Awaitable[Any]], *, goes_on: bool = False
) -> None:
    """Cancel the call, which has as many steps, at one of them: it has to end by that.

    goes_on: whether what it began need not end, because it is for others, too.
    """
    tasks = asyncio.all_tasks()
    try:
        result = await Stepped(as_coroutine(call()), number)
    except asyncio.CancelledError:
        if not goes_on:
            await settle(tasks)
    else:
        raise AssertionError(f"it was not cancelled, it gave {result!r}")


async def within(manager: AbstractAsyncContextManager[Any]) -> Any:
    """Enter an `async with`, and leave it at once."""
    async with manager as found:
        return found


async def as_coroutine(awaitable: Awaitable[Any]) -> Any:
    """Await it."""
    return await awaitable


async def settle(before: set[asyncio.Task[Any]]) -> None:
    """Wait until no task goes on that was not there before."""
    while more := asyncio.all_tasks() - before:
        await asyncio.wait(more)


async def nothing(_result: Any) -> None:
    """Leave it at that."""


# -- the gate -------------------------------------------------------------------------------------


def public_awaits() -> dict[str, Callable[..., Any]]:
    """All coroutine functions and asynchronous generators of the public API, by dotted name."""
    return {
        found.name: found.itself
        for found in docstrings.public_functions(BLOCKS)
        if inspect.iscoroutinefunction(found.itself) or inspect.isasyncgenfunction(found.itself)
    }


def suspending() -> set[str]:
    """The public awaits that have steps to be cancelled at.

    Where nothing is awaited there is none: abstract methods are so, and what "never waits".
    """
    names = {name for name, function in public_awaits().items() if awaits_something(function)}
    return names - {name for name, others in DELEGATES.items() if names.isdisjoint(others)}


def awaits_something(function: Callable[..., Any]) -> bool:
    """Whether anything is awaited in its body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    return any(
        isinstance(node, waits) or (isinstance(node, ast.comprehension) and node.is_async)
        for node in ast.walk(tree)
    )


def covered() -> set[str]:
    """The names in all `@cancels(...)` of the packages' tests."""
    names: set[str] = set()
    for path in sorted(PACKAGES.glob("*/tests/**/test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "@cancels(" in text:
            names |= set(_named(ast.parse(text)))
    return names


def _named(tree: ast.Module) -> Iterator[str]:
    for test in ast.walk(tree):
        if not isinstance(test, ast.AsyncFunctionDef) or not test.name.startswith("test_"):
            continue
        for each in test.decorator_list:
            match each:
                case ast.Call(ast.Name("cancels"), arguments):
                    yield from map(ast.literal_eval, arguments)


def problems() -> list[str]:
    """Public awaits that no test cancels at each step, and names that are none, a line each."""
    wanted, found = suspending(), covered()
    return [
        *(f"{name}: no test cancels it at each step" for name in sorted(wanted - found)),
        *(
            f"{name}: a test cancels it, which is no public await"
            for name in sorted(found - wanted)
        ),
    ]


if __name__ == "__main__":
    lines = problems()
    print("\n".join(lines))
    print(f"{len(public_awaits())} public awaits, of which {len(suspending())} can suspend")
    raise SystemExit(bool(lines))
