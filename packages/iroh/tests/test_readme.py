"""Every Python block of the READMEs runs as it stands, in a process of its own."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
READMES = {"packages/iroh": PACKAGE / "README.md", "root": PACKAGE.parents[1] / "README.md"}
BLOCKS = [
    pytest.param(block, id=f"{name}-{number}")
    for name, path in READMES.items()
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
]
EXPECTED = {"root-0": b"hello, ", "packages/iroh-0": b"hi"}


@pytest.mark.parametrize("block", BLOCKS)
async def test_block(block: str, request: pytest.FixtureRequest) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", block),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    name = request.node.callspec.id
    assert EXPECTED[name] in out


def test_there_are_blocks() -> None:
    assert {str(param.id) for param in BLOCKS} == EXPECTED.keys()
