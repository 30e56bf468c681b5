"""A transfer is disturbed: it completes, and its checksum is right. How long it took is printed.

6 MB from the dialer to the listener at 8 Mbit/s, round trip 40 ms, both behind port-restricted
NATs; it starts when the path is direct, and is disturbed two seconds later. With "alone" in the
name, the relay was stopped before: nothing helps then but the path itself.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from natlab.cable import Link
from natlab.case import CLIENT, SERVER, Case, Script, two_homes
from natlab.plan import Host, Plan, Router
from natlab.stage import Failed, Stage

GROUP = "transfer"
HOME = Router(nat="port-restricted")
STRICT = Router(nat="symmetric")
LINK = Link(delay_ms=20, rate_kbit=8000, queue=100)
WIRED = Link(wired=True)
SIZE, SMALL = 6_000_000, 1_000_000
AFTER = 2.0
"""Seconds from the start of the transfer to its disturbance."""
LIMIT = 120.0
PATIENCE = 90.0
"""Seconds for a transfer."""
Disturbance = Callable[[Stage], Awaitable[None]]
QUICK = {
    "undisturbed",
    "outage 5 s client",
    "replug client",
    "direct path dies",
    "MTU hole 1280",
    "loss 5 %",
    "relay restart",
}


def cases() -> Iterator[Case]:
    """Give all of them."""
    for name, plan, script in (*changes(), *outages(), *impairments()):
        yield Case(
            group=GROUP, name=name, plan=plan, script=script, quick=name in QUICK, limit=LIMIT
        )


def lab(client: Link = LINK, nat: Router = HOME, **more: Router) -> Plan:
    """Give the lab; the client's cable is the bad one, the server's can be pulled only."""
    hosts = {CLIENT: Host(on="client-nat", link=client), SERVER: Host(on="server-nat", link=WIRED)}
    plan = two_homes(nat, nat, **hosts)
    return replace(plan, routers={**plan.routers, **more})


Row = tuple[str, Plan, Script]


def changes() -> Iterator[Row]:
    """What happens to networks."""
    yield "undisturbed", lab(), transfer(nothing)
    yield "NAT forgets", lab(), transfer(nat_forgets)
    yield "NAT rebinds 3 times", lab(nat=HOME), transfer(nat_rebinds, client_nat=STRICT)
    yield "new outside address", lab(), transfer(new_address)
    for name in (CLIENT, SERVER):
        yield f"replug {name}", lab(other=HOME), transfer(replug(name))
    yield "direct path dies", lab(), transfer(direct_path_dies)
    yield "relay restart", lab(nat=STRICT), transfer(relay_restart, direct=False)
    for size in (1300, 1280):
        yield f"MTU hole {size}", lab(), transfer(mtu_hole(size))


def outages() -> Iterator[Row]:
    """Cables that are pulled, and a hole that nobody tells of."""
    for alone in (False, True):
        for seconds in (3, 5, 10):
            for name in (CLIENT, SERVER):
                label = f"outage {seconds} s {name}{' alone' if alone else ''}"
                yield label, lab(), transfer(outage(name, seconds), alone=alone)
    yield "black hole 5 s", lab(), transfer(black_hole)


def impairments() -> Iterator[Row]:
    """Cables that are bad from the first packet on."""
    for share in (1, 5, 20):
        bad = replace(LINK, loss=share / 100)
        yield f"loss {share} %", lab(bad), transfer(nothing, size=SMALL)
    for name, bad in (
        ("reorder 10 %", replace(LINK, reorder=0.1)),
        ("duplicate 20 %", replace(LINK, duplicate=0.2)),
        ("corrupt 2 %", replace(LINK, corrupt=0.02)),
        ("jitter 15 ms", replace(LINK, jitter_ms=15)),
    ):
        yield name, lab(bad), transfer(nothing, size=SMALL)


def transfer(
    disturb: Disturbance,
    *,
    size: int = SIZE,
    direct: bool = True,
    alone: bool = False,
    client_nat: Router | None = None,
) -> Script:
    """Move bytes while something happens."""

    async def script(stage: Stage) -> None:
        if client_nat is not None:
            stage.lab.set_router("client-nat", nat=client_nat.nat)
            stage.lab.set_router("server-nat", nat="full-cone")
        await stage.connect(30)
        if direct:
            await stage.direct(30)
        if alone:
            await stage.house.stop_relay()
        taking = stage.listener.peer.begin(
            "take_bulk", PATIENCE, connection=stage.listener.connection
        )
        start = time.monotonic()
        sending = stage.dialer.peer.begin(
            "send_bulk", PATIENCE, connection=stage.dialer.connection, seed="x", size=size
        )
        try:
            if disturb is not nothing:
                await asyncio.sleep(AFTER)
                await disturb(stage)
            taken, sent = await asyncio.gather(taking, sending)
        finally:
            taking.cancel()
            sending.cancel()
        stage.figures["seconds"] = round(time.monotonic() - start, 2)
        stage.figures["bytes"] = sent["bytes"]
        stage.figures["lost"] = sent["bytes"] - taken["bytes"]
        if sent["sha256"] != taken["sha256"]:
            raise Failed("the checksum is wrong")

    return script


async def nothing(stage: Stage) -> None:
    """Disturb nothing."""


async def nat_forgets(stage: Stage) -> None:
    """Flush the client's NAT; new mappings get the same ports."""
    stage.lab.flush("client-nat")


async def nat_rebinds(stage: Stage) -> None:
    """Flush a symmetric NAT three times: another outside port each time."""
    for _ in range(3):
        stage.lab.flush("client-nat")
        await asyncio.sleep(1)


async def new_address(stage: Stage) -> None:
    """Give the client's router another outside address; nobody in the LAN is told."""
    stage.lab.change_wan("client-nat")
    await stage.tell_outside(stage.dialer)


def replug(name: str) -> Disturbance:
    """Move a host to another network."""

    async def disturb(stage: Stage) -> None:
        await stage.replug(stage.side(name)[0], "other", LINK if name == CLIENT else None)

    return disturb


async def direct_path_dies(stage: Stage) -> None:
    """Block UDP for good: the transfer goes on over the relay."""
    stage.lab.set_router("client-nat", udp=False)


async def relay_restart(stage: Stage) -> None:
    """Restart the relay that carries it all."""
    await stage.house.stop_relay()
    await stage.house.start_relay()


def mtu_hole(size: int) -> Disturbance:
    """Drop what is longer, and tell nobody."""

    async def disturb(stage: Stage) -> None:
        stage.lab.hole("client-nat", size)

    return disturb


def outage(name: str, seconds: float) -> Disturbance:
    """Pull a cable."""

    async def disturb(stage: Stage) -> None:
        node = stage.lab[stage.side(name)[0].host]
        node.link_down()
        await asyncio.sleep(seconds)
        node.link_up()

    return disturb


async def black_hole(stage: Stage) -> None:
    """Lose everything for five seconds, with the link up."""
    host = stage.dialer.host
    stage.lab.set_link(host, loss=1.0)
    await asyncio.sleep(5)
    stage.lab.set_link(host, loss=0.0)
