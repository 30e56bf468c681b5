"""`iroh.testing`: servers on loopback, fixtures, pairs, simulated networks."""

import asyncio
import subprocess
import sys

import pytest

from iroh.errors import InvalidInputError
from iroh.protocols import ECHO_ALPN
from iroh.testing import LocalServers, connect_pair, run_in_virtual_time, simulated_pair

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
    with pytest.raises(RuntimeError, match="more virtual time"):
        run_in_virtual_time(asyncio.sleep(4000))
    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        run_in_virtual_time(asyncio.Event().wait())


def test_no_such_nat() -> None:
    async def story() -> None:
        async with simulated_pair("moat", "none"):
            raise AssertionError("that is no kind of NAT")

    with pytest.raises(InvalidInputError, match="'moat' is no kind of NAT: none, full-cone"):
        run_in_virtual_time(story())


def test_nothing_is_imported_before_it_is_needed() -> None:
    program = "import iroh.testing, sys; print([n for n in sys.modules if 'dns_server' in n])"
    assert subprocess.check_output([sys.executable, "-c", program]) == b"[]\n"
