"""Links that go down, NATs that forget, relays that die: how long the data stands still."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from iroh.testing import is_direct
from iroh.testing import run_in_virtual_time as run

from .node import Flow, become_direct, becomes, meet, pair

Script = Callable[..., Awaitable[None]]


def disturbed(script: Script, *, downwards: bool = False, nats: tuple[str, str] = ("port", "port")):
    """Run a script while data flows over a direct path; gives the longest pause, in seconds."""

    async def main() -> float:
        async with pair(*nats) as (fabric, dialler, listener):
            dialled, accepted = await meet(dialler, listener)
            assert await become_direct(dialled, accepted)
            await asyncio.sleep(1)
            ends = (accepted, dialled) if downwards else (dialled, accepted)
            flow = Flow(*ends, pause=0.02)
            await asyncio.sleep(1)
            await script(fabric, dialler, listener)
            assert await become_direct(dialled, accepted, within=25)
            await asyncio.sleep(1)
            await flow.end()
            return flow.stall

    return run(main())


@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_a_link_is_down_for_ten_seconds_and_there_is_no_relay(number, downwards) -> None:
    """Upstream needs 40 s and more for it, or never comes back."""

    async def script(fabric, *nodes) -> None:
        fabric.relay.stop()
        line = fabric.host_of(nodes[number - 1]).line
        line.is_up = False
        await asyncio.sleep(10)
        line.is_up = True

    assert 9.5 < disturbed(script, downwards=downwards) < 12.5


@pytest.mark.parametrize("number", [1, 2])
def test_a_link_is_down_for_five_seconds(number) -> None:
    async def script(fabric, *nodes) -> None:
        line = fabric.host_of(nodes[number - 1]).line
        line.is_up = False
        await asyncio.sleep(5)
        line.is_up = True

    assert 4.5 < disturbed(script) < 6.5


@pytest.mark.parametrize("downwards", [False, True])
def test_the_relay_takes_over_when_udp_stops_to_pass(downwards) -> None:
    async def script(fabric, *nodes) -> None:
        line = fabric.host_of(nodes[0]).line
        line.passes_udp = False
        await asyncio.sleep(8)
        line.passes_udp = True

    assert disturbed(script, downwards=downwards) < 2.5


def test_a_nat_that_forgets_its_mappings() -> None:
    async def script(fabric, dialler, _listener) -> None:
        fabric.host_of(dialler).nat.forget()

    assert disturbed(script, nats=("port", "full")) < 2.5


def test_a_relay_that_dies_is_not_missed() -> None:
    async def script(fabric, dialler, _listener) -> None:
        fabric.relay.stop()
        await asyncio.sleep(40)

    assert disturbed(script) < 0.2


def test_the_relay_path_is_back_after_the_relay() -> None:
    async def main() -> None:
        async with pair("port", "port") as (fabric, dialler, listener):
            dialled, accepted = await meet(dialler, listener)
            assert await become_direct(dialled, accepted)
            fabric.relay.stop()
            await asyncio.sleep(100)
            assert [path.is_relay for path in dialled.paths()] == [False]
            fabric.relay.start()
            kinds = [False, True]
            for conn in (dialled, accepted):
                assert await becomes(
                    lambda: sorted(path.is_relay for path in conn.paths()) == kinds,  # noqa: B023
                    within=50,
                )
            assert is_direct(dialled)

    run(main())
