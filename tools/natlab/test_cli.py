"""The program `iroh` behind real NATs, with two relays of ours between: `iroh relay`."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trustme

from natlab.conftest import Build, Tell
from natlab.lab import Lab
from natlab.node import Node
from natlab.plan import Host, Plan, Router

RELAYS = ("east.test", "west.test")
KINDS = {
    **dict.fromkeys(("full-cone", "address-restricted", "port-restricted", "linux"), "mild"),
    **{"none": "none", "firewall": "none", "symmetric": "symmetric", "blocked": "unknown"},
}
"""The lab's kinds of NAT, and what `iroh doctor` calls them."""
PIPE = asyncio.subprocess.PIPE
WITHIN = 120.0
"""Seconds; a quiet machine takes a tenth, most of which goes into starting Python."""


class Net:
    """A lab with two relays, and the program on its hosts."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.urls = [word for name in RELAYS for word in ("--relay", f"https://{name}/")]

    @asynccontextmanager
    async def running(
        self, node: Node, command: str, *words: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run `iroh` on a host until the context ends."""
        network = ("--preset", "minimal", "--ca-file", str(self.folder / "ca.pem"), *self.urls)
        options = () if command == "relay" else ("--json",)
        process = await asyncio.create_subprocess_exec(
            *(*node.words(), sys.executable, "-m", "iroh", *options, command, *words),
            *(() if command == "relay" else network),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE if command in ("listen", "connect") else None,
            env={**os.environ, "IROH_PORTMAPPER": "0"},
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    async def run(self, host: str, *words: str, data: bytes = b"") -> list[dict[str, Any]]:
        """Run `iroh` to its end; gives its events."""
        async with self.running(self.lab[host], *words) as process:
            out, err = await process.communicate(data)
        told = [json.loads(line) for line in (out if err is None else err).splitlines()]
        assert process.returncode == 0, told
        return told


async def event(stream: asyncio.StreamReader | None, kind: str) -> dict[str, Any]:
    """Wait for an event of a program."""
    assert stream is not None
    while line := await stream.readline():
        told: dict[str, Any] = json.loads(line)
        if told["event"] == kind:
            return told
    raise AssertionError(f"ended without {kind}")


async def make_net(
    build: Build, stack: AsyncExitStack, folder: Path, routers: dict[str, Router]
) -> Net:
    """Build a lab with a host behind each router, and start the relays."""
    hosts = {f"h-{name}": Host(on=name) for name in routers}
    lab = await build(Plan(routers, {**hosts, **{name: Host() for name in RELAYS}}))
    names: dict[str, tuple[str, ...]] = {name: (lab[name].four, lab[name].six) for name in RELAYS}
    for node in lab.nodes.values():
        node.name_hosts(names)
    net, ca = Net(lab, folder), trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in RELAYS:
        issued = ca.issue_cert(name)
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        config = folder / f"{name}.toml"
        config.write_text(
            "enable_quic_addr_discovery = true\n[tls]\ncert_mode = 'Manual'\n"
            f"manual_cert_path = '{folder / name}.pem'\nmanual_key_path = '{folder / name}.key'\n"
        )
        running = net.running(lab[name], "relay", "--config-path", str(config))
        relay = await stack.enter_async_context(running)
        assert relay.stdout is not None
        assert b"listening on" in await relay.stdout.readline()
    return net


async def relay_to_direct(net: Net, here: str, there: str) -> dict[str, str]:
    """Ping from one host to another until it is direct; gives the first path and the last."""
    async with net.running(net.lab[there], "ping", "--listen") as answering:
        listening = await event(answering.stdout, "listening")
        ticket = await relay_only(net, listening["id"])
        words = ("--until-direct", "--count", "100", "--interval", "0.05", ticket)
        told = await net.run(here, "ping", *words)
    pongs = [each for each in told if each["event"] == "pong"]
    changes = [each for each in told if each["event"] == "path"]
    assert pongs[0]["path"].startswith("relay https://"), told
    assert pongs[-1]["path"].startswith("direct 203.0.113."), told
    assert changes[-1]["before"].startswith("relay https://")
    return {"pings": str(len(pongs)), "first": f"{pongs[0]['ms']} ms", "path": changes[-1]["now"]}


async def relay_only(net: Net, peer: str) -> str:
    """A ticket without addresses: the first packet has to go over a relay."""
    words = [word for name in RELAYS for word in ("--relay", f"https://{name}/")]
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iroh", "ticket", "make", peer, *words), stdout=PIPE
    )
    return (await made.communicate())[0].decode().strip()


async def test_the_program_between_two_homes(
    build: Build, stack: AsyncExitStack, tell: Tell, tmp_path: Path
) -> None:
    """A ping shows relay, then direct; a pipe and files pass; nothing of it needs an option."""
    home = Router(nat="port-restricted")
    async with asyncio.timeout(WITHIN):
        net = await make_net(build, stack, tmp_path, {"home": home, "office": home})
        tell("iroh ping", **await relay_to_direct(net, "h-home", "h-office"))
        async with net.running(net.lab["h-office"], "listen", "--recv-only") as listen:
            ticket = (await event(listen.stderr, "listening"))["ticket"]
            await net.run("h-home", "connect", ticket, data=b"through the wall")
            assert (await listen.communicate())[0] == b"through the wall"
        (tmp_path / "letter").write_bytes(os.urandom(3_000_000))
        async with net.running(net.lab["h-office"], "send", str(tmp_path / "letter")) as send:
            ticket = (await event(send.stdout, "sharing"))["ticket"]
            told = await net.run("h-home", "recv", "-o", str(tmp_path / "to"), ticket)
        assert told[-1]["event"] == "received"
        assert (tmp_path / "to" / "letter").read_bytes() == (tmp_path / "letter").read_bytes()
        async with net.running(net.lab["h-office"], "ping", "--listen") as answering:
            ticket = await relay_only(net, (await event(answering.stdout, "listening"))["id"])
            told = await net.run("h-home", "doctor", ticket)
        assert told[-1]["why_not_direct"] is None
        assert any(path["selected"] for path in told[-1]["paths"])


async def test_doctor_names_every_kind_and_why_two_symmetric_ones_stay_on_the_relay(
    build: Build, stack: AsyncExitStack, tell: Tell, tmp_path: Path
) -> None:
    routers = {kind: Router(nat=kind) for kind in KINDS if kind != "blocked"}
    routers |= {"blocked": Router(nat="linux", udp=False), "other": Router(nat="symmetric")}
    async with asyncio.timeout(WITHIN):
        net = await make_net(build, stack, tmp_path, routers)
        room = asyncio.Semaphore(2)  # a probe has 3 s, and Python's start is a part of it

        async def doctor(kind: str) -> list[dict[str, Any]]:
            async with room:
                return await net.run(f"h-{kind}", "doctor")

        found = await asyncio.gather(*(doctor(kind) for kind in KINDS))
        named = {
            kind: each["kind"]
            for kind, told in zip(KINDS, found, strict=True)
            for each in told
            if each["event"] == "nat"
        }
        tell("iroh doctor", **named)
        assert named == KINDS
        async with net.running(net.lab["h-other"], "ping", "--listen") as answering:
            ticket = (await event(answering.stdout, "listening"))["ticket"]
            told = await net.run("h-symmetric", "doctor", "--watch", "3", ticket)
        tell("two symmetric ones", why=told[-1]["why_not_direct"])
        # How the peer's NAT maps is not seen from here; that the way over the relay stays, is.
        assert "our NAT is symmetric" in told[-1]["why_not_direct"]
        assert all(path["remote"] in net.urls for path in told[-1]["paths"] if path["selected"])
