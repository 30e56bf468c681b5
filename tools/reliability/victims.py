"""Victims: endpoints in processes of their own, and what they cost.

ours    victim.py in this environment              rust    victim.py in that of PyPI iroh 1.2.0
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from reliability.attacker import Target

PROGRAM = Path(__file__).with_name("victim.py")
VERSION = {"ours": "iroh in Python", "rust": "PyPI iroh (Rust iroh 1.4.1)"}


class Usage(NamedTuple):
    """What a process has used: seconds of processor time, bytes of memory."""

    cpu: float
    memory: int


def interpreter(kind: str) -> str | None:
    """Give the interpreter of a kind of victim; None when there is no Rust environment."""
    return os.environ.get("IROH_RUST_PYTHON") if kind == "rust" else sys.executable


class Victim:
    """A process under attack. Leave its context to end it."""

    def __init__(self, kind: str) -> None:
        python = interpreter(kind)
        assert python is not None, "IROH_RUST_PYTHON is not set"
        self.kind = kind
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        environment = {**os.environ, "RUST_BACKTRACE": "0"}
        self._process = subprocess.Popen(
            [python, "-I", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
            env=environment,
        )
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.target = Target(told["id"], told["addresses"][0])
        self.version = f"{VERSION[kind]} {told['version']}"

    def dial(self, peer: str, address: str) -> None:
        """Let it dial an evil server."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": "dial", "id": peer, "address": address}) + "\n")
        self._process.stdin.flush()

    def is_alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def usage(self) -> Usage:
        """Say what it has used so far (Linux: /proc)."""
        home = Path(f"/proc/{self._process.pid}")
        cpu = 0
        for task in (home / "task").iterdir():
            try:
                cpu += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue  # a thread that just ended
        pages = int((home / "statm").read_text().split()[1])
        return Usage(cpu / 1e9, pages * os.sysconf("SC_PAGE_SIZE"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
