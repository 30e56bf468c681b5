"""Every page, every README and every example does what it says, in a process of its own."""

import asyncio
import contextlib
import json
import os
import pkgutil
import re
import signal
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
ELSEWHERE = {"docs/howto/use-trio.md"}  # by the session `trio`
TEXTS = [*ROOT.glob("README.md"), *ROOT.glob("packages/*/README.md"), *ROOT.glob("docs/**/*.md")]
PAGES = {
    str(path.relative_to(ROOT)): path for path in sorted(TEXTS) if "```python" in path.read_text()
}
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


RUN_CELLS = """
import ast, asyncio, inspect, json, sys
async def main():
    names = {"__name__": "__main__"}
    for cell in json.loads(sys.argv[1]):
        code = compile(cell, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if inspect.iscoroutine(result := eval(code, names)):
            await result
asyncio.run(main())
"""
"""Runs cells as a notebook does."""


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page.read_text(), re.DOTALL)


def awaits(program: str) -> bool:
    """Say whether there is an `await` outside of functions."""
    try:
        compile(program, "page", "exec")
    except SyntaxError:
        return True
    return False


@pytest.mark.parametrize("page", sorted(PAGES.keys() - ELSEWHERE))
async def test_the_blocks_of_a_page_are_one_program(page: str) -> None:
    """What it prints is what the page's `text` blocks say, or comments beside `print`."""
    cells = blocks(PAGES[page], "python")
    program = "\n".join(cells)
    comments = re.findall(r"^ *print\(.*\)  # (.*\n)", program, re.MULTILINE)
    said = "".join(blocks(PAGES[page], "text") or comments)
    if awaits(program):
        out = await run("-c", RUN_CELLS, json.dumps(cells))
    else:
        out = await run("-c", program)
    assert re.sub(r":\d{4,5}\b", ":PORT", out) == re.sub(r":\d{4,5}\b", ":PORT", said)


def test_all_pages_are_seen() -> None:
    """A page whose Python is in blocks of another kind would not be run."""
    assert len([page for page in PAGES if page.endswith("README.md")]) == 5
    for path in TEXTS:
        assert not re.search(r"```(py|Python|pycon)\n", path.read_text()), path


def test_the_page_of_a_package_links_to_nothing_in_the_repository() -> None:
    """It is its page on a package index, too, where such a link leads nowhere."""
    for readme in ROOT.glob("packages/*/README.md"):
        assert not re.search(r"\]\((?!https://|#)", readme.read_text()), readme


def test_each_mechanism_is_here_by_its_name() -> None:
    """The names in the table of how-it-connects.md, which readers of other texts look for."""
    page = (ROOT / "docs" / "how-it-connects.md").read_text()
    names = re.findall(r"`(iroh\w*\.[\w.]*\w)`", page)
    assert len(names) > 50
    for name in names:
        pkgutil.resolve_name(name)


def shown(directive: str) -> list[Any]:
    """What mkdocstrings shows for it: an object, or all that a module makes public."""
    found = pkgutil.resolve_name(directive)
    if not isinstance(found, ModuleType):
        return [found]
    public = getattr(found, "__all__", None) or [
        name
        for name, value in vars(found).items()
        if name[0] != "_" and getattr(value, "__module__", None) == directive
    ]
    return [found, *(getattr(found, name) for name in public)]


@pytest.mark.parametrize(
    "package",
    [
        *("iroh", "iroh.address_lookup", "iroh.protocols", "iroh.resolver", "iroh.testing"),
        *("iroh_base", "iroh_relay.server", "iroh_relay.client", "iroh_dns_server"),
    ],
)
def test_each_public_name_is_in_the_reference(package: str) -> None:
    pages = [path.read_text() for path in ROOT.glob("docs/reference/*.md") if path.stem != "trio"]
    directives = re.findall(r"^::: (\S+)$", "\n".join(pages), re.MULTILINE)
    there = [each for directive in directives for each in shown(directive)]
    module = pkgutil.resolve_name(package)
    names = [name for name in module.__all__ if name != "presets"]
    assert [n for n in names if not any(each is getattr(module, n) for each in there)] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [("echo", "hello from asyncio\n"), ("echo_sync", "hello without async\n")],
)
async def test_echo(name: str, said: str) -> None:
    assert await run(str(ROOT / "examples" / f"{name}.py")) == said


async def test_chat() -> None:
    """Each sees what the other types, and both come to their end."""
    pipe = asyncio.subprocess.PIPE
    chat = (*STRICT, str(ROOT / "examples" / "chat.py"))
    pipes = {"stdin": pipe, "stdout": pipe, "stderr": pipe}
    host = await asyncio.create_subprocess_exec(*chat, **pipes)
    assert host.stdout is not None
    ticket = (await host.stdout.readline()).decode().strip()
    guest = await asyncio.create_subprocess_exec(*chat, ticket, **pipes)
    said = await asyncio.gather(host.communicate(b"hi\nthere\n"), guest.communicate(b"oh\n"))
    assert [re.sub(rb"\b[0-9a-f]{10}\b", b"x", out) for out, _ in said] == [
        b"x: oh\n",
        b"x: hi\nx: there\n",
    ]
    assert [err for _, err in said] == [b"", b""]
    assert (host.returncode, guest.returncode) == (0, 0)


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
        *("bash", "-ec", "".join(blocks(page, "sh"))),
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
    assert out.decode() == "".join(blocks(page, "text"))


async def test_the_unix_transport_in_one_process() -> None:
    assert "hello over a Unix socket\nfrom " in await run(str(UNIX))


async def test_echo_without_async_between_processes() -> None:
    echo = str(ROOT / "examples" / "echo_sync.py")
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
