"""Client and server processes of one column of the table, and how to ask them."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

TOOLS = Path(__file__).resolve().parents[1]
START_SECONDS = 20.0
EXTRA_SECONDS = 30.0
"""How much longer than its duration a measurement may take."""
RUST = ("iroh_ffi", "iroh_ffi_fast")
"""Implementations that live in the environment of the Rust peer."""


class MeasurementError(Exception):
    """A process did not answer, or said that the workload failed."""


def python_of(name: str) -> str | None:
    """Give the interpreter of an implementation; None when there is no Rust environment."""
    return os.environ.get("IROH_RUST_PYTHON") if name in RUST else sys.executable


class Process:
    """A worker, and its answers line by line."""

    def __init__(self, role: str, name: str) -> None:
        python = python_of(name)
        assert python is not None, f"no interpreter for {name}"
        # -P: nothing but the tools and what is installed; "profile.py" must not hide Python's own.
        command = [python, "-P", "-m", "bench.worker", role, name]
        environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
        pipe = subprocess.PIPE
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `end`)
        self._process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=self._errors,
            text=True,
            bufsize=1,
            env=environment,
        )

    def tell(self, **order: Any) -> None:
        """Write a line. Raises MeasurementError when nobody reads it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise MeasurementError(f"the process is gone: {error}") from None

    def answer(self, within: float) -> dict[str, Any]:
        """Read a line. Raises MeasurementError when none comes."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(within):
                raise MeasurementError(f"no answer in {within:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise MeasurementError(f"the process ended: {self._last_words()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def end(self) -> None:
        """Kill it, and wait."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()

    def _last_words(self) -> str:
        """Give the last line that it wrote to stderr."""
        self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().strip().splitlines()
        return words[-1] if words else f"status {self._process.returncode}, without a word"


@dataclass
class Pair:
    """A server and a client. Started when first asked, started anew after a failure."""

    client: str
    server: str
    versions: dict[str, str] = field(default_factory=dict)
    _processes: list[Process] = field(default_factory=list)
    _info: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def measure(self, work: str, seconds: float) -> dict[str, float]:
        """Run a workload once. Raises MeasurementError."""
        try:
            if not self._processes:
                self._start()
            client = self._processes[1]
            client.tell(work=work, info=self._info, seconds=seconds)
            told = client.answer(seconds + EXTRA_SECONDS)
            if "error" in told:
                raise MeasurementError(told["error"])
        except MeasurementError:
            self.end()
            raise
        seen: dict[str, float] = told["ok"]
        return seen

    def end(self) -> None:
        """End both processes."""
        while self._processes:
            self._processes.pop().end()

    def _start(self) -> None:
        server = Process("server", self.server)
        self._processes.append(server)
        self._info = server.answer(START_SECONDS)
        self.versions = {self.server: _line(self._info.pop("versions"))}
        client = Process("client", self.client)
        self._processes.append(client)
        self.versions[self.client] = _line(client.answer(START_SECONDS)["versions"])
        time.sleep(0.1)  # let imports and start-up work settle before anything is measured


def _line(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
