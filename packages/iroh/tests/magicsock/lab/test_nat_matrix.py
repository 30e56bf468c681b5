"""Five kinds of NAT against each other: direct exactly where the theory says so.

What it says: who lets in only what it has sent to cannot be reached from a port that nobody knows.
So a symmetric NAT meets nobody behind a port-restricted or symmetric one.
"""

import asyncio

import pytest

from iroh.testing import is_direct
from iroh.testing import run_in_virtual_time as run

from .node import Flow, become_direct, meet, pair

KINDS = ("none", "full", "addr", "port", "sym")
STRICT = {"port", "sym"}


def can_meet(one: str, other: str) -> bool:
    return not ("sym" in (one, other) and {one, other} <= STRICT)


@pytest.mark.parametrize("server", KINDS)
@pytest.mark.parametrize("client", KINDS)
def test_direct_where_it_can_be(client, server) -> None:
    async def main() -> None:
        async with pair(client, server, relays=2) as (_fabric, dialler, listener):
            dialled, accepted = await meet(dialler, listener)
            assert not is_direct(dialled)
            flow = Flow(dialled, accepted, pause=0.02)
            expected = can_meet(client, server)
            assert await become_direct(dialled, accepted, within=10) is expected
            await asyncio.sleep(0.3)
            await flow.end()
            assert flow.stall < 0.12, "3 RTT of the relay"
            if not expected:
                assert "hole punching failed" in dialled.why_not_direct()
                assert "the peer, which dialled" in accepted.why_not_direct()
                assert ("our NAT is symmetric" in dialled.why_not_direct()) is (client == "sym")

    run(main())
