"""`iroh.testing`: servers on loopback, fixtures, pairs, simulated networks."""

import asyncio
import subprocess
import sys

import pytest

from iroh.protocols import ECHO_ALPN
from iroh.testing import (
    LocalServers,
    VirtualTimeError,
    connect_pair,
    in_virtual_time,
    run_in_virtual_time,
)

pytest_plugins = ["iroh.testing.pytest_plugin"]


async def test_the_fixtures(iroh_endpoints, iroh_servers) -> None:
    server, client = iroh_endpoints
    async with await client.connect(server.id(), ECHO_ALPN) as conn:
        send, recv = await conn.open_bi()
        await send.write_all(b"hi")
        await send.finish()
        assert await recv.read_to_end(10) == b"hi"
    assert iroh_servers.relay.metrics.accepts > 0
    info = await iroh_servers.published(server)
    assert info.endpoint_id == server.id()


async def test_what_fails_within_leaves_nothing() -> None:
    bound = []

    async def story() -> None:
        async with LocalServers() as servers:
            bound.append(await servers.bind())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await story()
    assert bound[0].is_closed()


async def test_a_pair() -> None:
    async with connect_pair(b"pair/0") as (dialled, accepted):
        assert dialled.alpn() == accepted.alpn() == b"pair/0"
        async with await dialled.open_uni() as send:
            await send.write_all(b"x")
        assert await (await accepted.accept_uni()).read_to_end(9) == b"x"


def test_an_hour_of_virtual_time() -> None:
    async def story() -> float:
        await asyncio.sleep(3599)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(story()) == 4599.0
    with pytest.raises(VirtualTimeError, match="more than 3600 s of virtual time"):
        run_in_virtual_time(asyncio.sleep(4000))


def test_who_waits_for_ever() -> None:
    async def innermost() -> None:
        await asyncio.Event().wait()

    @in_virtual_time(max_seconds=5)
    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(innermost(), name="the slow one")

    with pytest.raises(
        VirtualTimeError,
        match=r"(?s)nothing will .*the slow one waits in .*innermost \(.*py:\d+\), for Event.wait",
    ):
        story()


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_who_is_out_of_time_cleans_up(seconds) -> None:
    async def story() -> None:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), seconds and 5 * seconds)
        except asyncio.CancelledError as error:
            await asyncio.sleep(10)
            cleaned.append(True)
            error.add_note("it was a good try")
            raise

    cleaned: list[bool] = []
    with pytest.raises(VirtualTimeError) as caught:
        run_in_virtual_time(story(), max_seconds=seconds or 60)
    assert caught.value.__notes__ == ["it was a good try"]
    assert cleaned == [True]


@in_virtual_time
async def test_what_virtual_time_has_not() -> None:
    with pytest.raises(VirtualTimeError, match="no sockets"):
        await asyncio.open_connection("127.0.0.1", 1)
    with pytest.raises(VirtualTimeError, match="no sockets"):
        await asyncio.create_subprocess_exec("true")
    with pytest.raises(VirtualTimeError, match="no sockets"):
        await asyncio.get_running_loop().getaddrinfo("localhost", 1)
    assert await asyncio.to_thread(int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await asyncio.to_thread(int, "x")


def test_nothing_is_imported_before_it_is_needed() -> None:
    program = "import iroh.testing, sys; print([n for n in sys.modules if 'dns_server' in n])"
    assert subprocess.check_output([sys.executable, "-c", program]) == b"[]\n"
