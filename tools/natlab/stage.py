"""A lab with a relay and two endpoints in it: what a scenario acts on.

    Stage           one run of a scenario: the dialer, the listener, and what is to be noted
    Side            one of them: its host, its process, its endpoint, its connection
    House           a lab with its relay and the processes in it; several stages may share one

Every wait has an end; what was not as it should be raises `Failed`.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from interop import servers
from interop.peer import Peer
from natlab import nat
from natlab.cable import Link
from natlab.lab import Lab, build
from natlab.plan import IX, Plan

AGENT = Path(__file__).with_name("agent.py")
RELAY_NAME = "relay.test"
RELAY_URL = f"http://{RELAY_NAME}/"
QAD_PORT = 7842
"""upstream `DEFAULT_RELAY_QUIC_PORT`"""
RELAY = "relay"
"""The host that the relay runs on."""
ALPN = "natlab"
KINDS = {"P": "ours", "R": "rust"}
"""Letters of a pair: the dialer's, then the listener's."""
WITHIN = 15.0
"""Seconds; n0's limit for most waits of its own suite."""


class Failed(Exception):
    """Something was not as it should be."""


class House:
    """A lab, its relay, and a process for each host and implementation that is asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stack = AsyncExitStack()
        self.peers: dict[tuple[str, str], asyncio.Task[Peer]] = {}
        self.relay_stack = AsyncExitStack()
        self.closing: set[asyncio.Task[dict[str, Any]]] = set()
        """Endpoints that are being closed while others run."""

    async def __aenter__(self) -> Self:
        lab = await build(self.plan)
        self.lab = lab
        self.stack.push_async_callback(asyncio.to_thread, lab.close)
        relay = lab[RELAY]
        for node in lab.nodes.values():
            node.name_hosts({RELAY_NAME: (relay.four, relay.six)})
        try:
            await self.start_relay()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for closing in tuple(self.closing):
            closing.cancel()
        await asyncio.gather(*self.closing, return_exceptions=True)
        for task in self.peers.values():
            peer = (await asyncio.gather(task, return_exceptions=True))[0]
            if isinstance(peer, Peer):
                await end(peer)
        await self.relay_stack.aclose()
        await self.stack.aclose()

    async def start_relay(self) -> None:
        """Run the relay, on the same port of the same host each time."""
        prefix = self.lab[RELAY].words()
        running = servers.running("relay", "::", "80", str(QAD_PORT), prefix=prefix)
        self.relay = await self.relay_stack.enter_async_context(running)

    async def stop_relay(self) -> None:
        """Stop the relay."""
        await self.relay_stack.aclose()

    async def peer(self, host: str, kind: str) -> Peer:
        """Give the process of an implementation on a host."""
        key = host, kind
        if key not in self.peers:
            spawn = Peer.spawn(kind, self.lab[host].words(), AGENT)
            self.peers[key] = asyncio.create_task(spawn)
        return await asyncio.shield(self.peers[key])

    def outside(self, host: str) -> str | None:
        """Give the IPv4 address that others see of a host: what QAD would find.

        None where no UDP passes, or no NAT is in the way. Behind a symmetric NAT the address is
        right and any port is wrong, as it would be with QAD.
        """
        on = self.lab.where(host)
        found = None
        if not self.lab[host].four:
            return None
        while on != IX:
            router = self.lab.routers[on]
            if not router.udp:
                return None
            if router.nat in nat.TRANSLATING:
                found = self.lab[on].four
            on = router.on
        return found


async def end(peer: Peer) -> None:
    """End a process without a goodbye: closing well takes seconds, and is tested elsewhere."""
    await peer.kill()
    await peer.end()


@dataclass(slots=True)
class Side:
    """One end of a connection."""

    name: str
    host: str
    peer: Peer
    endpoint: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    connection: int = 0
    told: list[str] = field(default_factory=list)
    """The outside addresses that the endpoint was told."""

    async def call(self, verb: str, within: float = WITHIN, **arguments: Any) -> dict[str, Any]:
        """Run a command on this side's connection."""
        return await self.peer.call(verb, within + 5, connection=self.connection, **arguments)

    @property
    def asks(self) -> bool:
        """Whether it learns its outside address from the relay, by QAD."""
        return self.peer.kind == "ours"

    def port(self) -> str:
        """Give the port of its IPv4 socket."""
        four = next(s for s in self.info["sockets"] if not s.startswith("["))
        return str(four.rpartition(":")[2])


@dataclass(slots=True)
class Stage:
    """One run of a scenario, with what it found."""

    house: House
    dialer: Side
    listener: Side
    figures: dict[str, float | str] = field(default_factory=dict)
    dialed_at: float = 0.0

    @property
    def lab(self) -> Lab:
        """The lab under it."""
        return self.house.lab

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both ends."""
        return self.dialer, self.listener

    def side(self, name: str) -> tuple[Side, Side]:
        """Give the side of this name (client or server), and the other."""
        return self.sides if name == "client" else (self.listener, self.dialer)

    async def bind(self, within: float) -> None:
        """Bind both endpoints with the relay, and tell them their outside addresses."""
        await asyncio.gather(*(self.bind_one(side, within) for side in self.sides))

    async def bind_one(self, side: Side, within: float) -> None:
        """Bind an endpoint and wait for its relay."""
        how: dict[str, Any] = {"alpns": [ALPN], "relay": RELAY_URL}
        if side.asks:
            side.info = await side.peer.call("bind_with_qad", port=QAD_PORT, **how)
        else:
            side.info = await side.peer.call("bind", **how)
        side.endpoint = side.info["endpoint"]
        await side.peer.call("online", within, endpoint=side.endpoint)
        await self.tell_outside(side)

    async def tell_outside(self, side: Side) -> None:
        """Tell an endpoint what its NAT makes of its port: the lab knows.

        What QAD would leave in the NAT on its way, a mapping, is put there, too. Who asks by
        itself is told nothing.
        """
        if side.asks:
            return
        outside = self.house.outside(side.host)
        now = [f"{outside}:{side.port()}"] if outside else []
        if now != side.told:
            before = [text for text in side.told if text not in now]
            add = [text for text in now if text not in side.told]
            await side.peer.call("external", endpoint=side.endpoint, add=add, remove=before)
            side.told = now
        if outside:
            await asyncio.to_thread(self.lab.map_port, side.host, int(side.port()))

    async def replug(self, side: Side, on: str, link: Link | None = None) -> None:
        """Move a side's host to another network."""
        await asyncio.to_thread(self.lab.replug, side.host, on, link)
        await self.tell_outside(side)

    async def connect(self, within: float = WITHIN) -> None:
        """Dial by relay only, and look at the first path on both sides."""
        await self.bind(within)
        self.dialed_at = time.monotonic()
        accepting = self.listener.peer.begin("accept", within + 5, endpoint=self.listener.endpoint)
        where = {"id": self.listener.info["id"], "relay": RELAY_URL}
        dialing = self.dialer.peer.begin(
            "connect", within, endpoint=self.dialer.endpoint, alpn=ALPN, **where
        )
        try:
            answers = await asyncio.gather(dialing, accepting)
        finally:
            dialing.cancel()
            accepting.cancel()
        for side, answer in zip(self.sides, answers, strict=True):
            side.connection = answer["connection"]
            await side.call("serve_echo")
            await side.call("watch")
        # The listener's first packet tells how it began; paths may be direct by the time we look.
        if not answers[1]["relayed"]:
            raise Failed("did not start relayed")
        self.figures["connect ms"] = answers[0]["ms"]

    async def until(self, side: Side, within: float = WITHIN, **wanted: Any) -> dict[str, Any]:
        """Wait until a side's selected path is as wanted; give it. Raises Failed."""
        found = await side.call("until", within, **{"seconds": within, **wanted})
        if not found:
            notes = (await side.call("notes"))["notes"]
            raise Failed(
                f"{side.name}: want {wanted or 'direct'} in {within} s, had {brief(notes)}"
            )
        return found

    async def direct(self, within: float = WITHIN) -> None:
        """Wait until both sides send directly; note when."""
        found = await asyncio.gather(*(self.until(side, within) for side in self.sides))
        self.figures["direct s"] = round(max(f["at"] for f in found) - self.dialed_at, 3)

    async def relayed(self, seconds: float = 3.0) -> None:
        """Watch for a while that neither side becomes direct. Raises Failed."""
        ended = time.monotonic() + seconds
        found = await asyncio.gather(
            *(side.call("until", seconds, seconds=seconds) for side in self.sides)
        )
        if any(found):
            raise Failed(f"became direct: {found}")
        await asyncio.sleep(max(0, ended - time.monotonic()))

    async def ping(self, by: Side | None = None, within: float = WITHIN) -> float:
        """Echo 8 bytes on a new stream; give the milliseconds. Raises PeerError."""
        told = await (by or self.dialer).call("ping", within, seconds=within)
        return float(told["ms"])

    async def flow(self, within: float = WITHIN, **how: Any) -> None:
        """Start bytes in both directions; note when the first came to the listener."""
        begun = await asyncio.gather(
            *(side.call("flow", within, seed=side.name, **how) for side in self.sides)
        )
        self.figures["first byte s"] = round(begun[1]["first"] - self.dialed_at, 3)

    async def end_flow(self, within: float = 60.0) -> None:
        """End the flow; note what was lost and the longest stall. Raises Failed for wrong bytes."""
        a, b = await asyncio.gather(*(side.call("end_flow", within) for side in self.sides))
        lost = a["sent"] - b["got"] + b["sent"] - a["got"]
        self.figures["lost"] = lost
        gaps = [*a["gaps"][:1], *b["gaps"][:1]]
        self.figures["late ms"] = round(1000 * max(a["late"], b["late"]), 1)
        self.figures["stall ms"] = round(1000 * max(gap["seconds"] for gap in gaps), 1)
        if lost or a["out"] != b["into"] or b["out"] != a["into"]:
            raise Failed(f"bytes lost or wrong: {a} {b}")

    def leave(self) -> None:
        """Let both endpoints close, unattended; the processes stay for other stages."""
        for side in self.sides:
            if side.endpoint:
                closing = side.peer.begin("unbind", endpoint=side.endpoint)
                self.house.closing.add(closing)
                closing.add_done_callback(self.house.closing.discard)


def brief(notes: list[dict[str, Any]]) -> str:
    """Tell a few notes in one line."""
    return ", ".join(f"{note['remote']} (rtt {note['rtt']})" for note in notes[-6:])
