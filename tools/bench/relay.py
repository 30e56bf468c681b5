"""Our relay beside the Rust one: `nox -s bench -- relay [--full]`.

Each relay runs as its own program with the same relay.toml, over http and https, and gets the
same load from the same generator (relay_load.py). Every figure is the median of the rounds.
The Rust relay is the binary that IROH_RUST_RELAY names, or the one that the interop session built.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import figures
from iroh_relay.server import SelfSigned

HOST = "127.0.0.1"
CONFIG = """\
http_bind_addr = "{host}:{http}"
enable_metrics = false
"""
TLS = """\
[tls]
cert_mode = "Manual"
https_bind_addr = "{host}:{https}"
manual_cert_path = "{folder}/relay.crt"
manual_key_path = "{folder}/relay.key"
"""
PATIENCE = 20.0
SMALL, BATCH, SEGMENT = 1200, 14_520, 1452
"""Bytes of contents: a datagram, and ten in a batch as Rust sends them (a frame of 14,556)."""
WINDOW = 128
FLOOD = 512
SCHEMES = ("http", "https")


@dataclass(frozen=True)
class Work:
    """A line of the table: which load, with which settings, and the figures shown of it."""

    name: str
    load: str
    settings: dict[str, Any]
    shown: dict[str, str]


WORKS = (
    Work("forward, 1200 bytes", "forward", {"size": SMALL, "segment": 0, "window": WINDOW},
         {"rate": "frames/s", "cpu": "CPU us a frame"}),
    Work("forward, batches of 14,556", "forward",
         {"size": BATCH, "segment": SEGMENT, "window": WINDOW},
         {"rate": "frames/s", "cpu": "CPU us a frame"}),
    Work("connect", "connect", {}, {"rate": "per s", "cpu": "CPU ms each"}),
    Work("ping, nothing else", "ping", {"every": 0.002}, {"p50": "p50 ms", "p99": "p99 ms"}),
    Work("ping, one client floods", "ping", {"every": 0.002, "flood": True},
         {"p50": "p50 ms", "p99": "p99 ms"}),
)  # fmt: skip


def rust_relay() -> str | None:
    """Find the binary of the Rust relay."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "iroh-python-interop")
    found = os.environ.get("IROH_RUST_RELAY") or str(home / "bin" / "iroh-relay")
    return found if Path(found).is_file() else None


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str], scheme: str) -> Iterator[dict[str, Any]]:
    """Run a relay; gives what a load needs to know of it."""
    with tempfile.TemporaryDirectory() as folder:
        ports = {"http": free_port(), "https": free_port()}
        values = {"host": HOST, "folder": folder, **ports}
        text = CONFIG.format(**values)
        roots = Path(folder, "relay.crt")
        if scheme == "https":
            text += TLS.format(**values)
            shown = SelfSigned([HOST])
            roots.write_bytes(shown.chain_pem)
            Path(folder, "relay.key").write_bytes(shown.key_pem)
        config = Path(folder, "relay.toml")
        config.write_text(text, "utf-8")
        process = subprocess.Popen(
            [*command, "--config-path", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(ports[scheme])
            tls = str(roots) if scheme == "https" else None
            yield {"port": ports[scheme], "roots": tls, "pid": process.pid}
        finally:
            process.terminate()
            process.wait()


def wait_for(port: int) -> None:
    """Return when somebody listens. Raises OSError."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def load(work: str, settings: dict[str, Any]) -> subprocess.Popen[str]:
    """Start a load generator."""
    command = [sys.executable, "-P", "-m", "bench.relay_load", work]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.close()
    process.stdin = None
    return process


def outcome(process: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for a load generator. Raises RuntimeError."""
    told, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("a load generator failed")
    figures_seen: dict[str, float] = json.loads(told)
    return figures_seen


def measure(where: dict[str, Any], work: Work, seconds: float) -> dict[str, float]:
    """Do one work once."""
    settings = {**where, **work.settings, "seconds": seconds}
    if not settings.pop("flood", False):
        return outcome(load(work.load, settings))
    flood = {**where, "size": SMALL, "segment": 0, "window": FLOOD, "seconds": seconds + 1.5}
    flooding = load("forward", flood)
    time.sleep(0.75)
    seen = outcome(load(work.load, settings))
    outcome(flooding)
    return seen


def table(
    results: dict[tuple[str, str], dict[str, list[dict[str, float]]]], works: Sequence[Work]
) -> Iterator[str]:
    """Give the lines of the table."""
    columns = list(results)
    heads = "".join(f"{f'{name}, {scheme}':>15}" for scheme, name in columns)
    yield f"{'':<44}{heads}"
    for work in works:
        for figure, unit in work.shown.items():
            cells = ""
            for column in columns:
                seen = results[column].get(work.name)
                value = statistics.median(one[figure] for one in seen) if seen else None
                cells += f"{'not built' if value is None else shown(value):>15}"
            yield f"{f'{work.name}: {unit}':<44}{cells}"


def shown(value: float) -> str:
    """Write three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench relay", description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="10,000 idle clients, held for 60 s")
    parser.add_argument("--hold", type=float, help="seconds for which idle clients are held")
    parser.add_argument("--idle", action="store_true", help="nothing but the idle clients")
    parser.add_argument("--scheme", choices=SCHEMES, action="append", help="default: both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    chosen = parser.parse_args(arguments)
    rust = rust_relay()
    programs = {"ours": [sys.executable, "-P", "-m", "iroh_relay"]}
    if rust:
        programs["Rust"] = [rust]
    count = 10_000 if chosen.full else 1000
    hold = chosen.hold or (60.0 if chosen.full else 1.0)
    idle = Work(f"{count:,} idle clients", "idle", {"count": count, "hold": hold},
                {"rss": "KiB each", "seconds": "seconds to connect", "lost": "lost",
                 "answered": "pings of the relay", "asked": "pings of clients",
                 "unanswered": "of them unanswered", "p99": "p99 ms of their pongs",
                 "cpu": "CPU of the relay, %"})  # fmt: skip
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # relays and loads inherit it
    works = () if chosen.idle else WORKS
    schemes = chosen.scheme or SCHEMES
    print(f"machine: {figures.machine()}; load {figures.load1():.1f} at the start")
    version = subprocess.run([rust, "--version"], capture_output=True, text=True) if rust else None
    told = version.stdout.strip() if version else "not built, see tools/rust_peer"
    print(f"ours: CPython {platform.python_version()}; Rust: {told}")
    results: dict[tuple[str, str], dict[str, list[dict[str, float]]]] = {}
    for number in range(1 if chosen.idle else chosen.rounds):
        for scheme in schemes:
            for name, command in programs.items():
                seen = results.setdefault((scheme, name), {})
                with running(command, scheme) as where:
                    for work in works:
                        seen.setdefault(work.name, []).append(measure(where, work, chosen.seconds))
                if number == 0:
                    with running(command, scheme) as where:
                        seen[idle.name] = [measure(where, idle, chosen.seconds)]
    print("\n".join(table(results, [*works, idle])))
    print(f"load {figures.load1():.1f} at the end")
    return 0
