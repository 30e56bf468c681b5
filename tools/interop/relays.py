"""A relay as an operator runs it, in a process of its own: ours or the Rust one, of the same file.

Both programs get the same relay.toml, certificate and flag (`--config-path`); both show the same
metrics. What Rust has logged at the level of a trace is kept, to see what it did.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import trustme

RELAY_VARIABLE = "IROH_RUST_RELAY"
PEER_VARIABLE = "IROH_RUST_PEER"
HOST = "127.0.0.1"
PATIENCE = 30.0

CONFIG = """\
http_bind_addr = "{host}:{http}"
metrics_bind_addr = "{host}:{metrics}"
enable_quic_addr_discovery = {tls}
"""
TLS = """\
[tls]
cert_mode = "Manual"
https_bind_addr = "{host}:{https}"
quic_bind_addr = "{host}:{quic}"
manual_cert_path = "{folder}/relay.crt"
manual_key_path = "{folder}/relay.key"
"""


def rust_program(variable: str) -> str:
    """Give the Rust program that the session has found or built. KeyError if it has not."""
    return os.environ[variable]


def about(program: str) -> str:
    """Say which binary it is."""
    data = Path(program).read_bytes()
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"


class Authority:
    """An own certificate authority, and a folder with a relay's certificate of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.roots = folder / "roots.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.roots)
        leaf = authority.issue_cert(HOST, "localhost")
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        (folder / "relay.crt").write_bytes(chain)
        leaf.private_key_pem.write_to_path(folder / "relay.key")


@dataclass(slots=True)
class Relay:
    """A relay on fixed ports, that can be ended, killed, and started again."""

    kind: str
    url: str
    quic_port: int
    metrics_port: int
    config: Path
    process: asyncio.subprocess.Process | None = None
    log: list[str] = field(default_factory=list)
    _reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run it, and return when it answers. Raises TimeoutError."""
        command = [sys.executable, "-I", "-m", "iroh_relay"]
        if self.kind == "rust":
            command = [rust_program(RELAY_VARIABLE)]
        self.process = await asyncio.create_subprocess_exec(
            *command,
            "--config-path",
            str(self.config),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "RUST_LOG": "iroh_relay=trace"},
        )
        self._reader = asyncio.create_task(self._read(self.process))
        async with asyncio.timeout(PATIENCE):
            while not await self._answers():  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # another process: there is no event to wait for

    async def _answers(self) -> bool:
        for port in (int(self.url.rpartition(":")[2]), self.metrics_port):
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                return False
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return True

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self.log.append(line.decode(errors="replace"))

    async def end(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it with a signal, and wait."""
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(how)
            async with asyncio.timeout(PATIENCE):
                await process.wait()
        if self._reader is not None:
            await self._reader

    async def metric(self, name: str) -> int:
        """Read a counter off its metrics page. Raises KeyError."""
        wanted = f"relayserver_{name.removesuffix('_total')}_total "
        address = f"http://{HOST}:{self.metrics_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith(wanted):
                    return int(float(line.split()[1]))
        raise KeyError(name)

    async def logged(self, text: str) -> str:
        """Wait for a line of its log that holds this."""
        while not (found := [line for line in self.log if text in line]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return found[0]

    @property
    def proof(self) -> str:
        """Say what runs."""
        if self.kind == "rust":
            return f"iroh-relay of Rust: {about(rust_program(RELAY_VARIABLE))}"
        import iroh_relay

        return f"iroh-relay in Python {iroh_relay.__version__}, CPython {sys.version.split()[0]}"


@asynccontextmanager
async def relay(
    kind: str, scheme: str, authority: Authority, more: str = ""
) -> AsyncIterator[Relay]:
    """Run a relay; `more`: lines for the top of relay.toml."""
    names = ("http", "https", "quic", "metrics")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    values = {"host": HOST, "folder": authority.folder, **ports}
    text = CONFIG.format(tls="true" if scheme == "https" else "false", **values) + more
    if scheme == "https":
        text += TLS.format(**values)
    with tempfile.TemporaryDirectory() as name:
        config = Path(name, "relay.toml")
        config.write_text(text, "utf-8")  # noqa: ASYNC240 (a few bytes, before anything runs)
        url = f"{scheme}://{HOST}:{ports[scheme]}"
        running = Relay(kind, url, ports["quic"], ports["metrics"], config)
        try:
            await running.start()
            yield running
            assert running.process is not None
            assert running.process.returncode is None, "the relay died\n" + "".join(running.log)
        finally:
            await running.end()


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.bind((HOST, 0))
            found.append(int(sock.getsockname()[1]))
        return found
