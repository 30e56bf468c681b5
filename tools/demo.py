"""The main job, to be watched: two endpoints find each other by public key alone and talk.

    demo.py ---starts---> iroh-relay --dev        our relay, on loopback
                          iroh-dns-server --dev   our pkarr and DNS server, on loopback
                          demo.py accept          publishes itself, then serves echo
                          demo.py dial            knows nothing but the EndpointId

Four processes besides this one. The dialler moves 64 MiB through the echo protocol and compares
checksums. Exit status 0 only if they are equal.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iroh.presets import SelfHosted

MIB = 1 << 20
ORIGIN = "irohdns.example."
"""The zone of the demo's DNS server, upstream's name for the same purpose."""
STEP_TIMEOUT = 60.0
RUN_TIMEOUT = 900.0


def say(step: str, text: str) -> None:
    print(f"{step:>10}  {text}", flush=True)


def fail(text: str) -> int:
    print(f"demo: {text}", file=sys.stderr, flush=True)
    return 1


# -- the two endpoints, each a process of its own -----------------------------------------------


def report(**facts: object) -> None:
    """Tell the process that watches us."""
    print(json.dumps(facts), flush=True)


def preset(args: argparse.Namespace) -> "SelfHosted":
    from iroh import presets

    return presets.SelfHosted(
        [args.relay], pkarr=args.pkarr, dns_origin=ORIGIN, nameservers=[args.nameserver]
    )


async def accept(args: argparse.Namespace) -> int:
    from iroh import Endpoint
    from iroh.protocols import ECHO_ALPN, Echo

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Endpoint.bind(preset(args), protocols={ECHO_ALPN: Echo()}) as endpoint:
        report(id=str(endpoint.id()), z32=endpoint.id().to_z32())
        await endpoint.online()
        report(online=True)
        await stop.wait()
    return 0


async def dial(args: argparse.Namespace) -> int:
    from iroh import DnsResolver, Endpoint, EndpointId
    from iroh.protocols import ECHO_ALPN

    peer = EndpointId.from_string(args.id)
    name = f"_iroh.{peer.to_z32()}.{ORIGIN}"
    records = await DnsResolver(nameservers=[args.nameserver]).lookup_txt(name)
    report(dns=name, answer=[str(record) for record in records])
    async with Endpoint.bind(preset(args)) as endpoint:
        start = time.perf_counter()
        connection = await endpoint.connect(peer, ECHO_ALPN)
        report(handshake=time.perf_counter() - start, peer=str(connection.remote_id()))
        async with connection:
            path = next(p for p in connection.paths() if p.is_selected)
            report(path="relay" if path.is_relay else "direct", remote=path.remote_addr)
            await transfer(connection, args.mib * MIB)
            stats = connection.stats()
            report(sent=stats.udp_tx_datagrams, lost=stats.lost_packets)
    return 0


async def transfer(connection: "object", size: int) -> None:
    """Send `size` bytes, read them back, compare."""
    from iroh import Connection

    assert isinstance(connection, Connection)
    send, recv = await connection.open_bi()
    sent, received = hashlib.sha256(), hashlib.sha256()
    start = time.perf_counter()

    async def upload() -> None:
        left = size
        while left:
            chunk = os.urandom(min(left, 1 << 16))
            sent.update(chunk)
            await send.write_all(chunk)
            left -= len(chunk)
        await send.finish()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(upload())
        done, shown, first = 0, 0.0, None
        async for chunk in recv:
            now = time.perf_counter()
            first = first or now - start
            received.update(chunk)
            done += len(chunk)
            if now - shown > 0.1 or done == size:
                shown = now
                report(done=done, size=size)
    seconds = time.perf_counter() - start
    equal = done == size and sent.digest() == received.digest()
    report(equal=equal, sha256=received.hexdigest(), seconds=seconds, first=first, size=size)


# -- the process that watches ---------------------------------------------------------------------


@dataclass
class Child:
    """A process and the lines it prints."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    async def line(self, pattern: str) -> re.Match[str]:
        """Wait for a line of its output that matches."""
        stream = self.process.stdout
        assert stream is not None
        async with asyncio.timeout(STEP_TIMEOUT):
            while data := await stream.readline():
                match = re.search(pattern, data.decode("utf-8", "replace"))
                if match:
                    return match
        raise RuntimeError(f"{self.name} ended early; it said:\n{self.said()}")

    async def facts(self) -> AsyncIterator[dict[str, object]]:
        """Give what it reports until it ends."""
        stream = self.process.stdout
        assert stream is not None
        while data := await stream.readline():
            yield json.loads(data)

    async def fact(self, key: str) -> object:
        """Wait for one fact."""
        async with asyncio.timeout(STEP_TIMEOUT):
            async for facts in self.facts():
                if key in facts:
                    return facts[key]
        raise RuntimeError(f"{self.name} ended early; it said:\n{self.said()}")

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace").strip()

    async def stop(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                async with asyncio.timeout(10):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


class Family:
    """All child processes; none outlives the demo."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    async def start(self, name: str, *command: str) -> Child:
        log = self._folder / f"{name}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    async def stop(self) -> None:
        for child in reversed(self._children):
            await child.stop()


class Progress:
    """A bar on a terminal, a line every tenth elsewhere."""

    def __init__(self) -> None:
        self._bar = sys.stdout.isatty()
        self._told = -1
        self._start = time.perf_counter()

    def show(self, done: int, size: int) -> None:
        tenth = done * 10 // size
        rate = done / MIB / max(time.perf_counter() - self._start, 1e-9)
        text = f"{done / MIB:6.1f} of {size / MIB:.0f} MiB  {rate:5.1f} MiB/s"
        if self._bar:
            full = done * 30 // size
            print(f"\r{'echo':>10}  [{'#' * full}{'.' * (30 - full)}] {text}", end="", flush=True)
            if done == size:
                print(flush=True)
        elif tenth > self._told:
            say("echo", text)
        self._told = max(tenth, self._told)


async def watch(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="iroh-demo-") as folder:
        family = Family(Path(folder))
        try:
            async with asyncio.timeout(RUN_TIMEOUT):
                return await play(family, Path(folder), args.mib)
        except TimeoutError:
            return fail("gave up: a step took too long")
        except RuntimeError as error:
            return fail(str(error))
        finally:
            await family.stop()


async def play(family: Family, folder: Path, mib: int) -> int:
    relay = await family.start(
        "relay", "-m", "iroh_relay", "--dev", "--http-bind-addr", "127.0.0.1:0"
    )
    dns = await family.start(
        *("dns", "-m", "iroh_dns_server", "--dev", "--data-dir", str(folder / "dns")),
        *("--http-bind-addr", "127.0.0.1:0", "--dns-bind-addr", "127.0.0.1:0", "--origin", ORIGIN),
    )
    relay_url = (await relay.line(r"(http://\S+)"))[1]
    pkarr = (await dns.line(r"(http://\S+)"))[1].rstrip("/") + "/pkarr"
    nameserver = (await dns.line(r"dns on \S+ (\S+)"))[1]
    say("relay", f"our iroh-relay listens on {relay_url}")
    say("dns", f"our iroh-dns-server takes pkarr at {pkarr}, answers DNS at {nameserver}")
    servers = ["--relay", relay_url, "--pkarr", pkarr, "--nameserver", nameserver]

    listener = await family.start("accept", __file__, "accept", *servers)
    peer = await listener.fact("id")
    say("accept", f"an endpoint is up: {peer}")
    await listener.fact("online")
    say("publish", "it is connected to its home relay and publishes the relay's URL by pkarr")

    dialler = await family.start(
        "dial", __file__, "dial", "--id", str(peer), "--mib", str(mib), *servers
    )
    return await follow(dialler)


async def follow(dialler: Child) -> int:
    """Tell the dialler's steps; its result is ours."""
    progress = Progress()
    equal = False
    async for facts in dialler.facts():
        match facts:
            case {"dns": name, "answer": [*answer]}:
                say("dial", "a second endpoint knows nothing but that EndpointId")
                say("dns", f"TXT {name} ?")
                say("dns", f"{', '.join(map(str, answer)) or 'no answer'}")
            case {"handshake": float(seconds), "peer": peer}:
                say("handshake", f"{seconds * 1000:.0f} ms to a QUIC connection with {peer}")
            case {"path": kind, "remote": remote}:
                say("path", f"{kind}: {remote} carries the data, sealed end to end")
            case {"done": int(done), "size": int(size)}:
                progress.show(done, size)
            case {
                "equal": ok,
                "sha256": digest,
                "seconds": float(seconds),
                "first": first,
                "size": int(size),
            }:
                equal = bool(ok)
                say("first byte", f"after {float(str(first)) * 1000:.1f} ms")
                rate = size / MIB / seconds
                say(
                    "throughput",
                    f"{rate:.1f} MiB/s each way ({size / MIB:.0f} MiB in {seconds:.1f} s)",
                )
                say("checksum", f"sha256 {digest} {'equal' if equal else 'DIFFERENT'}")
            case {"sent": sent, "lost": lost}:
                say("packets", f"{sent} sent by the dialler, {lost} lost and repaired")
    await dialler.process.wait()
    if dialler.process.returncode != 0:
        return fail(f"the dialler failed:\n{dialler.said()}")
    return 0 if equal else fail("the bytes that came back are not those that were sent")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "role",
        nargs="?",
        default="watch",
        choices=("watch", "accept", "dial"),
        help=argparse.SUPPRESS,
    )
    parser.add_argument("--mib", type=int, default=64, help="how much to echo, MiB (64)")
    for hidden in ("--relay", "--pkarr", "--nameserver", "--id"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.mib < 1:
        parser.error("--mib must be at least 1")
    roles = {"watch": watch, "accept": accept, "dial": dial}
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(roles[args.role](args))
    return 130


if __name__ == "__main__":
    sys.exit(main())
