"""Our port mapper and a real miniupnpd, on a router of the lab: each protocol, and an endpoint."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from natlab.conftest import Build, Spawn, Tell
from natlab.igd import OUTSIDE, Igd
from natlab.lab import Lab
from natlab.node import Node
from natlab.plan import Host, Plan, Router

PROTOCOLS = ("PCP", "NAT-PMP", "UPnP")
PORT = 4567
Home = tuple[Lab, Igd]
HOME = Plan(
    {"home": Router(nat="linux")}, {"out": Host(), "a": Host(on="home"), "b": Host(on="home")}
)
SEND = "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto({!r}, {!r})"


@pytest.fixture
async def home(build: Build, daemon: Path, stack: AsyncExitStack) -> Home:
    """Two hosts behind a router with the daemon, and one outside."""
    lab = await build(HOME)
    igd = await asyncio.to_thread(Igd, lab, "home", daemon)
    stack.callback(igd.close)
    return lab, igd


async def send(lab: Lab, data: bytes, to: dict[str, Any]) -> None:
    """Send a datagram from outside."""
    program = SEND.format(data, (to["ip"], to["port"]))
    await asyncio.to_thread(lab["out"].run, "python3", "-c", program)


async def gone(igd: Igd) -> None:
    """Wait until the router has no mapping. The test's time limit ends the wait."""
    while await asyncio.to_thread(igd.ports):  # noqa: ASYNC110 (another process: no event)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_port_is_mapped_used_and_given_back(
    home: Home, spawn: Spawn, tell: Tell, protocol: str
) -> None:
    lab, igd = home
    host = await spawn(lab, "a")
    mapped = await host.call("map", protocol=protocol, port=PORT)
    assert (mapped["ip"], mapped["port"]) == (OUTSIDE, PORT)
    assert len(igd.ports()) == 1
    hearing = host.begin("heard")
    await send(lab, b"from outside", mapped)
    assert (await hearing)["data"] == "from outside"
    freed = await host.call("unmap")
    await gone(igd)
    tell(protocol, mapped_ms=round(mapped["ms"]), given_back_ms=round(freed["ms"]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_two_hosts_that_want_the_same_port(home: Home, spawn: Spawn, protocol: str) -> None:
    lab, igd = home
    first, second = await spawn(lab, "a"), await spawn(lab, "b")
    one = await first.call("map", protocol=protocol, port=PORT)
    two = await second.call("map", protocol=protocol, port=PORT)
    assert one["port"] == PORT
    assert two["port"] != PORT
    for host, mapped in ((first, one), (second, two)):
        hearing = host.begin("heard")
        await send(lab, str(mapped["port"]).encode(), mapped)
        assert (await hearing)["data"] == str(mapped["port"])
    assert len(igd.ports()) == 2
    await asyncio.gather(first.call("unmap"), second.call("unmap"))
    await gone(igd)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_router_that_restarts_gets_the_mapping_anew(
    home: Home, spawn: Spawn, protocol: str
) -> None:
    lab, igd = home
    host = await spawn(lab, "a")
    before = await host.call("map", protocol=protocol, port=PORT)
    igd.stop()
    await asyncio.to_thread(igd.start)
    assert not igd.ports()
    await host.call("look")  # what it does every two minutes
    after = await host.call("mapped")
    assert (after["ip"], after["port"]) == (before["ip"], before["port"])
    assert len(igd.ports()) == 1
    igd.stop()
    assert (await host.call("look"))["external"] == "None"


async def test_an_endpoint_is_dialled_by_its_mapped_address_alone(
    home: Home, spawn: Spawn, tell: Tell
) -> None:
    lab, igd = home
    host, outside = await spawn(lab, "a"), await spawn(lab, "out")
    server = await host.call("bind_home", alpns=["natlab"], portmapper=True)
    announced = await host.call("addresses_until", endpoint=server["endpoint"], has=f"{OUTSIDE}:")
    mapped = announced["addresses"][0]
    assert mapped.startswith(OUTSIDE)  # the first of all
    client = await outside.call("bind_home", alpns=["natlab"])
    accepting = host.begin("accept", endpoint=server["endpoint"])
    dialled = await outside.call(
        "connect",
        endpoint=client["endpoint"],
        alpn="natlab",
        id=server["id"],
        addresses=[mapped],
    )
    accepted = await accepting
    assert [path["remote"] for path in dialled["paths"]] == [mapped]
    await host.call("serve_echo", connection=accepted["connection"])
    ping = await outside.call("ping", connection=dialled["connection"], seconds=5.0)
    tell("an endpoint", connect_ms=dialled["ms"], ping_ms=ping["ms"])
    await host.call("unbind", endpoint=server["endpoint"])
    await gone(igd)


async def test_a_host_without_a_gateway_sends_nothing(build: Build, spawn: Spawn) -> None:
    lab = await build(Plan({}, {"alone": Host(), "other": Host()}))
    lab["alone"].ip("route", "del", "default")
    host = await spawn(lab, "alone")
    bound = await host.call("bind_home", alpns=["natlab"], portmapper=True)
    before = counted(lab["alone"])
    await host.call("unbind", endpoint=bound["endpoint"])
    assert counted(lab["alone"]) == before


def counted(node: Node) -> int:
    """Count the UDP datagrams that a host has sent."""
    lines = node.run("cat", "/proc/net/snmp").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return int(dict(zip(names, values, strict=True))["OutDatagrams"])
