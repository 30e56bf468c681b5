"""The program `iroh` in processes of its own, on loopback, without relay and lookup."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

LOCAL = ("--preset", "minimal", "--bind", "127.0.0.1:0")
PIPE = asyncio.subprocess.PIPE


@dataclass
class Program:
    """A running `iroh`."""

    process: asyncio.subprocess.Process

    async def line(self, stream: str = "stdout") -> str:
        """Return the next line that it says."""
        return (await getattr(self.process, stream).readline()).decode().strip()

    async def event(self, kind: str, stream: str = "stdout") -> dict[str, Any]:
        """Return its next event of a kind, of those that --json gives."""
        while line := await self.line(stream):
            event = json.loads(line)
            if event["event"] == kind:
                return event
        raise AssertionError(f"ended without {kind}")

    async def end(self, data: bytes | None = None) -> tuple[int, str, str]:
        """Give it input, wait for its end: status, stdout, stderr."""
        out, err = await self.process.communicate(data)
        assert self.process.returncode is not None
        assert b"Traceback" not in err
        return self.process.returncode, out.decode(), err.decode()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


Start = Callable[..., Awaitable[Program]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start `iroh` with arguments; `network=False` for commands that bind nothing."""
    programs: list[Program] = []

    async def start(*arguments: str, network: bool = True, env=None) -> Program:
        command = [sys.executable, "-W", "error", "-m", "iroh", *arguments]
        process = await asyncio.create_subprocess_exec(
            *command,
            *(LOCAL if network else ()),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={**os.environ, **(env or {})},
        )
        programs.append(Program(process))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.returncode is None:
            program.process.kill()
            await program.process.communicate()
