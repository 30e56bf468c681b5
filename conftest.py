"""What every test of the workspace is held to: nothing may outlive it."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio


@pytest_asyncio.fixture(autouse=True)
async def _no_leaked_tasks() -> AsyncIterator[None]:
    """Fail a test that leaves a task of its loop running."""
    yield
    await asyncio.sleep(0)  # let tasks that were just cancelled or finished be reaped
    left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task() and not t.done()]
    assert not left, f"tasks left running: {left}"


@pytest.fixture(autouse=True)
def _no_leaked_threads_or_sockets() -> Iterator[None]:
    """Fail a test that leaves a thread; a leaked socket warns when collected, and warnings fail."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    left = [
        t for t in threading.enumerate()
        if t not in before and t.is_alive() and not t.name.startswith("asyncio_")
    ]
    assert not left, f"threads left running: {left}"
