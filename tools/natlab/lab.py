"""Builds the namespaces, cables and rules of a `Plan`, changes them while it runs, and removes all.

    with Lab(Plan({"home": Router(nat="port-restricted")}, {"a": Host(on="home")})) as lab:
        lab["a"].run("ping", "-c1", lab["ix"].four)

Names of namespaces begin with `natlab-PID-`: `sweep` removes those whose process is gone.
"""

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from natlab import nat
from natlab.cable import Link
from natlab.node import LabError, Network, Node, remove, sh
from natlab.plan import IX, Host, Plan, Router

PUBLIC = Network("203.0.113.0/24", "2001:db8:1::/64")
WIRE = Path(__file__).with_name("wire.py")
NAME = re.compile(r"natlab-(\d+)-")
_labs = itertools.count(1)


def sweep() -> list[str]:
    """Remove what labs of processes that are gone have left behind; give their namespaces."""
    left = []
    for line in sh("ip", "netns", "list").splitlines():
        found = NAME.match(line)
        if found and not Path("/proc", found[1]).exists():
            left.append(line.split()[0])
    for namespace in left:
        remove(namespace)
    return left


class Wire:
    """The process behind all cables that are not perfect; started with the first of them."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def tell(self, **told: Any) -> dict[str, Any]:
        """Give a command and its answer. Raises LabError."""
        if self.process is None:
            pipe = subprocess.PIPE
            words = [sys.executable, "-I", str(WIRE)]
            self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline() or '{"error": "gone"}')
        if "error" in answer:
            raise LabError(f"wire: {told}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.communicate("")


class Lab:
    """A running lab: its nodes by name, and `ix`, the public network."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.prefix = f"natlab-{os.getpid()}-{next(_labs)}-"
        self.nodes: dict[str, Node] = {}
        self.lans: dict[str, Network] = {IX: Network(str(PUBLIC.four), str(PUBLIC.six))}
        self.routers = dict(plan.routers)
        self.wire = Wire()
        self.ports: Iterator[int] = itertools.count()
        try:
            self.build()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    # building

    def build(self) -> None:
        """Make everything of the plan."""
        self.gateway(IX)
        for number, (name, router) in enumerate(self.plan.routers.items(), 1):
            self.add_router(number, name, router)
        for name, host in self.plan.hosts.items():
            node = self.nodes[name] = Node(self.prefix, name)
            self.plug(node, "eth0", host)
            for number, address in enumerate(host.also):
                words = (f"virt{number}", "type", "veth", "peer", "name", f"nowhere{number}")
                node.ip("link", "add", *words)
                node.ip("link", "set", f"nowhere{number}", "up")
                node.ip("link", "set", f"virt{number}", "up")
                node.ip("addr", "add", address, "dev", f"virt{number}")

    def gateway(self, name: str) -> Node:
        """Make a node that forwards, and whose `br0` is the gateway of its network."""
        node = self.nodes[name] = Node(self.prefix, name)
        lan = self.lans[name]
        node.ip("link", "add", nat.LAN, "type", "bridge")
        node.ip("link", "set", nat.LAN, "up")
        four, six = lan.gateways
        if four:
            node.ip("addr", "add", f"{four}/24", "dev", nat.LAN)
        if six:
            node.ip("-6", "addr", "add", f"{six}/64", "dev", nat.LAN, "nodad")
        node.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        return node

    def add_router(self, number: int, name: str, router: Router) -> None:
        """Make a router between its LAN and the network that it is on."""
        private = router.nat in nat.TRANSLATING
        self.lans[name] = lan = Network(
            (f"10.{number}.0.0/24" if private else f"198.51.{100 + number}.0/24")
            if router.v4
            else None,
            f"2001:db8:{0x100 + number:x}::/64" if router.v6 != "none" else None,
        )
        node = self.gateway(name)
        self.attach(node, nat.WAN, router.on, router.link)
        seconds = router.mapping_seconds
        node.run(
            *("sysctl", "-q", "-w"),
            f"net.netfilter.nf_conntrack_udp_timeout={min(seconds, 30)}",
            f"net.netfilter.nf_conntrack_udp_timeout_stream={seconds}",
        )
        above = self.nodes[router.on]
        if lan.four and not private:
            above.ip("route", "add", str(lan.four), "via", node.four)
        if lan.six:
            above.ip("-6", "route", "add", str(lan.six), "via", node.six)
        node.nft(nat.ruleset(router, node.four, str(lan.four)))

    def plug(self, node: Node, device: str, host: Host) -> None:
        """Connect a host to its network."""
        self.attach(node, device, host.on, host.link, host.addresses)

    def attach(self, node: Node, device: str, to: str, link: Link, addresses: int = 1) -> None:
        """Lay a cable from a node to the bridge of a network, and take addresses there."""
        self.lay(node, device, to, link)
        node.take(self.lans[to], device, addresses)

    def second(self, name: str, device: str, to: str) -> None:
        """Give a host one more interface, with an address but no default route; it is down."""
        node, lan = self.nodes[name], self.lans[to]
        self.lay(node, device, to, Link())
        four, _ = lan.address(next(lan.numbers))
        node.ip("addr", "add", f"{four}/24", "dev", device)
        node.ip("link", "set", device, "down")

    def lay(self, node: Node, device: str, to: str, link: Link) -> None:
        """Lay a cable from a node to the bridge of a network."""
        there = self.nodes[to]
        port = f"p{next(self.ports)}"
        if link.needs_wire():
            ends = [[node.namespace, device], [there.namespace, port]]
            self.wire.tell(add=node.name + device, ends=ends, link=asdict(link))
            node.wired.add(device)
        else:
            words = (device, "type", "veth", "peer", "name", port, "netns", there.namespace)
            node.ip("link", "add", *words)
        for end, name in ((node, device), (there, port)):
            end.ip("link", "set", name, "mtu", str(link.mtu), "up")
        there.ip("link", "set", port, "master", nat.LAN)
        if to != IX and self.routers[to].isolated:
            there.ip("link", "set", port, "type", "bridge_slave", "isolated", "on")

    # changes

    def unplug(self, node: Node, device: str) -> None:
        """Take a cable away, and the device with it."""
        if device in node.wired:
            self.wire.tell(remove=node.name + device)
            node.wired.discard(device)
        else:
            node.ip("link", "del", device)

    def replug(self, name: str, on: str, link: Link | None = None) -> None:
        """Move a host to another network: new addresses, the same processes and sockets."""
        node = self.nodes[name]
        device = node.device
        self.unplug(node, device)
        self.attach(node, device, on, link or Link())

    def set_link(self, name: str, **changes: Any) -> None:
        """Change what the wire of a node does; the link must have begun as one that needs one."""
        node = self.nodes[name]
        self.wire.tell(change=node.name + node.device, link=changes)

    def flush(self, name: str) -> None:
        """Make a NAT forget every mapping, as when it restarts."""
        node = self.nodes[name]
        node.run("conntrack", "-F")
        if self.routers[name].nat in nat.INDEPENDENT:
            node.nft("flush map ip lab outside\nflush set ip lab contacted\n")

    def where(self, name: str) -> str:
        """Give the name of the network that a host is on now."""
        network = self.nodes[name].network
        return next(other for other, lan in self.lans.items() if lan is network)

    def map_port(self, name: str, port: int) -> None:
        """Open a host's UDP port in the NATs above it, as if it had sent something from there."""
        on, inside = self.where(name), self.nodes[name].four
        while on != IX:
            router = self.routers[on]
            if router.nat in nat.INDEPENDENT:
                element = f"{{ {port} : {inside} . {port} }}"
                self.nodes[on].run("nft", "add", "element", "ip", "lab", "outside", element)
            if router.nat in nat.TRANSLATING:
                inside = self.nodes[on].four
            on = router.on

    def change_wan(self, name: str) -> None:
        """Give a router another outside address, as a provider does; its mappings are gone."""
        router, node = self.routers[name], self.nodes[name]
        lan = self.lans[name]
        node.ip("-4", "addr", "flush", "dev", nat.WAN)
        six = node.six
        node.take(without_six(self.lans[router.on]), nat.WAN)
        node.six = six
        node.nft("flush ruleset\n" + nat.ruleset(router, node.four, str(lan.four)))
        node.run("conntrack", "-F")

    def hole(self, name: str, size: int) -> None:
        """Let a router drop, and not tell, what is longer than `size` bytes of IP."""
        self.nodes[name].nft(nat.hole(size))

    def set_router(self, name: str, **changes: Any) -> None:
        """Change a router's kind while it runs; its mappings are gone."""
        self.routers[name] = router = replace(self.routers[name], **changes)
        node = self.nodes[name]
        rules = nat.ruleset(router, node.four, str(self.lans[name].four))
        node.nft("flush ruleset\n" + rules)
        node.run("conntrack", "-F")

    # the end

    def close(self) -> None:
        """Remove all of it, whatever still runs in it."""
        self.wire.close()
        for node in self.nodes.values():
            node.remove()
        self.nodes.clear()


async def build(plan: Plan) -> Lab:
    """Build a lab in a thread. Cancelling waits for it, and removes it."""
    building = asyncio.create_task(asyncio.to_thread(Lab, plan))
    try:
        return await asyncio.shield(building)
    except asyncio.CancelledError:
        await asyncio.to_thread((await building).close)
        raise


def without_six(network: Network) -> Network:
    """Give a view of a network that hands out IPv4 only, from the same numbers."""
    view = Network(str(network.four), None)
    view.numbers = network.numbers
    return view
