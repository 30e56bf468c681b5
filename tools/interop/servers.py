"""Our relay and our DNS server as processes, made with their own command lines and config files.

Both are asked over their metrics port what they did, which is the proof that traffic went through
them. IROH_RELAY_BINARY and IROH_DNS_BINARY put a Rust server in their place, for experiments on
the harness itself: results obtained like that are marked, and never written to COMPATIBILITY.md.
"""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

FETCH = (
    "import sys, urllib.request as r\n"
    "sys.stdout.write(r.urlopen(sys.argv[1], timeout=5).read().decode())"
)
COUNTER = re.compile(r"^(\w+)(?:\{[^}]*\})? ([0-9.e+]+)", re.MULTILINE)
READY_WITHIN = 15.0

RELAY_CONFIG = """
enable_relay = true
http_bind_addr = "127.0.0.1:{port}"
enable_metrics = true
metrics_bind_addr = "127.0.0.1:{metrics}"
enable_quic_addr_discovery = false
"""
DNS_CONFIG = """
data_dir = "{folder}"
pkarr_put_rate_limit = "disabled"
[http]
port = {port}
bind_addr = "127.0.0.1"
[dns]
port = 53
bind_addr = "127.0.0.1"
default_soa = "dns.iroh.link hostmaster.iroh.link 0 10800 3600 604800 3600"
default_ttl = 30
origins = ["dns.iroh.link.", "."]
rr_a = "127.0.0.1"
rr_ns = "ns1.dns.iroh.link."
[metrics]
disabled = false
bind_addr = "127.0.0.1:{metrics}"
"""


class ServerFailed(Exception):
    """A server did not start, or died. The text carries the end of its log."""


@dataclass(slots=True)
class Server:
    """A running server: where it listens, and what it counted."""

    name: str
    url: str
    metrics: str
    log: Path
    prefix: tuple[str, ...]
    process: asyncio.subprocess.Process

    async def counters(self) -> dict[str, float]:
        """Ask for the counters, `_total` cut off. Raises ServerFailed."""
        command = (*self.prefix, sys.executable, "-I", "-c", FETCH, self.metrics)
        pipe = asyncio.subprocess.PIPE
        asked = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        text, errors = await asked.communicate()
        if asked.returncode != 0:
            raise ServerFailed(f"{self.name}: {errors.decode()[-300:]}{self.tail()}")
        found = COUNTER.findall(text.decode())
        return {name.removesuffix("_total"): float(value) for name, value in found}

    def tail(self) -> str:
        """Give the end of the log, for messages."""
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        return "".join(f"\n    {self.name}| {line}" for line in lines)

    async def ready(self) -> None:
        """Wait until it answers. Raises ServerFailed."""
        last = ""
        try:
            async with asyncio.timeout(READY_WITHIN):
                while self.process.returncode is None:
                    try:
                        await self.counters()
                    except ServerFailed as error:
                        last = str(error)
                        await asyncio.sleep(0.1)
                    else:
                        return
        except TimeoutError:
            pass
        raise ServerFailed(f"{self.name}: not ready: {last or self.tail()}")


def free_ports(count: int) -> list[int]:
    """Find TCP ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def is_ours() -> bool:
    """Say whether no Rust server was put in place of ours."""
    return not {"IROH_RELAY_BINARY", "IROH_DNS_BINARY"} & os.environ.keys()


@asynccontextmanager
async def running(
    name: str, command: list[str], ports: Mapping[str, int], log: Path, prefix: tuple[str, ...]
) -> AsyncIterator[Server]:
    """Run a server until the context ends; it must still run then, and end when asked."""
    urls = {key: f"http://127.0.0.1:{port}" for key, port in ports.items()}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *prefix, *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    server = Server(name, urls["port"], urls["metrics"] + "/metrics", log, prefix, process)
    try:
        await server.ready()
        yield server
        if process.returncode is not None:
            raise ServerFailed(f"{name}: died with {process.returncode}{server.tail()}")
    finally:
        await stop(server)


async def stop(server: Server) -> None:
    """End a server with SIGINT, as systemd or a person would. Raises ServerFailed."""
    process = server.process
    if process.returncode is not None:
        return
    process.send_signal(2)
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ServerFailed(f"{server.name}: did not end on SIGINT{server.tail()}") from None


@asynccontextmanager
async def relay(folder: Path, prefix: tuple[str, ...] = ()) -> AsyncIterator[Server]:
    """Run our relay on loopback, plain HTTP."""
    port, metrics = free_ports(2)
    config = folder / "relay.toml"
    config.write_text(RELAY_CONFIG.format(port=port, metrics=metrics))
    binary = os.environ.get("IROH_RELAY_BINARY")
    command = [binary] if binary else [sys.executable, "-m", "iroh_relay"]
    command += ["--config-path", str(config)]
    ports = {"port": port, "metrics": metrics}
    async with running("relay", command, ports, folder / "relay.log", prefix) as server:
        yield server


@asynccontextmanager
async def dns_server(folder: Path, prefix: tuple[str, ...]) -> AsyncIterator[Server]:
    """Run our DNS server on 127.0.0.1:53 with the origin that n0's preset asks for."""
    port, metrics = free_ports(2)
    config = folder / "dns.toml"
    config.write_text(DNS_CONFIG.format(port=port, metrics=metrics, folder=folder / "data"))
    binary = os.environ.get("IROH_DNS_BINARY")
    command = [binary] if binary else [sys.executable, "-m", "iroh_dns_server"]
    command += ["--config", str(config)]
    ports = {"port": port, "metrics": metrics}
    async with running("dns", command, ports, folder / "dns.log", prefix) as server:
        yield server
