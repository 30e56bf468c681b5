"""What the tests of the lab share: a lab or a loud word, and processes in it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from interop.peer import Peer
from natlab import capabilities
from natlab.igd import fetch
from natlab.lab import Lab, sweep
from natlab.node import LabError
from natlab.plan import Plan

HOME_AGENT = Path(__file__).with_name("home_agent.py")
Build = Callable[[Plan], Awaitable[Lab]]
Spawn = Callable[[Lab, str], Awaitable[Peer]]
Tell = Callable[..., None]


@pytest.fixture(scope="session", autouse=True)
def _lab_or_word() -> None:
    """Skip where no lab can be built; in CI as root that is a failure."""
    capabilities.install()
    lacks = capabilities.missing()
    if lacks:
        missing(f"no lab on this machine: it lacks {', '.join(lacks)}")
    sweep()


def missing(word: str) -> NoReturn:
    """Skip, and say why; in CI as root, where all can be had, fail."""
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(word)
    pytest.skip(word)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """miniupnpd."""
    folder = tmp_path_factory.mktemp("miniupnpd")
    try:
        return fetch(folder)
    except LabError as error:
        missing(str(error))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Iterator[Tell]:
    """Print a figure of a test, whether or not it passes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    lines: list[str] = []
    yield lambda what, **figures: lines.append(
        f"    {what}: " + ", ".join(f"{name} {value}" for name, value in figures.items())
    )
    with capture.global_and_fixture_disabled():
        print(f"\n{request.node.name}", *lines, sep="\n", flush=True)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What a test has made; removed in the opposite order."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def build(stack: AsyncExitStack) -> Build:
    """Build a lab."""

    async def build(plan: Plan) -> Lab:
        lab = await asyncio.to_thread(Lab, plan)
        stack.push_async_callback(asyncio.to_thread, lab.close)
        return lab

    return build


@pytest.fixture
def spawn(stack: AsyncExitStack) -> Spawn:
    """Start a HomeAgent on a host."""

    async def spawn(lab: Lab, host: str) -> Peer:
        peer = await Peer.spawn("ours", lab[host].words(), HOME_AGENT)
        return await stack.enter_async_context(peer)

    return spawn
