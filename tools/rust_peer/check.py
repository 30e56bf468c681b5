"""Net reports of our endpoint and of a Rust one, on our relays and on Rust ones: see README.md.

    python tools/rust_peer/check.py --relay PATH/iroh-relay --peer PATH/iroh-rust-peer

Every report must hold the address that the endpoint is really bound to. Exit status 1 if one does
not. Times are wall-clock from before the bind to the first report, best of `--rounds`.
"""

import argparse
import asyncio
import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from iroh import CaTlsConfig, Endpoint, RelayConfig, RelayMap, RelayMode, presets
from iroh_base import SocketAddr
from iroh_relay.server import RelayServer, RelayServerConfig, SelfSigned

PATIENCE = 30.0
ANY = SocketAddr("::", 0)

RUST_CONFIG = """\
enable_quic_addr_discovery = true
enable_metrics = false
http_bind_addr = "[::]:{http}"
[tls]
cert_mode = "Manual"
https_bind_addr = "[::]:{https}"
quic_bind_addr = "[::]:{quic}"
manual_cert_path = "{folder}/relay.crt"
manual_key_path = "{folder}/relay.key"
"""


@dataclass(frozen=True)
class Where:
    """A relay on this machine."""

    https: int
    quic: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.https}"


@dataclass(frozen=True)
class Told:
    """What an endpoint found: the time, and whether its address is the one it is bound to."""

    seconds: float
    right: bool
    udp_latency: float | None


# -- relays ------------------------------------------------------------------------------------


@asynccontextmanager
async def our_relay(certificates: SelfSigned) -> AsyncIterator[Where]:
    config = RelayServerConfig(http_bind_addr=ANY, https_bind_addr=ANY, quic_bind_addr=ANY)
    async with RelayServer(config, certificates=certificates) as relay:
        assert relay.https_addr is not None
        assert relay.quic_addr is not None
        yield Where(relay.https_addr.port, relay.quic_addr.port)


@asynccontextmanager
async def rust_relay(program: str, certificates: SelfSigned) -> AsyncIterator[Where]:
    ports = {"http": free_port(), "https": free_port(), "quic": free_port()}
    with tempfile.TemporaryDirectory() as folder:
        config = write_files(Path(folder), certificates, ports)
        process = await asyncio.create_subprocess_exec(program, "--config-path", str(config))
        try:
            await until_open(ports["https"])
            yield Where(ports["https"], ports["quic"])
        finally:
            process.terminate()
            await process.wait()


def write_files(folder: Path, certificates: SelfSigned, ports: dict[str, int]) -> Path:
    (folder / "relay.crt").write_bytes(certificates.chain_pem)
    (folder / "relay.key").write_bytes(certificates.key_pem)
    config = folder / "relay.toml"
    config.write_text(RUST_CONFIG.format(folder=folder, **ports))
    return config


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def until_open(port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


# -- endpoints ---------------------------------------------------------------------------------


async def our_endpoint(roots: bytes, relays: Sequence[Where]) -> Told:
    relay_map = RelayMap(RelayConfig(url=r.url, quic_port=r.quic) for r in relays)
    binding = Endpoint.bind(
        presets.Minimal,
        relay_mode=RelayMode.custom(relay_map),
        ca_tls_config=CaTlsConfig.custom_roots(roots),
    )
    start = time.perf_counter()
    async with asyncio.timeout(PATIENCE), binding as endpoint:
        report = await endpoint.watch_net_report().initialized()
        seconds = time.perf_counter() - start
        assert report is not None
        port = SocketAddr.parse(endpoint.bound_sockets()[0]).port
        right = report.global_v4 == SocketAddr("127.0.0.1", port)
        latencies = [min(probes.values()) for probes in report.relay_latency.values()]
        return Told(seconds, right, min(latencies, default=None))


async def rust_endpoint(program: str, roots: bytes, relays: Sequence[Where]) -> Told:
    with tempfile.NamedTemporaryFile() as file:
        file.write(roots)
        file.flush()
        wanted = [f"{relay.url}={relay.quic}" for relay in relays]
        process = await asyncio.create_subprocess_exec(
            program, "net-report", file.name, *wanted, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()
    lines = out.decode().splitlines()
    facts = {line.split(" ", 1)[0]: line.split(" ", 1)[-1] for line in lines}
    [bound, *_] = [line.split(":")[-1] for line in lines if line.startswith("bound 0.0.0.0")]
    udp = [float(line.split()[-2]) / 1e6 for line in lines if line.startswith("latency Qad")]
    right = facts.get("global_v4") == f"Some(127.0.0.1:{bound})"
    return Told(float(facts["report_ms"]) / 1000, right, min(udp, default=None))


# -- the table ---------------------------------------------------------------------------------


async def main(options: argparse.Namespace) -> int:
    certificates = SelfSigned()
    wrong = 0
    print(f"{'endpoint':<10}{'relay':<8}{'relays':>7}{'report':>12}{'fastest UDP':>14}  address")
    for relay_kind in ("ours", "Rust"):
        for count in (1, 3):
            async with AsyncExitStack() as stack:
                relays = [
                    await stack.enter_async_context(
                        our_relay(certificates)
                        if relay_kind == "ours"
                        else rust_relay(options.relay, certificates)
                    )
                    for _ in range(count)
                ]
                for kind in ("ours", "Rust"):
                    told = [
                        await our_endpoint(certificates.chain_pem, relays)
                        if kind == "ours"
                        else await rust_endpoint(options.peer, certificates.chain_pem, relays)
                        for _ in range(options.rounds)
                    ]
                    best = min(told, key=lambda one: one.seconds)
                    right = all(one.right for one in told)
                    wrong += not right
                    latency = min(one.udp_latency or 9.0 for one in told)
                    print(
                        f"{kind:<10}{relay_kind:<8}{count:>7}{best.seconds * 1000:>9.0f} ms"
                        f"{latency * 1000:>11.1f} ms  {'right' if right else 'WRONG'}",
                        flush=True,
                    )
    return 1 if wrong else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Net reports, both ways; see README.md.")
    parser.add_argument("--relay", required=True, help="the program iroh-relay of the crate")
    parser.add_argument("--peer", required=True, help="the program iroh-rust-peer")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))
