"""Changes of a host's network, as its endpoint notices them and lives on."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest

from interop.peer import Peer
from natlab.conftest import Build, Spawn, Tell
from natlab.node import Node
from natlab.plan import Host, Plan, Router
from natlab.stage import RELAY, RELAY_URL, House

NOTICE_WITHIN = 5.0
"""Seconds. What is printed is below half a second; a busy machine may take longer."""


SILENT = """
table ip silent {
chain output {
type filter hook output priority 0
tcp dport 80 drop
}
}
"""
Note = dict[str, Any]
Wanted = Callable[[Note], bool]


class Change(Protocol):
    """Changes the host; gives the milliseconds until it was noticed, and all that was noted."""

    def __call__(self, *words: str, until: Wanted) -> Awaitable[tuple[float, list[Note]]]:
        """Run `ip`, and wait for a note that is wanted."""
        ...


Noted = tuple[Node, Peer, Note, Change]


@pytest.fixture
async def noted(build: Build, spawn: Spawn) -> Noted:
    """A host, its process, and a way to change the host and get what the endpoint noticed."""
    lab = await build(Plan({"home": Router(nat="linux")}, {"a": Host(on="home")}))
    node, host = lab["a"], await spawn(lab, "a")
    bound = await host.call("bind_home", alpns=["natlab"])
    await host.call("note_changes", endpoint=bound["endpoint"])

    async def change(*words: str, until: Wanted) -> tuple[float, list[Note]]:
        start = time.monotonic()
        await asyncio.to_thread(node.ip, *words)
        seen: list[Note] = []
        async with asyncio.timeout(NOTICE_WITHIN):
            while not (seen and until(seen[-1])):
                seen += (await host.call("changes"))["changes"]
                await asyncio.sleep(0.02)  # another process: there is no event to wait for
        return round(1000 * (seen[-1]["at"] - start)), seen

    return node, host, bound, change


async def test_how_soon_a_change_is_noticed(noted: Noted, tell: Tell) -> None:
    node, host, bound, change = noted
    old, new = node.four, "10.1.0.77"

    ms, seen = await change("addr", "add", f"{new}/24", "dev", "eth0", until=has(new))
    tell("address added", ms=ms)
    assert seen[-1]["major"]
    listed = await host.call("addresses_until", endpoint=bound["endpoint"], has=new)
    assert any(text.startswith(old) for text in listed["addresses"])

    ms, seen = await change("addr", "del", f"{old}/24", "dev", "eth0", until=lacks(old))
    tell("address gone", ms=ms)
    assert seen[-1]["major"]

    node.ip("addr", "replace", f"{new}/24", "dev", "eth0")
    ms, seen = await change("route", "replace", "default", "via", "10.1.0.1", until=on("eth0"))
    tell("default route added", ms=ms)

    ms, seen = await change("link", "set", "eth0", "down", until=lacks(new))
    tell("link down", ms=ms)
    assert seen[-1]["major"]
    assert seen[-1]["default"] is None
    ms, seen = await change("link", "set", "eth0", "up", until=has(new))
    tell("link up", ms=ms)
    ms, seen = await change("route", "replace", "default", "via", "10.1.0.1", until=on("eth0"))
    tell("default route again", ms=ms)


async def test_ipv6_addresses_are_told_from_when_they_may_be_used_until_they_are_deprecated(
    noted: Noted, tell: Tell
) -> None:
    node, host, bound, change = noted
    new = "2001:db8:77::5"
    sysctls = (f"net.ipv6.conf.{name}" for name in ("all.accept_dad=1", "eth0.accept_dad=1"))
    node.run("sysctl", "-q", "-w", *sysctls)
    ms, seen = await change("-6", "addr", "add", f"{new}/64", "dev", "eth0", until=has(new))
    tell("address added, and found to be unique", ms=ms)
    assert "tentative" not in node.ip("-6", "addr", "show", "dev", "eth0")
    await host.call("addresses_until", endpoint=bound["endpoint"], has=f"[{new}]")
    words = ("addr", "change", f"{new}/64", "dev", "eth0", "preferred_lft", "0")
    ms, seen = await change("-6", *words, until=lacks(new))
    tell("address deprecated", ms=ms)
    assert not seen[-1]["major"]
    told = await host.call("where", endpoint=bound["endpoint"])
    assert not any(text.startswith(f"[{new}]") for text in told["addresses"])


async def test_a_flapping_link_costs_little(noted: Noted, tell: Tell) -> None:
    node, host, _bound, change = noted
    await host.call("changes")

    def flap() -> int:
        until, turns = time.monotonic() + 3, 0
        while time.monotonic() < until:
            node.ip("link", "set", "eth0", "down")
            node.ip("link", "set", "eth0", "up")
            turns += 1
        return turns

    turns = await asyncio.to_thread(flap)
    node.route()
    ms, seen = await change("addr", "add", "10.1.0.88/24", "dev", "eth0", until=has("10.1.0.88"))
    tell("flapping for 3 s", turns=turns, changes_acted_on=len(seen), noticed_after_ms=ms)
    assert len(seen) <= 3 + 2 + 1


@pytest.mark.parametrize("how", ["replaced", "down and up"])
async def test_a_relayed_connection_survives(
    spawn: Spawn, stack: AsyncExitStack, tell: Tell, how: str
) -> None:
    plan = Plan(
        {"home": Router(nat="linux"), "other": Router(nat="linux")},
        {RELAY: Host(), "a": Host(on="home"), "b": Host(on="other")},
    )
    house = await stack.enter_async_context(House(plan))
    lab = house.lab
    peers = [await spawn(lab, name) for name in ("a", "b")]
    ends = []
    for peer in peers:
        told = await peer.call("bind_home", alpns=["natlab"], relay=RELAY_URL, udp=False)
        await peer.call("online", endpoint=told["endpoint"])
        ends.append(told)
    accepting = peers[1].begin("accept", endpoint=ends[1]["endpoint"])
    where = {"id": ends[1]["id"], "relay": RELAY_URL, "alpn": "natlab"}
    dialled = await peers[0].call("connect", endpoint=ends[0]["endpoint"], **where)
    connections = dialled["connection"], (await accepting)["connection"]
    for peer, connection, _seed in zip(peers, connections, "ab", strict=True):
        await peer.call("serve_echo", connection=connection)
    begun = [
        peer.begin("flow", connection=connection, seed=seed)
        for peer, connection, seed in zip(peers, connections, "ab", strict=True)
    ]
    await asyncio.gather(*begun)
    await asyncio.sleep(0.5)  # a flow, before it is disturbed
    await asyncio.to_thread(disturb, lab["a"], how)
    ping = await peers[0].call("ping", 20.0, connection=connections[0], seconds=20.0)
    ended = await asyncio.gather(
        *(
            peer.call("end_flow", 20.0, connection=connection)
            for peer, connection in zip(peers, connections, strict=True)
        )
    )
    assert ended[0]["out"] == ended[1]["into"]
    assert ended[1]["out"] == ended[0]["into"]
    stall = max(end["gaps"][0]["seconds"] for end in ended)
    tell(how, longest_stall_ms=round(1000 * stall), ping_ms=ping["ms"])


async def test_a_dial_from_an_address_that_is_gone_is_begun_again(
    spawn: Spawn, stack: AsyncExitStack, tell: Tell
) -> None:
    plan = Plan({"home": Router(nat="linux")}, {RELAY: Host(), "a": Host(on="home")})
    house = await stack.enter_async_context(House(plan))
    node, peer = house.lab["a"], await spawn(house.lab, "a")
    node.nft(SILENT)
    told = await peer.call("bind_home", alpns=[], relay=RELAY_URL, udp=False)
    await asyncio.sleep(0.5)  # it is dialling, and hears nothing
    start = time.monotonic()
    await asyncio.to_thread(disturb, node, "replaced")
    node.nft("delete table ip silent\n")
    await peer.call("online", endpoint=told["endpoint"])
    tell("online after a new address", ms=round(1000 * (time.monotonic() - start)))


def disturb(node: Node, how: str) -> None:
    """Give a host another address, or take its network away for a second."""
    if how == "replaced":
        node.ip("addr", "del", f"{node.four}/24", "dev", "eth0")
        node.four = node.four.rpartition(".")[0] + ".99"
        node.ip("addr", "add", f"{node.four}/24", "dev", "eth0")
        node.route()
        return
    node.link_down()
    time.sleep(1)
    node.link_up()


def has(ip: str) -> Wanted:
    """A change after which there is this address."""
    return lambda change: ip in change["addresses"]


def lacks(ip: str) -> Wanted:
    """A change after which there is not."""
    return lambda change: ip not in change["addresses"]


def on(interface: str) -> Wanted:
    """A change after which the default route is there."""
    return lambda change: change["default"] == interface
