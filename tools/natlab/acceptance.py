"""The lab proves itself before anything is measured in it: each kind of NAT, seen from inside."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from natlab.cable import Link
from natlab.classifier import EXPECTED
from natlab.lab import Lab, build
from natlab.node import Node, sh
from natlab.plan import Host, Plan, Router

PROGRAM = Path(__file__).with_name("classifier.py")


def plan() -> Plan:
    """Give a lab with every kind of NAT, and the shapes that are made of them."""
    routers = {kind: Router(nat=kind) for kind in EXPECTED}
    routers |= {
        "hairpin": Router(nat="port-restricted", hairpin=True),
        "carrier": Router(nat="full-cone", hairpin=True),
        "home": Router(nat="port-restricted", on="carrier"),
        "hotel": Router(nat="port-restricted", udp=False, allow_tcp=(80, 443)),
        "six": Router(v4=False, v6="firewall"),
        "open-six": Router(v4=False, v6="open"),
    }
    hosts = {f"h-{name}": Host(on=name) for name in routers}
    bad = Link(delay_ms=1, duplicate=0.1, reorder=0.1)
    return Plan(routers, {"reflector": Host(addresses=2), "bad-cable": Host(link=bad), **hosts})


def wanted(name: str) -> dict[str, Any]:
    """Say what the classifier must find on a network of this lab."""
    open_hairpin = {"hairpin": name in ("none", "firewall", "hairpin", "open-six")}
    if name in EXPECTED:
        # Without translation, the outside address is the host's own.
        return {"udp": True, **EXPECTED[name], **open_hairpin}
    restricted = EXPECTED["port-restricted"]
    return {
        "hairpin": {"udp": True, **restricted, **open_hairpin},
        "home": {"udp": True, **restricted, "hairpin": False},
        "carrier": {"udp": True, **EXPECTED["full-cone"], "hairpin": True},
        "hotel": {"udp": False},
        "six": {"udp": True, **EXPECTED["firewall"], "hairpin": True},
        "open-six": {"udp": True, **EXPECTED["none"], "hairpin": True},
    }[name]


def addresses(node: Node, kind: str) -> list[str]:
    """Give the global addresses of a node, of one family."""
    told = json.loads(node.ip("-j", "addr", "show", node.device))
    infos = told[0]["addr_info"]
    return [i["local"] for i in infos if i["family"] == kind and i["scope"] == "global"]


async def classify(node: Node, at: list[str]) -> dict[str, Any]:
    """Run the classifier on a host."""
    words = [sys.executable, "-I", str(PROGRAM), "classify", *at]
    told: dict[str, Any] = json.loads(await asyncio.to_thread(node.run, *words))
    return told


async def accept() -> list[tuple[str, dict[str, Any], bool]]:
    """Build, classify, remove: (network, what was found, whether that is right) for each."""
    route = sh("ip", "route", "show", "table", "all")
    with await build(plan()) as lab:
        reflector = lab["reflector"]
        by_family = {kind: addresses(reflector, kind) for kind in ("inet", "inet6")}
        for at in by_family.values():
            words = [sys.executable, "-I", str(PROGRAM), "reflect", *at]
            process = reflector.start(words, stdout=subprocess.PIPE)
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)
        names = list(lab.plan.routers)
        six = {"six", "open-six"}
        seen = await asyncio.gather(
            *(
                classify(lab[f"h-{name}"], by_family["inet6" if name in six else "inet"])
                for name in names
            )
        )
        rows = [
            (name, told, all(told.get(k) == v for k, v in wanted(name).items()))
            for name, told in zip(names, seen, strict=True)
        ]
        pinged = await asyncio.to_thread(tcp_works, lab)
        rows += [("tcp through the hotel", pinged, pinged == {"80": True, "8080": False})]
    left = [line for line in sh("ip", "netns", "list").splitlines() if lab.prefix in line]
    same = sh("ip", "route", "show", "table", "all") == route
    found = {"namespaces": left, "routes same": same}
    rows.append(("nothing left behind", found, same and not left))
    return rows


def tcp_works(lab: Lab) -> dict[str, Any]:
    """Try the ports of the hotel's firewall."""
    server = lab["reflector"]
    listen = (
        "import socket, time\n"
        "s = [socket.create_server(('0.0.0.0', p)) for p in (80, 8080)]\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    process = server.start([sys.executable, "-I", "-c", listen], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    dial = f"import socket, sys; socket.create_connection(('{server.four}', int(sys.argv[1])), 2)"
    words = [sys.executable, "-I", "-c", dial]
    tried = {}
    for port in ("80", "8080"):
        done = subprocess.run(
            [*lab["h-hotel"].words(), *words, port], capture_output=True, check=False
        )
        tried[port] = done.returncode == 0
    return tried
