"""Drives an endpoint in another process (peer_ffi.py), and proves whose endpoint it is.

A `Peer` is a subprocess that answers JSON lines. `rust` runs in an environment that holds PyPI
`iroh==1.2.0` and nothing of ours; `ours` runs in this one. Nothing a peer says counts before
`prove` has looked at what it is made of.
"""

import asyncio
import collections
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAMS = {
    "rust": Path(__file__).with_name("peer_ffi.py"),
    "ours": Path(__file__).with_name("peer_ours.py"),
}
RUST_VERSION = "1.2.0"
RUST_LIBRARY_MIN = 5_000_000
"""Bytes; the library of 1.2.0 has 18.6 MB on Linux x86-64. A stub would be smaller."""
RUST_LIBRARIES = {
    "93cacc4d2e3481c225f6de25599798ab1f221313a0ffd168fadf49cdc75ac7a1": "linux x86-64",
}
"""SHA-256 of libraries in the 1.2.0 wheels that we have met; others are reported as unknown."""
OUR_MODULES = {"iroh_base", "iroh_relay", "iroh_dns_server"}
DEADLINE = 20.0


class PeerError(Exception):
    """A command failed at the peer: what it raised there, in the bindings' terms."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(f"{told['type']}: {told['repr']}")
        self.type: str = told["type"]
        self.kind: str | None = told["kind"]
        self.message: str = told["message"]

    @property
    def last_line(self) -> str:
        """The innermost cause: the bindings put a chain of them into the message."""
        line = (self.message or str(self)).strip().splitlines()[-1].strip()
        return line.partition(" (/")[0][:160]  # without the place in a source on another machine


class PeerGone(Exception):
    """The process ended, or did not answer in time. The text carries the end of its stderr."""


class NotProven(Exception):
    """The peer is not what it must be."""


def rust_python() -> str:
    """Give the interpreter of the Rust environment; the interop session names it."""
    python = os.environ.get("IROH_RUST_PYTHON")
    if not python:
        raise NotProven("IROH_RUST_PYTHON is not set: run `python3 tools/run.py interop`")
    return python


def prove(kind: str, hello: dict[str, Any]) -> str:
    """Check what a peer is made of; give it in one line. Raises NotProven."""
    library = hello.get("library")
    importable = set(hello["importable"])
    module = Path(hello["module"])
    if kind == "ours":
        engine = str(hello.get("engine"))
        if library is not None or importable < OUR_MODULES or not engine.startswith("iroh.quic."):
            raise NotProven(f"this is not our endpoint: {hello}")
        return f"iroh in Python {hello['version']}, engine {engine}, CPython {hello['python']}"
    if importable:
        raise NotProven(f"the Rust peer's environment can import {sorted(importable)}")
    if hello["version"] != RUST_VERSION:
        raise NotProven(f"want iroh {RUST_VERSION}, have {hello['version']}")
    if library is None or library["size"] < RUST_LIBRARY_MIN or library["mapped"] is False:
        raise NotProven(f"no Rust library is loaded: {library}")
    inside = Path(hello["prefix"])
    if not (module.is_relative_to(inside) and Path(library["path"]).is_relative_to(inside)):
        raise NotProven(f"{module} or its library lies outside of {inside}")
    if inside == Path(sys.prefix):
        raise NotProven("the Rust peer shares our environment")
    known = RUST_LIBRARIES.get(library["sha256"], "platform not met before")
    return (
        f"PyPI iroh {hello['version']} (Rust iroh 1.4.1), library {library['size']} bytes, "
        f"sha256 {library['sha256']} ({known})"
    )


@dataclass(slots=True)
class Peer:
    """A running peer. Make one with `Peer.spawn`; leave its context to end it."""

    kind: str
    process: asyncio.subprocess.Process
    proof: str = ""
    errors: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=60))
    waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    readers: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def spawn(
        cls, kind: str, prefix: tuple[str, ...] = (), program: Path | None = None
    ) -> Self:
        """Start a peer, `rust` or `ours`, and prove it.

        `prefix`: words to run it under. `program`: another than that of PROGRAMS, with the same
        commands and more.
        """
        python = rust_python() if kind == "rust" else sys.executable
        command = (*prefix, python, "-I", str(program or PROGRAMS[kind]))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/"
        )
        peer = cls(kind, process)
        peer.readers = [
            asyncio.create_task(peer.read_answers()),
            asyncio.create_task(peer.read_errors()),
        ]
        try:
            peer.proof = prove(kind, await peer.call("hello"))
        except BaseException:
            await peer.end()
            raise
        return peer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.end()

    async def call(self, verb: str, within: float = DEADLINE, **arguments: Any) -> dict[str, Any]:
        """Run a command at the peer. Raises PeerError, PeerGone. Cancelling forgets the answer."""
        number = next(self.numbers)
        future = asyncio.get_running_loop().create_future()
        self.waiting[number] = future
        line = json.dumps({"id": number, "do": verb, "with": arguments}) + "\n"
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode())
        try:
            async with asyncio.timeout(within):
                reply = await future
        except TimeoutError:
            raise PeerGone(f"{self.kind}: no answer to {verb} in {within} s{self.tail()}") from None
        finally:
            self.waiting.pop(number, None)
        if "error" in reply:
            raise PeerError(reply["error"])
        answered: dict[str, Any] = reply["ok"]
        return answered

    def begin(
        self, verb: str, within: float = DEADLINE, **arguments: Any
    ) -> asyncio.Task[dict[str, Any]]:
        """Start a command that will be answered later, like `accept`."""
        return asyncio.create_task(self.call(verb, within, **arguments))

    async def kill(self) -> None:
        """End the process without a chance to say goodbye (SIGKILL)."""
        self.process.kill()
        await self.process.wait()

    def tail(self) -> str:
        """Give the last lines of the peer's stderr, for messages."""
        return "".join(f"\n    {self.kind}| {line}" for line in list(self.errors)[-25:])

    async def read_answers(self) -> None:
        """Hand each answer to who waits for it; at the end, tell all that nothing more comes."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            reply = json.loads(line)
            future = self.waiting.get(reply["id"])
            if future is not None and not future.done():
                future.set_result(reply)
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(PeerGone(f"{self.kind}: the process ended{self.tail()}"))

    async def read_errors(self) -> None:
        """Keep the end of stderr."""
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.errors.append(line.decode(errors="replace").rstrip())

    async def end(self) -> None:
        """Close the peer's stdin, which ends it; kill it when that takes too long."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise PeerGone(f"{self.kind}: did not end when asked{self.tail()}") from None
        finally:
            for reader in self.readers:
                reader.cancel()
            await asyncio.gather(*self.readers, return_exceptions=True)
            # The transport closes with its last pipe; wait, or it warns when it is collected.
            self.process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
