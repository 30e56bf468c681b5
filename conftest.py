"""What every test of the workspace is held to: nothing may outlive it.

A task of the test's loop that still runs, a thread that still lives, or an error that only a
loop's exception handler heard of fails the test at once. A socket, file or event loop that nobody
closed warns when it is collected (which is done here, right after the test), and warnings are
errors.
"""

import asyncio
import gc
import itertools
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import hypothesis
import pytest
import pytest_asyncio

hypothesis.settings.register_profile("workspace", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("workspace")

os.environ["IROH_PORTMAPPER"] = "0"  # a test never talks to this machine's router

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs behind `&` so, and programs under test inherit it: no Ctrl-C for them
    signal.signal(signal.SIGINT, signal.default_int_handler)


FREEZE_EVERY = 100
"""Tests between two `gc.freeze`: what lives on by then, like caches, is no garbage soon."""

_tests = itertools.count(1)


def pytest_collection_finish() -> None:
    """Take the modules and the test items out of every later collection: it makes them cheap."""
    gc.collect()
    gc.freeze()


@pytest_asyncio.fixture(autouse=True)
async def _no_leaked_tasks(_nothing_left: list[dict[str, Any]]) -> AsyncIterator[None]:
    """Fail a test that leaves a task of its loop running."""
    unheard = _nothing_left
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    yield
    await asyncio.sleep(0)  # let tasks that were just cancelled or finished be reaped
    left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task() and not t.done()]
    assert not left, f"tasks left running: {left}"


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[list[dict[str, Any]]]:
    """Fail a test that leaves a thread, or an exception that nobody looked at.

    Collects now what it forgot to close. Gives where its loop's exception handler puts what it
    hears, which is looked at after that: one collection a test is a tenth of the whole suite.
    """
    before = set(threading.enumerate())
    unheard: list[dict[str, Any]] = []
    yield unheard
    gc.collect()
    if next(_tests) % FREEZE_EVERY == 0:
        gc.freeze()
    assert not unheard, f"errors that nobody handled: {unheard}"
    # A loop's default executor ("asyncio_N") is shut down with the loop, after this fixture.
    young = [t for t in set(threading.enumerate()) - before if not t.name.startswith("asyncio_")]
    for thread in young:
        thread.join(timeout=0.5)  # one that was told to end, like a child watcher's, may be at it
    left = [thread for thread in young if thread.is_alive()]
    assert not left, f"threads left running: {left}"
