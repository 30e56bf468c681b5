"""Every kind of access network against every other: direct where theory says so, else relayed.

All cells run in one lab, with two hosts of each kind; a cell has endpoints of its own. While it
runs, bytes flow in both directions, so that a pause or a loss at the switch would be seen.

Theory, for IPv4: a NAT that maps each destination to another port cannot be reached from behind one
that filters by port, because nobody knows the port. Over IPv6, two stateful firewalls open for each
other. Nothing passes where UDP does not. Behind one and the same NAT: over the LAN, or else by its
outside address if it does hairpins, or else not at all.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from natlab.cable import Link
from natlab.case import Case, Script
from natlab.plan import Host, Plan, Router
from natlab.stage import RELAY, Stage

GROUP: Final = "matrix"
LINK = Link(delay_ms=5)
"""A round trip of 20 ms between any two hosts, directly; and as much by the relay."""
ROUND_TRIP = 0.02
RELAYED = 3.0
"""Seconds that a relayed cell is watched."""
SETTLE = 0.7
"""Seconds that the bytes flow on after the switch."""


@dataclass(frozen=True, slots=True)
class Kind:
    """An access network, and what theory needs to know of it."""

    router: Router
    symmetric: bool = False
    by_port: bool = True
    """Whether it filters by the sender's port."""
    four: bool = True
    six: bool = False
    udp: bool = True


HOME = Router(nat="port-restricted")
KINDS = {
    "none": Kind(Router(), by_port=False),
    "full-cone": Kind(Router(nat="full-cone"), by_port=False),
    "addr-restr": Kind(Router(nat="address-restricted"), by_port=False),
    "port-restr": Kind(HOME),
    "symmetric": Kind(Router(nat="symmetric"), symmetric=True),
    "linux": Kind(Router(nat="linux")),
    "double-nat": Kind(Router(nat="port-restricted", on="carrier")),
    "udp-blocked": Kind(Router(nat="port-restricted", udp=False), udp=False),
    "ipv6-only": Kind(Router(v4=False, v6="firewall"), four=False, six=True),
    "ipv4-only": Kind(Router(nat="firewall")),
    "dual-stack": Kind(Router(nat="port-restricted", v6="firewall"), six=True),
}
SAME = {
    "same-lan": (Router(nat="port-restricted"), True),
    "same-nat-hairpin": (Router(nat="port-restricted", isolated=True, hairpin=True), True),
    "same-nat-no-hairpin": (Router(nat="port-restricted", isolated=True), False),
}
"""Both hosts behind one router; and whether they can be direct."""
QUICK = {
    "none x port-restr",
    "port-restr x port-restr",
    "symmetric x addr-restr",
    "port-restr x symmetric",
    "double-nat x double-nat",
    "linux x double-nat",
    "udp-blocked x none",
    "ipv6-only x ipv4-only",
    "dual-stack x ipv6-only",
    "same-nat-hairpin",
    "same-nat-no-hairpin",
}


def theory(one: Kind, other: Kind) -> bool:
    """Say whether two different networks allow a direct path."""
    if not (one.udp and other.udp):
        return False
    if one.six and other.six:
        return True
    if not (one.four and other.four):
        return False
    return not ((one.symmetric and other.by_port) or (other.symmetric and one.by_port))


def plan() -> Plan:
    """Give the lab: two networks of each kind, one host each."""
    routers = {"carrier": Router(nat="full-cone", hairpin=True)}
    hosts = {RELAY: Host()}
    for name, kind in KINDS.items():
        for role in "ab":
            routers[f"{name}-{role}"] = kind.router
            hosts[f"{role}-{name}"] = Host(on=f"{name}-{role}", link=LINK)
    for name, (router, _) in SAME.items():
        routers[name] = router
        hosts |= {f"{role}-{name}": Host(on=name, link=LINK) for role in "ab"}
    return Plan(routers, hosts)


def cases() -> Iterator[Case]:
    """Give all cells."""
    lab = plan()

    def cell(name: str, one: str, two: str, direct: bool) -> Case:
        return Case(
            group=GROUP,
            name=name,
            plan=lab,
            script=script(direct),
            shared=True,
            dialer=f"a-{one}",
            listener=f"b-{two}",
            quick=name in QUICK,
            limit=60,
        )

    for one, kind in KINDS.items():
        for two, other in KINDS.items():
            yield cell(f"{one} x {two}", one, two, theory(kind, other))
    for same, (_, direct) in SAME.items():
        yield cell(same, same, same, direct)


def script(direct: bool) -> Script:
    """Give what is done in a cell."""

    async def run(stage: Stage) -> None:
        stage.figures["wanted"] = "direct" if direct else "relayed"
        await stage.connect()
        await stage.flow()
        if direct:
            await stage.direct()
            await asyncio.sleep(SETTLE)
        else:
            await stage.relayed(RELAYED)
        await stage.end_flow()
        await stage.ping()

    return run
