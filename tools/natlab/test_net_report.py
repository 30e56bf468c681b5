"""What an endpoint's net report finds behind real NATs, asked of two relays of ours."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from interop import servers
from natlab.conftest import Build, Spawn, Tell
from natlab.lab import Lab
from natlab.plan import Host, Plan, Router
from natlab.stage import QAD_PORT

RELAYS = ("east", "west")
URLS = [f"http://{name}.test/" for name in RELAYS]


async def look(
    build: Build, spawn: Spawn, stack: AsyncExitStack, router: Router
) -> tuple[Lab, dict[str, Any]]:
    """Make a lab with a host behind a router, and let it look at the network."""
    hosts = {"a": Host(on="home"), **{name: Host() for name in RELAYS}}
    lab = await build(Plan({"home": router}, hosts))
    names: dict[str, tuple[str, ...]] = {
        f"{name}.test": (lab[name].four, lab[name].six) for name in RELAYS
    }
    for node in lab.nodes.values():
        node.name_hosts(names)
    for name in RELAYS:
        running = servers.running("relay", "::", "80", str(QAD_PORT), prefix=lab[name].words())
        await stack.enter_async_context(running)
    host = await spawn(lab, "a")
    async with asyncio.timeout(20):
        return lab, await host.call("net_report", relays=URLS, quic_port=QAD_PORT)


@pytest.mark.parametrize("kind", ["full-cone", "address-restricted", "port-restricted", "linux"])
async def test_a_nat_that_maps_alike(
    build: Build, spawn: Spawn, stack: AsyncExitStack, tell: Tell, kind: str
) -> None:
    lab, found = await look(build, spawn, stack, Router(nat=kind))
    tell(kind, ms=found["ms"], seen=found["v4"])
    assert found["v4"].startswith(f"{lab['home'].four}:")
    assert found["varies"] is False
    assert found["v4"] in found["addresses"]
    assert found["home"] in URLS


async def test_a_symmetric_nat(
    build: Build, spawn: Spawn, stack: AsyncExitStack, tell: Tell
) -> None:
    lab, found = await look(build, spawn, stack, Router(nat="symmetric"))
    tell("symmetric", ms=found["ms"], seen=found["v4"])
    assert found["v4"].startswith(f"{lab['home'].four}:")
    assert found["varies"] is True
    assert "symmetric" in found["words"]


async def test_udp_that_is_blocked(
    build: Build, spawn: Spawn, stack: AsyncExitStack, tell: Tell
) -> None:
    _, found = await look(build, spawn, stack, Router(nat="linux", udp=False))
    tell("UDP blocked", ms=found["ms"])
    assert not found["udp"]
    assert found["home"] in URLS
    assert "may be blocked" in found["words"]


async def test_both_families(build: Build, spawn: Spawn, stack: AsyncExitStack, tell: Tell) -> None:
    lab, found = await look(build, spawn, stack, Router(nat="linux", v6="open"))
    tell("dual stack", ms=found["ms"], v4=found["v4"], v6=found["v6"])
    assert found["v4"].startswith(f"{lab['home'].four}:")
    assert found["v6"].startswith(f"[{lab['a'].six}]:")
