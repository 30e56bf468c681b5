"""The main job, to be watched: two endpoints find each other by public key alone and talk.

    demo.py ---starts---> iroh-relay --dev        our relay, on loopback
                          iroh-dns-server --dev   our pkarr and DNS server, on loopback
                          demo.py accept          publishes itself, then serves echo
                          demo.py dial            knows nothing but the EndpointId

Four processes besides this one. The dialler moves 64 MiB through the echo protocol and compares
checksums. All it learns is the listener's relay; that the two find a direct path while the data
flows is told with its time. Exit status 0 only if they are equal. Ctrl-C ends all of them.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from iroh import Connection, SendStream
    from iroh.presets import SelfHosted

T = TypeVar("T")

MIB = 1 << 20
CHUNK = 1 << 16
ORIGIN = "irohdns.example."
"""The zone of the demo's DNS server, upstream's name for the same purpose."""
STEP_TIMEOUT = 60.0  # seconds for one step of the story
STOP_TIMEOUT = 10.0  # seconds a child gets to end by itself
REPORT_INTERVAL = 0.1  # seconds between two reports of progress


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


# -- the two endpoints, each a process of its own -----------------------------------------------


def report(fact: str, **details: object) -> None:
    """Tell the process that watches us: one JSON object a line."""
    print(json.dumps({"fact": fact, **details}), flush=True)


def preset(args: argparse.Namespace) -> "SelfHosted":
    from iroh import presets

    return presets.SelfHosted(
        [args.relay], pkarr=args.pkarr, dns_origin=ORIGIN, nameservers=[args.nameserver]
    )


async def accept(args: argparse.Namespace) -> int:
    """Publish ourselves and serve echo until we are told to stop."""
    from iroh import Endpoint
    from iroh.protocols import ECHO_ALPN, Echo

    stop = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows: there we are just ended
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Endpoint.bind(preset(args), protocols={ECHO_ALPN: Echo()}) as endpoint:
        report("id", id=str(endpoint.id()))
        await endpoint.online()
        report("online")
        await stop.wait()
    return 0


async def dial(args: argparse.Namespace) -> int:
    """Dial an EndpointId, send much, read it back, compare."""
    from iroh import DnsResolver, Endpoint, EndpointId
    from iroh.protocols import ECHO_ALPN

    peer = EndpointId.from_string(args.id)
    name = f"_iroh.{peer.to_z32()}.{ORIGIN}"
    records = await DnsResolver(nameservers=[args.nameserver]).lookup_txt(name)
    report("dns", name=name, answer=[str(record) for record in records])
    async with Endpoint.bind(preset(args)) as endpoint:
        start = time.perf_counter()
        async with await endpoint.connect(peer, ECHO_ALPN) as connection:
            seconds = time.perf_counter() - start
            report("handshake", seconds=seconds, peer=str(connection.remote_id()))
            telling = asyncio.create_task(tell_paths(connection, time.perf_counter()))
            equal = await transfer(connection, args.mib * MIB)
            telling.cancel()
            await asyncio.wait((telling,))
            stats = connection.stats()
            report("packets", sent=stats.udp_tx_datagrams, lost=stats.lost_packets)
    return 0 if equal else 1


async def tell_paths(connection: "Connection", start: float) -> None:
    """Report the path that carries the data, and each other one that takes over."""
    known = ""
    async for paths in connection.watch_paths():
        for path in paths:
            if path.is_selected and path.remote_addr != known:
                known = path.remote_addr
                kind = "relay" if path.is_relay else "direct"
                seconds = time.perf_counter() - start
                report("path", kind=kind, remote=known, seconds=seconds, rtt=path.rtt_ms)


async def transfer(connection: "Connection", size: int) -> bool:
    """Echo `size` bytes, and say whether they came back as they were."""
    send, recv = await connection.open_bi()
    start = shown = time.perf_counter()
    received, done, first = hashlib.sha256(), 0, 0.0
    async with asyncio.TaskGroup() as tasks:
        upload = tasks.create_task(send_random(send, size))
        async for chunk in recv:
            now = time.perf_counter()
            first = first or now - start
            received.update(chunk)
            done += len(chunk)
            if now - shown > REPORT_INTERVAL or done == size:
                shown = now
                report("progress", done=done, size=size)
    seconds = time.perf_counter() - start
    digest = received.hexdigest()
    equal = done == size and digest == upload.result()
    report("transfer", size=size, seconds=seconds, first=first, sha256=digest, equal=equal)
    return equal


async def send_random(send: "SendStream", size: int) -> str:
    """Send `size` random bytes and the end; gives their SHA-256."""
    sent = hashlib.sha256()
    for at in range(0, size, CHUNK):
        chunk = os.urandom(min(CHUNK, size - at))
        sent.update(chunk)
        await send.write_all(chunk)
    await send.finish()
    return sent.hexdigest()


# -- the processes, seen from the one that watches ------------------------------------------------


@dataclass
class Child:
    """A process and the lines it prints."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    async def line(self, pattern: str) -> re.Match[str]:
        """Wait for a line of its output that matches."""
        try:
            async with asyncio.timeout(STEP_TIMEOUT):
                async for line in self._lines():
                    if match := re.search(pattern, line):
                        return match
        except TimeoutError:
            raise DemoFailed(f"{self.name} does nothing; it said:\n{self.said()}") from None
        raise await self.failure()

    async def facts(self) -> AsyncIterator[dict[str, Any]]:
        """Give what it reports until it ends."""
        async for line in self._lines():
            yield json.loads(line)

    async def fact(self, name: str) -> dict[str, Any]:
        """Wait for one fact."""
        match = await self.line(rf'^{{"fact": "{name}".*}}$')
        fact: dict[str, Any] = json.loads(match[0])
        return fact

    async def failure(self) -> DemoFailed:
        """Say how it ended, and what it said."""
        status = await self.process.wait()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return DemoFailed(f"{self.name} ended {how}; it said:\n{self.said()}")

    def said(self) -> str:
        """The end of what it wrote to stderr."""
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        return "\n".join(f"    {line}" for line in lines[-20:]) or "    nothing"

    async def _lines(self) -> AsyncIterator[str]:
        stream = self.process.stdout
        assert stream is not None
        while data := await stream.readline():
            yield data.decode("utf-8", "replace").strip()


class Family:
    """All child processes; none outlives the demo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for child in self._children:
            if child.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.process.terminate()
        await asyncio.gather(*(self._reap(child) for child in self._children))

    async def _reap(self, child: Child) -> None:
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await child.process.wait()
        except TimeoutError:
            child.process.kill()
            await child.process.wait()

    async def start(self, name: str, *command: str) -> Child:
        """Start a Python program; its stderr goes to a file of its own."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    async def while_alive(self, children: list[Child], story: Coroutine[Any, Any, T]) -> T:
        """Run a part of the story; fail as soon as one of these children ends."""
        telling = asyncio.create_task(story)
        ends = {asyncio.create_task(child.process.wait()): child for child in children}
        try:
            await asyncio.wait((telling, *ends), return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                return telling.result()
            raise await next(child for end, child in ends.items() if end.done()).failure()
        finally:
            for task in (telling, *ends):
                task.cancel()
            await asyncio.wait((telling, *ends))


# -- the story ------------------------------------------------------------------------------------


def say(step: str, text: str) -> None:
    print(f"{step:>10}  {text}", flush=True)


class Progress:
    """A bar on a terminal, a line every tenth elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._start = time.perf_counter()
        self._tenth = -1

    def make_room(self) -> None:
        """Let something else be said: an unfinished bar keeps its line."""
        if self._is_terminal and 0 <= self._tenth < 10:
            print()

    def show(self, done: int, size: int) -> None:
        rate = done / MIB / max(time.perf_counter() - self._start, 1e-9)
        text = f"{done / MIB:6.1f} of {size / MIB:.0f} MiB  {rate:5.1f} MiB/s"
        tenth = done * 10 // size
        if self._is_terminal:
            width = max(5, min(30, shutil.get_terminal_size().columns - len(text) - 16))
            full = done * width // size
            bar = "#" * full + "." * (width - full)
            end = "\n" if done == size else ""
            print(f"\r{'echo':>10}  [{bar}] {text}", end=end, flush=True)
        elif tenth > self._tenth:
            say("echo", text)
        self._tenth = max(tenth, self._tenth)


class Story:
    """Tells the facts that the dialler reports; a method per fact."""

    def __init__(self) -> None:
        self.equal: bool | None = None
        self._progress = Progress()
        self._kind: str | None = None

    def tell(self, fact: str, **details: Any) -> None:
        getattr(self, f"on_{fact}")(**details)

    def on_dns(self, name: str, answer: list[str]) -> None:
        say("dial", "a second endpoint knows nothing but that EndpointId")
        say("dns", f"TXT {name} ?")
        say("dns", ", ".join(answer) or "no answer")

    def on_handshake(self, seconds: float, peer: str) -> None:
        say("handshake", f"{seconds * 1000:.0f} ms to a QUIC connection with {peer}")

    def on_path(self, kind: str, remote: str, seconds: float, rtt: int) -> None:
        if self._kind is None:
            say("path", f"{kind}: {remote} carries the data, sealed end to end")
            self._progress = Progress()  # the transfer begins
        else:
            self._progress.make_room()
            way = f"{self._kind} -> {kind}" if kind != self._kind else f"another {kind} path"
            say("path", f"{way} after {seconds * 1000:.0f} ms: {remote}, round trip {rtt} ms")
        self._kind = kind

    def on_progress(self, done: int, size: int) -> None:
        self._progress.show(done, size)

    def on_transfer(
        self, size: int, seconds: float, first: float, sha256: str, equal: bool
    ) -> None:
        self.equal = equal
        rate = size / MIB / seconds
        say("first byte", f"after {first * 1000:.1f} ms")
        say("throughput", f"{rate:.1f} MiB/s each way ({size / MIB:.0f} MiB in {seconds:.1f} s)")
        say("checksum", f"sha256 {sha256} {'equal' if equal else 'DIFFERENT'}")

    def on_packets(self, sent: int, lost: int) -> None:
        say("packets", f"{sent} sent by the dialler, {lost} lost and repaired")


async def watch(args: argparse.Namespace) -> int:
    """Start everything, tell what happens, stop everything."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError, AttributeError):  # Windows lacks them
        for name in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(name, task.cancel)
    with tempfile.TemporaryDirectory(prefix="iroh-demo-") as folder:
        async with Family(Path(folder)) as family:
            await play(family, args.mib)
    return 0


async def play(family: Family, mib: int) -> None:
    """The whole story. Raises DemoFailed."""
    relay, dns, servers = await start_servers(family)
    listener = await family.start("accept", __file__, "accept", *servers)
    alive = [relay, dns, listener]
    peer = await family.while_alive([relay, dns], start_listening(listener))
    dialler = await family.start(
        "dial", __file__, "dial", "--id", peer, "--mib", str(mib), *servers
    )
    await family.while_alive(alive, follow(dialler))


async def start_servers(family: Family) -> tuple[Child, Child, list[str]]:
    """Start relay and DNS server; gives them, and the options that name them."""
    relay = await family.start(
        "relay", "-m", "iroh_relay", "--dev", "--http-bind-addr", "127.0.0.1:0"
    )
    dns = await family.start(
        *("dns", "-m", "iroh_dns_server", "--dev", "--data-dir", str(family.folder / "dns")),
        *("--http-bind-addr", "127.0.0.1:0", "--dns-bind-addr", "127.0.0.1:0", "--origin", ORIGIN),
    )
    relay_url = (await relay.line(r"(http://\S+)"))[1]
    say("relay", f"our iroh-relay listens on {relay_url}")
    pkarr = (await dns.line(r"(http://\S+)"))[1].rstrip("/") + "/pkarr"
    nameserver = (await dns.line(r"dns on \S+ (\S+)"))[1]
    say("dns", f"our iroh-dns-server takes pkarr at {pkarr}, answers DNS at {nameserver}")
    return relay, dns, ["--relay", relay_url, "--pkarr", pkarr, "--nameserver", nameserver]


async def start_listening(listener: Child) -> str:
    """Wait until the accepting endpoint is published; gives its EndpointId."""
    peer: str = (await listener.fact("id"))["id"]
    say("accept", f"an endpoint is up: {peer}")
    await listener.fact("online")
    say("publish", "it is connected to its home relay and publishes the relay's URL by pkarr")
    return peer


async def follow(dialler: Child) -> None:
    """Tell the dialler's steps to the end. Raises DemoFailed unless the bytes were equal."""
    story = Story()
    async for fact in dialler.facts():
        story.tell(**fact)
    if story.equal is False:
        raise DemoFailed("the bytes that came back are not those that were sent")
    if await dialler.process.wait() != 0 or not story.equal:
        raise await dialler.failure()


# -- the program ----------------------------------------------------------------------------------


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    roles = ("watch", "accept", "dial")
    parser.add_argument("role", nargs="?", default="watch", choices=roles, help=argparse.SUPPRESS)
    parser.add_argument("--mib", type=int, default=64, help="how much to echo, MiB (64)")
    for hidden in ("--relay", "--pkarr", "--nameserver", "--id"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.mib < 1:
        parser.error("--mib must be at least 1")
    return args


async def play_role(args: argparse.Namespace) -> int:
    """Be one of the processes; errors that an endpoint explains are told in a line."""
    from iroh_base import IrohError

    roles = {"watch": watch, "accept": accept, "dial": dial}
    try:
        return await roles[args.role](args)
    except* (IrohError, DemoFailed) as errors:
        for error in errors.exceptions:
            print(f"demo: {error}", file=sys.stderr, flush=True)
    return 1


def main() -> int:
    args = parse(sys.argv[1:])
    try:
        return asyncio.run(play_role(args))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
