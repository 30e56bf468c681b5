"""The how-to pages and the examples do what they say, each in a process of its own."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ELSEWHERE = {"use-trio", "use-the-command-line"}  # by the session `trio`; below
PAGES = sorted(
    page for page in (ROOT / "docs" / "howto").glob("*.md") if page.stem not in ELSEWHERE
)
UNIX = ROOT / "examples" / "unix_transport.py"
STRICT = (sys.executable, "-W", "error")

pytestmark = pytest.mark.skipif(not UNIX.exists(), reason="pages and examples are in the checkout")


async def run(*command: str) -> str:
    """Run Python; nothing may be said on stderr. Gives stdout."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*STRICT, *command, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out.decode()


def blocks(page: Path, kind: str) -> str:
    return "".join(re.findall(rf"```{kind}\n(.*?)```", page.read_text(), re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_the_blocks_of_a_page_are_one_program(page: Path) -> None:
    """What it prints is what the page's `text` blocks say."""
    program = blocks(page, "python")
    assert program
    assert await run("-c", program) == blocks(page, "text")


@pytest.mark.skipif(os.name != "posix", reason="the page is for a POSIX shell")
async def test_the_command_lines_of_a_page_are_one_script(tmp_path: Path) -> None:
    """What it prints is what the page's `text` blocks say."""
    page = ROOT / "docs" / "howto" / "use-the-command-line.md"
    program, here = tmp_path / "bin" / "iroh", tmp_path / "here"
    program.parent.mkdir()
    here.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m iroh "$@"\n')
    program.chmod(0o755)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *("bash", "-ec", blocks(page, "sh")),
        cwd=here,
        env={**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,  # what it started in the background ends with it
    )
    try:
        async with asyncio.timeout(40):
            out, err = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, err) == (0, b"")
    assert out.decode() == blocks(page, "text")


async def test_the_unix_transport_in_one_process() -> None:
    assert "hello over a Unix socket\nfrom " in await run(str(UNIX))


async def test_echo_without_async() -> None:
    echo = str(ROOT / "examples" / "echo_sync.py")
    assert await run(echo) == "hello without async\n"
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(*STRICT, echo, "serve", stdout=pipe, stderr=pipe)
    assert server.stdout is not None
    ticket = (await server.stdout.readline()).decode().strip()
    assert await run(echo, "dial", ticket, "from", "afar") == "from afar\n"
    server.send_signal(signal.SIGINT)
    assert await server.communicate() == (b"bye\n", b"")
    assert server.returncode == 0


async def test_the_unix_transport_between_processes() -> None:
    pipe = asyncio.subprocess.PIPE
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        server = await asyncio.create_subprocess_exec(
            *(*STRICT, str(UNIX), "serve", folder), stdout=pipe, stderr=pipe
        )
        assert server.stdout is not None
        ticket = (await server.stdout.readline()).decode().strip()
        said = await run(str(UNIX), "dial", ticket)
        (name,) = os.listdir(folder)
        assert said.startswith("hello over a Unix socket\n")
        assert said.endswith(f" over 554e4958_{os.path.join(folder, name).encode().hex()}\n")
        server.send_signal(signal.SIGINT)
        assert await server.communicate() == (b"", b"")
        assert server.returncode == 0
        assert os.listdir(folder) == []
