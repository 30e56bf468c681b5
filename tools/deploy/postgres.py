"""A real PostgreSQL for tests, from the system's packages, in a folder of its own."""

import asyncio
import contextlib
import glob
import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .conftest import free_port, program

__all__ = ["Database", "database"]

USER = "postgres"
"""The system's user for it, whom root becomes: PostgreSQL does not run as root."""


class Database:
    """A cluster that listens on loopback and keeps its data in `folder`."""

    def __init__(self, binaries: str, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._port = free_port()
        self.url = f"postgresql://{USER}@127.0.0.1:{self._port}/postgres"

    async def make(self) -> None:
        """Create the cluster."""
        await self._run("initdb", "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8")

    async def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {self._folder}"
        log = str(self._folder / "log")
        await self._run("pg_ctl", "-w", "-l", log, "-o", options, "start")

    async def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash."""
        await self._run("pg_ctl", "-w", "-m", mode, "stop")

    async def _run(self, name: str, *arguments: str) -> None:
        command = [f"{self._binaries}/{name}", "-D", str(self._folder / "data"), *arguments]
        if not os.geteuid():
            command = ["runuser", "-u", USER, "--", *command]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, cwd=self._folder
        )
        if await process.wait():
            pytest.fail(f"{name} ended with status {process.returncode}")


@contextlib.asynccontextmanager
async def database() -> AsyncIterator[Database]:
    """Run a new cluster until the end. Where there is none the test is skipped, but not in CI."""
    program("psql")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or ["/usr/bin"]
    folder = Path(tempfile.mkdtemp(prefix="iroh-postgres-"))
    try:
        if not os.geteuid():
            os.chown(folder, pwd.getpwnam(USER).pw_uid, -1)
        server = Database(found[-1], folder)
        await server.make()
        await server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(pytest.fail.Exception):  # stopped by the test already
                await server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
