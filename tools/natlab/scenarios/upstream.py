"""The cases of n0's own suite, iroh/tests/patchbay, by their names and with their assertions.

n0 runs 63 of them, ignores nine as not yet passing, and has one commented out. Theirs run in
patchbay; what its conditions mean is expressed in ours. Two differences: the relay speaks HTTP
without TLS, and a Rust endpoint has no QAD: the lab tells it its outside address.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from natlab.cable import Link
from natlab.case import CLIENT, SERVER, Case, Script, two_homes
from natlab.plan import Host, Plan, Router
from natlab.stage import RELAY, Failed, Stage

GROUP = "n0"
NATS = {
    "none": "none",
    "open": "full-cone",
    "moderate": "port-restricted",
    "strict": "symmetric",
}
MODERATE = Router(nat="port-restricted")
STRICT = Router(nat="symmetric")
FAMILIES = {
    "v4": MODERATE,
    "v6": Router(v4=False, v6="firewall"),
    "dual": Router(nat="port-restricted", v6="firewall"),
}
MOBILE_4G = Link(delay_ms=25, jitter_ms=8, loss=0.005)
OUTAGE = 5.0
HOLD = 3.0
"""Seconds that would be long enough for a hole to be punched, if that were possible."""
SWITCHED = 30.0
RECONNECTED = 30.0
RESTARTED = 20.0
QUICK = {
    "holepunch_simple",
    "nat_open_x_strict",
    "nat_none_x_moderate",
    "link_outage_recovery_client",
    "hard_nat_to_holepunchable_server",
    "holepunch_many_addrs_client_16",
    "add_faster_link_client",
    "degrade_client_weak_4g",
    "relay_connect_ipv6",
    "relay_udp_blocked_both",
    "relay_reconnect_relay_restart",
    "switch_client_v4_to_dual",
    "switch_server_v6_to_v4",
}


def rung(kbit: int, rtt: float, jitter: float, loss: float, burst: float) -> Link:
    """Give a step of the ladder: half of the round trip each way, a queue of one round trip."""
    queue = max(16, round(kbit * 125 * rtt / 1000 / 1500))
    return Link(
        delay_ms=rtt / 2, jitter_ms=jitter, loss=loss, burst=burst, rate_kbit=kbit, queue=queue
    )


LADDER = {
    "good_wifi": rung(100_000, 16, 0, 0.001, 3),
    "congested_wifi": rung(25_000, 40, 12, 0.01, 6),
    "weak_4g": rung(8_000, 90, 15, 0.02, 8),
    "slow_3g": rung(3_000, 200, 30, 0.03, 10),
    "congested_cellular": rung(1_500, 300, 40, 0.05, 12),
    "very_bad_cellular": rung(800, 450, 60, 0.08, 20),
    "satellite": rung(25_000, 600, 40, 0.015, 6),
    "barely_usable": rung(500, 450, 80, 0.12, 25),
    "absurd": rung(256, 800, 150, 0.25, 40),
}
NOT_RUN = {
    "nat_moderate_x_strict",
    "nat_strict_x_moderate",
    "nat_strict_x_strict",
    "holepunch_many_addrs_client_32",
    "holepunch_many_addrs_server_32",
    *(f"degrade_{s}_{rung}" for s in (CLIENT, SERVER) for rung in ("barely_usable", "absurd")),
    "degrade_server_congested_cellular",  # the one that is commented out
}


def cases() -> Iterator[Case]:
    """Give all of them."""
    for name, plan, script, limit in (*basic(), *nat(), *degrade(), *relay(), *switch()):
        yield Case(
            group=GROUP,
            name=name,
            plan=plan,
            script=script,
            limit=limit,
            quick=name in QUICK,
            ignored=name in NOT_RUN,
        )


Row = tuple[str, Plan, Script, float]


def basic() -> Iterator[Row]:
    """patchbay.rs."""
    plain = two_homes(MODERATE, MODERATE)
    yield "holepunch_simple", plain, holepunch(10), 60
    for name in (CLIENT, SERVER):
        routers = {"nat-a": MODERATE, "nat-b": MODERATE}
        active, passive = Host(on="nat-a", link=MOBILE_4G), Host(on="nat-b")
        other = SERVER if name == CLIENT else CLIENT
        hosts = {RELAY: Host(), name: active, other: passive}
        yield f"add_faster_link_{name}", Plan(routers, hosts), faster_link(name), 90
        yield f"link_outage_recovery_{name}", plain, outage_recovery(name), 90
        routers = {"hard": STRICT, "easy": MODERATE, "peer": MODERATE}
        hosts = {RELAY: Host(), name: Host(on="hard"), other: Host(on="peer")}
        yield f"hard_nat_to_holepunchable_{name}", Plan(routers, hosts), hard_to_easy(name), 90
        for count in (8, 16, 32):
            also = tuple(f"172.16.0.{number + 1}/24" for number in range(count))
            many = two_homes(MODERATE, MODERATE, **{name: Host(on=f"{name}-nat", also=also)})
            yield f"holepunch_many_addrs_{name}_{count}", many, holepunch(15), 60


def holepunch(within: float) -> Script:
    """Start relayed, become direct, ping."""

    async def script(stage: Stage) -> None:
        await stage.connect()
        await stage.direct(within)
        await stage.ping()

    return script


def faster_link(active: str) -> Script:
    """Bring up a LAN interface beside a mobile one: the path changes."""

    async def script(stage: Stage) -> None:
        side, other = stage.side(active)
        stage.lab.second(side.host, "eth1", "nat-b")
        await stage.connect()
        await stage.direct()
        before = [await stage.until(s) for s in (side, other)]
        await stage.ping(other)
        stage.lab[side.host].ip("link", "set", "eth1", "up")
        await asyncio.gather(
            *(
                stage.until(s, other_than=[old["remote"]])
                for s, old in zip((side, other), before, strict=True)
            )
        )
        await stage.ping(other)

    return script


def outage_recovery(name: str) -> Script:
    """Pull the cable for five seconds: a ping gets through within 15, and directly within 15."""

    async def script(stage: Stage) -> None:
        side, _ = stage.side(name)
        await stage.connect()
        await stage.direct()
        stage.lab[side.host].link_down()
        await asyncio.sleep(OUTAGE)
        stage.lab[side.host].link_up()
        stage.figures["ping after ms"] = await stage.ping(side)
        await stage.until(side)
        await stage.ping(side)

    return script


def hard_to_easy(name: str) -> Script:
    """Move from a symmetric NAT to a port-restricted one."""

    async def script(stage: Stage) -> None:
        side, other = stage.side(name)
        await stage.connect()
        await stage.ping(other)
        await stage.relayed(HOLD)
        await stage.replug(side, "easy")
        await stage.direct()
        await stage.ping(other)

    return script


def nat() -> Iterator[Row]:
    """nat.rs: named server x client."""
    for server, kind in NATS.items():
        for client, other in NATS.items():
            plan = two_homes(Router(nat=other), Router(nat=kind))
            yield f"nat_{server}_x_{client}", plan, holepunch(15), 60


def degrade() -> Iterator[Row]:
    """degrade.rs: 20 s and 10 more for each step of the ladder, for all of it."""
    for name in (CLIENT, SERVER):
        for level, (label, link) in enumerate(LADDER.items()):
            plan = two_homes(MODERATE, MODERATE, **{name: Host(on=f"{name}-nat", link=link)})
            limit = 20.0 + 10 * level
            yield f"degrade_{name}_{label}", plan, degraded(limit), limit + 30


def degraded(limit: float) -> Script:
    """Become direct and ping, all of it in time."""

    async def script(stage: Stage) -> None:
        async with asyncio.timeout(limit):
            await stage.connect(limit)
            found = await stage.until(stage.dialer, limit)
            stage.figures["direct s"] = round(found["at"] - stage.dialed_at, 3)
            stage.figures["ping ms"] = await stage.ping(within=limit)

    return script


def relay() -> Iterator[Row]:
    """relay.rs."""
    for version in ("ipv4", "ipv6"):
        one = Router(nat="firewall", v4=version == "ipv4", udp=False)
        one = one if version == "ipv4" else replace(one, v6="firewall")
        yield f"relay_connect_{version}", two_homes(one, one), relay_only(0), 60
    blocked = replace(MODERATE, udp=False)
    for name, client, server in (
        ("both", blocked, blocked),
        ("server", MODERATE, blocked),
        ("client", blocked, MODERATE),
    ):
        plan = two_homes(client, server)
        yield f"relay_udp_blocked_{name}", plan, relay_only(HOLD), 60
    strict = two_homes(STRICT, STRICT)
    for name in (CLIENT, SERVER):
        yield f"relay_reconnect_link_outage_{name}", strict, relay_outage(name), 90
    yield "relay_reconnect_relay_restart", strict, relay_restart, 90


def relay_only(hold: float) -> Script:
    """Stay relayed, and work."""

    async def script(stage: Stage) -> None:
        await stage.connect()
        await stage.ping()
        await stage.relayed(hold)
        await stage.ping()

    return script


def relay_outage(name: str) -> Script:
    """Pull the cable of a relayed connection for five seconds."""

    async def script(stage: Stage) -> None:
        side, _ = stage.side(name)
        await stage.connect()
        await stage.ping(side)
        stage.lab[side.host].link_down()
        await asyncio.sleep(OUTAGE)
        stage.lab[side.host].link_up()
        stage.figures["ping after ms"] = await stage.ping(side, RECONNECTED)
        await stage.relayed(0)

    return script


async def relay_restart(stage: Stage) -> None:
    """Restart the relay under a relayed connection."""
    await stage.connect()
    await stage.ping()
    await stage.house.stop_relay()
    await stage.house.start_relay()
    stage.figures["ping after ms"] = await stage.ping(within=RESTARTED)
    await stage.relayed(0)


def switch() -> Iterator[Row]:
    """switch-uplink.rs."""
    for name in (CLIENT, SERVER):
        other = SERVER if name == CLIENT else CLIENT
        hosts = {RELAY: Host(), name: Host(on="from"), other: Host(on="observer-nat")}
        for one, start in FAMILIES.items():
            for two, end in FAMILIES.items():
                routers = {"observer-nat": FAMILIES["dual"], "from": start, "to": end}
                plan = Plan(routers, hosts)
                yield f"switch_{name}_{one}_to_{two}", plan, switched(name, two), 120


def switched(name: str, to: str) -> Script:
    """Replug to another router: the observer sees a new path, of the new family."""

    async def script(stage: Stage) -> None:
        side, observer = stage.side(name)
        await stage.connect()
        await stage.direct(SWITCHED)
        old = (await observer.call("notes"))["remotes"]
        await stage.ping(observer)
        start = asyncio.get_running_loop().time()
        await stage.replug(side, "to")
        six = {"v4": False, "v6": True}.get(to)
        found = await stage.until(observer, SWITCHED, other_than=old, six=six)
        stage.figures["switched s"] = round(found["at"] - start, 3)
        if not found["direct"]:
            raise Failed(f"switched to {found}")
        await stage.ping(observer, SWITCHED)

    return script
