"""A relay, and a proxy in front of it: what the snippets in deploy/ are tried with."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from iroh_base.addr import SocketAddr
from iroh_relay.server import RelayServer, RelayServerConfig

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
HOST = "relay.example.org"
LOOPBACK = SocketAddr("127.0.0.1", 0)
PATIENCE = 20.0


def program(name: str) -> str:
    """Find a program. Where it is missing the test is skipped, but in CI it fails."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        message = f"{name} is not installed; `nox -s deploy` as root installs what it can"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


class Site:
    """Ports on loopback for a proxy, and a certificate for its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        issued = self.ca.issue_cert(HOST)
        self.cert, self.key = folder / "fullchain.pem", folder / "privkey.pem"
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.http, self.https = free_port(), free_port()

    def trust(self) -> ssl.SSLContext:
        """A client that knows the CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        return context


def free_port() -> int:
    """Find a port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give the proxy's surroundings."""
    return Site(tmp_path)


@pytest.fixture
async def relay() -> AsyncIterator[RelayServer]:
    """Run a relay of plain HTTP on loopback."""
    config = RelayServerConfig(http_bind_addr=LOOPBACK)
    async with RelayServer(config) as server:
        yield server


@contextlib.asynccontextmanager
async def running(*command: str, port: int) -> AsyncIterator[None]:
    """Run a proxy until the end, having waited for its port."""
    process = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                if process.returncode is not None:
                    pytest.fail(f"{command[0]} ended with status {process.returncode}")
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)  # a foreign program tells nobody when it listens
                    continue
                writer.close()
                await writer.wait_closed()
                break
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
