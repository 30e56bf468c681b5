"""Our relay and our DNS server, each in a process of its own (serve.py).

What they counted is the proof that traffic went through them.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(__file__).with_name("serve.py")
READY_WITHIN = 15.0
END_WITHIN = 10.0


class ServerFailed(Exception):
    """A server did not start, died, or did not end when asked. Its stderr is in the log above."""


@dataclass(slots=True)
class Server:
    """A running server: its URL, and what it counted."""

    name: str
    url: str
    process: asyncio.subprocess.Process

    async def counters(self) -> dict[str, int]:
        """Ask for all counters, by their names upstream. Raises ServerFailed. Not concurrent."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"counters\n")
        return await read_line(self.name, self.process)

    async def until(self, counter: str, value: int) -> dict[str, int]:
        """Wait until a counter has reached a value. The test's time limit ends the wait."""
        while (counters := await self.counters())[counter] < value:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # another process: there is no event to wait for
        return counters


async def read_line(name: str, process: asyncio.subprocess.Process) -> dict[str, int]:
    """Read one JSON line. Raises ServerFailed."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN):
            line = await process.stdout.readline()
    except TimeoutError:
        raise ServerFailed(f"{name}: no answer in {READY_WITHIN} s") from None
    if not line:
        raise ServerFailed(f"{name}: the process ended")
    answered: dict[str, int] = json.loads(line)
    return answered


@asynccontextmanager
async def running(
    name: str, *arguments: str, prefix: tuple[str, ...] = ()
) -> AsyncIterator[Server]:
    """Run `relay` or `dns` until the context ends; it must live until then and end by itself."""
    command = (*prefix, sys.executable, "-I", str(PROGRAM), name, *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    try:
        told = await read_line(name, process)
        yield Server(name, str(told["url"]), process)
        if process.returncode is not None:
            raise ServerFailed(f"{name}: died with {process.returncode}")
    finally:
        process.stdin.close()
        await end(name, process)


async def end(name: str, process: asyncio.subprocess.Process) -> None:
    """Wait for a process whose stdin was closed. Raises ServerFailed when it was not fine."""
    try:
        async with asyncio.timeout(END_WITHIN):
            status = await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ServerFailed(f"{name}: did not end when asked") from None
    finally:
        # Its transport closes with its last pipe; without this it warns when it is collected.
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
    if status != 0:
        raise ServerFailed(f"{name}: ended with {status}")
