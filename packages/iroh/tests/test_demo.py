"""`tools/demo.py`: it works, says why when it does not, and leaves no child behind."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[3] / "tools" / "demo.py"

pytestmark = [
    pytest.mark.skipif(not DEMO.exists(), reason="the demo is part of the checkout"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for children in /proc"),
]


class Demo:
    """A running demo."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def until(self, text: str) -> None:
        while text not in self.said:
            line = await self.process.stdout.readline()
            assert line, f"ended without {text!r}: {self.said}"
            self.said += line.decode()

    async def end(self) -> tuple[int, str]:
        """Wait for the end; gives the exit status and stderr."""
        out, err = await self.process.communicate()
        self.said += out.decode()
        return self.process.returncode, err.decode()

    def children(self) -> dict[str, int]:
        """The living children by what they are: relay, dns, accept, dial."""
        pid = self.process.pid
        found = {}
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            name = words[2] if words[1].endswith("demo.py") else words[2].rpartition(".")[2]
            found[name] = int(child)
        return found


@asynccontextmanager
async def start(*arguments: str) -> AsyncIterator[Demo]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(DEMO), *arguments), stdout=pipe, stderr=pipe
    )
    try:
        yield Demo(process)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


def gone(pids: dict[str, int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids.values())


async def test_it_finds_by_id_alone_and_compares() -> None:
    async with start("--mib", "1") as demo:
        status, errors = await demo.end()
    assert (status, errors) == (0, "")
    for line in (
        r" accept  an endpoint is up: [0-9a-f]{64}\n",
        r" dns  TXT _iroh\.[a-z0-9]{52}\.irohdns\.example\. \?\n",
        r" dns  relay=http://127\.0\.0\.1:\d+/\n",
        r" handshake  \d+ ms to a QUIC connection with [0-9a-f]{64}\n",
        r" path  (relay|direct): ",
        r" echo +1\.0 of 1 MiB",
        r"\nthroughput  [0-9.]+ MiB/s",
        r" checksum  sha256 [0-9a-f]{64} equal\n",
    ):
        assert re.search(line, demo.said), line
    assert "\r" not in demo.said


async def test_an_interrupt_ends_it_and_all_its_children() -> None:
    async with start("--mib", "4000") as demo:
        await demo.until(" echo ")
        pids = demo.children()
        assert pids.keys() == {"iroh_relay", "iroh_dns_server", "accept", "dial"}
        demo.process.send_signal(signal.SIGINT)
        assert await demo.end() == (128 + signal.SIGINT, "")
    assert gone(pids)


async def test_a_child_that_dies_is_named() -> None:
    async with start("--mib", "4000") as demo:
        await demo.until(" echo ")
        pids = demo.children()
        os.kill(pids["accept"], signal.SIGKILL)
        status, errors = await demo.end()
    assert status == 1
    assert errors.startswith("demo: accept ended by signal 9; it said:\n")
    assert gone(pids)


async def test_wrong_options_are_explained() -> None:
    async with start("--mib", "0") as demo:
        status, errors = await demo.end()
    assert status == 2
    assert "usage: demo" in errors


async def test_an_endpoint_that_fails_says_why_in_a_line() -> None:
    dead = ["--relay", "http://127.0.0.1:1", "--pkarr", "http://127.0.0.1:1/pkarr"]
    async with start("dial", "--id", "zz", "--nameserver", "127.0.0.1:1", *dead) as demo:
        status, errors = await demo.end()
    assert status == 1
    assert errors.startswith("demo: ")
    assert len(errors.splitlines()) == 1
