"""A host or router of a lab: one network namespace.

Whatever runs in a lab is started through `Node`, and so inside its namespace; nothing of a lab is
linked to the machine's own network, so no packet can leave the machine.
"""

import contextlib
import ipaddress
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SYSCTLS = (
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.default.accept_ra=0",
    # A bridge would apply DNAT to frames that it merely switches, and hairpin packets never reach
    # the router's postrouting.
    "net.bridge.bridge-nf-call-iptables=0",
    "net.bridge.bridge-nf-call-ip6tables=0",
    "net.bridge.bridge-nf-call-arptables=0",
)
ETC = Path("/etc/netns")
"""`ip netns exec` shows /etc/netns/NAME/FILE as /etc/FILE."""


class LabError(RuntimeError):
    """A lab could not be built or changed. The text has the command and what it said."""


def sh(*words: str, text: str | None = None, check: bool = True) -> str:
    """Run a program of the system. Raises LabError."""
    done = subprocess.run(words, input=text, text=True, capture_output=True, check=False)
    if check and done.returncode:
        raise LabError(f"{' '.join(words)}: {done.stderr.strip()}\n{text or ''}")
    return done.stdout


class Network:
    """What a LAN, or the public network, hands out."""

    def __init__(self, four: str | None, six: str | None) -> None:
        self.four = ipaddress.IPv4Network(four) if four else None
        self.six = ipaddress.IPv6Network(six) if six else None
        self.numbers: Iterator[int] = itertools.count(10)
        self.gateways = self.address(1)

    def address(self, number: int) -> tuple[str, str]:
        """Give the IPv4 and IPv6 address of this number; empty where the network has none."""
        four = str(self.four[number]) if self.four else ""
        return four, str(self.six[number]) if self.six else ""


class Node:
    """One namespace, and how to run something in it."""

    def __init__(self, prefix: str, name: str) -> None:
        self.name = name
        self.namespace = f"{prefix}{name}"
        self.four = self.six = ""
        """The addresses of its interface on the network it is on."""
        self.network: Network | None = None
        self.device = "eth0"
        self.wired: set[str] = set()
        """The devices whose cable is a wire's."""
        self.etc = ETC / self.namespace
        self.etc.mkdir(parents=True)
        self.etc.joinpath("resolv.conf").write_text("")
        self.name_hosts({"localhost": ("127.0.0.1", "::1")})
        sh("ip", "netns", "add", self.namespace)
        self.ip("link", "set", "lo", "up")
        self.run("sysctl", "-q", "-w", *SYSCTLS)

    def words(self) -> tuple[str, ...]:
        """Give the words that run a command in here."""
        return ("ip", "netns", "exec", self.namespace)

    def ip(self, *words: str, check: bool = True) -> str:
        """Run `ip` on this namespace. Raises LabError."""
        return sh("ip", "-n", self.namespace, *words, check=check)

    def run(self, *words: str, text: str | None = None, check: bool = True) -> str:
        """Run a program in here to its end. Raises LabError."""
        return sh(*self.words(), *words, text=text, check=check)

    def start(self, words: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program in here; it ends with the lab at the latest."""
        return subprocess.Popen([*self.words(), *words], text=True, **options)

    def nft(self, rules: str) -> None:
        """Load nftables rules. Raises LabError."""
        self.run("nft", "-f", "-", text=rules)

    def name_hosts(self, names: dict[str, tuple[str, ...]]) -> None:
        """Add lines to this host's /etc/hosts."""
        with self.etc.joinpath("hosts").open("a") as file:
            for name, addresses in names.items():
                file.writelines(f"{address} {name}\n" for address in addresses if address)

    def name_servers(self, *addresses: str) -> None:
        """Write this host's /etc/resolv.conf."""
        lines = "".join(f"nameserver {address}\n" for address in addresses if address)
        self.etc.joinpath("resolv.conf").write_text(lines + "options timeout:1 attempts:2\n")

    # the interface

    def take(self, network: Network, device: str, addresses: int = 1) -> None:
        """Take addresses of a network on a device, and its gateway as the default."""
        taken = [network.address(next(network.numbers)) for _ in range(addresses)]
        (self.four, self.six), self.network, self.device = taken[0], network, device
        for four, six in taken:
            if network.four:
                self.ip("addr", "add", f"{four}/{network.four.prefixlen}", "dev", device)
            if network.six:
                self.ip("-6", "addr", "add", f"{six}/64", "dev", device, "nodad")
        self.route()

    def route(self) -> None:
        """Make the network's gateway the default route."""
        assert self.network is not None
        for family, gateway in zip(("-4", "-6"), self.network.gateways, strict=True):
            if gateway:
                self.ip(family, "route", "replace", "default", "via", gateway, "dev", self.device)

    def link_down(self) -> None:
        """Pull the cable: routes and IPv6 addresses go, as the kernel does it."""
        self.ip("link", "set", self.device, "down")

    def link_up(self) -> None:
        """Put the cable back in, as the system's network service would: addresses and routes."""
        self.ip("link", "set", self.device, "up")
        if self.six:
            words = ("addr", "replace", f"{self.six}/64", "dev", self.device, "nodad")
            self.ip("-6", *words)
        self.route()

    # the end

    def remove(self) -> None:
        """End what still runs in here, and the namespace."""
        remove(self.namespace)


def remove(namespace: str) -> None:
    """End what runs in a namespace, found by the namespace and never by a name; then remove it."""
    for word in sh("ip", "netns", "pids", namespace, check=False).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(word), signal.SIGKILL)
    sh("ip", "netns", "del", namespace, check=False)
    shutil.rmtree(ETC / namespace, ignore_errors=True)
