"""The root conftest.py fails tests that leave something behind: each case here must not pass."""

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = "import asyncio, gc, socket, threading\nKEPT = []\n"
LEAKS = {
    "task": (
        "async def test():\n    KEPT.append(asyncio.create_task(asyncio.sleep(9)))\n",
        "tasks left running",
    ),
    "task_error": (
        "async def fail():\n    raise ValueError('unseen')\n"
        "async def test():\n    asyncio.create_task(fail())\n    await asyncio.sleep(0)\n",
        "errors that nobody handled",
    ),
    "thread": (
        "def test():\n"
        "    threading.Thread(target=threading.Event().wait, args=(2,), daemon=True).start()\n",
        "threads left running",
    ),
    "socket": ("def test():\n    socket.socket()\n", "unclosed <socket"),
    "socket_in_a_cycle": (
        "def test():\n    cycle = [socket.socket()]\n    cycle.append(cycle)\n",
        "unclosed <socket",
    ),
    "transport": (
        "async def test():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    await loop.create_datagram_endpoint(\n"
        "        asyncio.DatagramProtocol, local_addr=('127.0.0.1', 0))\n",
        "unclosed transport",
    ),
    "loop": ("def test():\n    asyncio.new_event_loop()\n", "unclosed event loop"),
    "coroutine": ("async def test():\n    asyncio.sleep(0)\n", "was never awaited"),
    "warning": ("import warnings\ndef test():\n    warnings.warn('careful')\n", "UserWarning"),
    "marker": ("import pytest\n@pytest.mark.unheard\ndef test(): pass\n", "unheard"),
}
CLEAN = """
async def test_task():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
async def test_thread():
    await asyncio.to_thread(len, "executor threads end with their loop")
def test_socket():
    with socket.socket():
        pass
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run all cases under our configuration, elsewhere: case -> what went wrong, "" for nothing."""
    folder = tmp_path_factory.mktemp("leaks")
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    cases = {name: code for name, (code, _) in LEAKS.items()} | {"clean": CLEAN}
    for name, code in cases.items():
        (folder / f"test_{name}.py").write_text(HEADER + code)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junit-xml=report.xml"]
    command += ["--continue-on-collection-errors", "-o", "testpaths=."]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=50, check=False)
    problems = dict.fromkeys(cases, "")
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        file = (case.get("classname") or case.get("name") or "").partition("test_")[2]
        problems[file] += "".join(child.text or "" for child in case)
    return problems


@pytest.mark.parametrize("name", LEAKS)
def test_leak_fails(name: str, outcomes: dict[str, str]) -> None:
    assert LEAKS[name][1] in outcomes[name]


def test_clean_passes(outcomes: dict[str, str]) -> None:
    assert outcomes["clean"] == ""
