"""Our DNS server beside the Rust one: `nox -s bench -- dns [--keys 1000000]`.

Each server runs as its own program with the same server.toml, has packets of `--keys` keys stored,
and gets the same load: dnsperf (Debian's package) asks, dns_load.py publishes. The CPU is that of
the server's process, all threads, from /proc. The Rust server is the binary that IROH_RUST_DNS
names, or ~/.cache/iroh-python-interop/bin/iroh-dns-server; it is filled by PUT, ours directly (the
packets are the same; publishing is measured apart).

    cached      names of 1000 keys, which were asked for before
    uncached    every name is asked for the first time since the server was started
    unknown     names of keys that nobody published
    doh         the cached ones over HTTPS and HTTP/2, self-signed
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import figures
from bench.dns_load import name
from bench.relay import free_port, shown, wait_for

ORIGIN = "dns.example."
CONFIG = """\
data_dir = "{folder}/data"
pkarr_put_rate_limit = "disabled"
[http]
port = {http}
bind_addr = "127.0.0.1"
[https]
port = {https}
bind_addr = "127.0.0.1"
domains = ["localhost"]
cert_mode = "self_signed"
[dns]
port = {dns}
bind_addr = "127.0.0.1"
origins = ["dns.example.", "."]
default_soa = "ns1.dns.example hostmaster.dns.example 0 10800 3600 604800 60"
default_ttl = 30
[metrics]
disabled = true
"""
HOT = 1000
UNKNOWN = 10**12
"""The first key number that nobody publishes."""
FILL_CHUNK = 20_000
TICKS = os.sysconf("SC_CLK_TCK")
Figures = dict[str, float]


def rust_server() -> str | None:
    """Find the binary of the Rust server."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "iroh-python-interop")
    found = os.environ.get("IROH_RUST_DNS") or str(home / "bin" / "iroh-dns-server")
    return found if Path(found).is_file() else None


def load(**settings: Any) -> Figures:
    """Run the generator. Raises CalledProcessError."""
    command = [sys.executable, "-P", "-m", "bench.dns_load"]
    text = json.dumps(settings) + "\n"
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True)
    seen: Figures = json.loads(done.stdout)
    return seen


class Server:
    """One server program with its data in `folder`."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.ports = {kind: free_port() for kind in ("http", "https", "dns")}
        config = self.folder / "server.toml"
        config.write_text(CONFIG.format(folder=self.folder, **self.ports))
        command, none = [*self._command, "--config", str(config)], subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdout=none, stderr=none)
        for port in self.ports.values():
            wait_for(port)

    def stop(self) -> None:
        """End it the way an operator does."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(2)  # the Rust server knows no other
            process.wait()

    def cpu(self) -> float:
        """Give the seconds of CPU that it has used."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """Give its resident memory in MB, file pages of its database left out."""
        found = re.search(r"RssAnon:\s+(\d+) kB", self._proc("status"))
        assert found is not None
        return int(found[1]) / 1024

    def _proc(self, name: str) -> str:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/{name}").read_text()


def ask(server: Server, names: Path, *options: str, doh: bool = False) -> Figures:
    """Have dnsperf ask for those names."""
    port = server.ports["https" if doh else "dns"]
    transport = ["-m", "doh", "-O", f"doh-uri=https://localhost:{port}/dns-query"] if doh else []
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(names), "-e", "-q", "100"]
    before = server.cpu()
    done = subprocess.run([*command, *transport, *options], capture_output=True, text=True)
    spent = server.cpu() - before
    told = {
        line.partition(":")[0].strip(): line.partition(":")[2] for line in done.stdout.split("\n")
    }
    count = int(told["Queries completed"].split()[0])
    lost = int(told["Queries lost"].split()[0])
    rate = float(told["Queries per second"])
    return {"rate": rate, "cpu": spent / max(1, count) * 1e6, "lost": lost}


def write_names(path: Path, numbers: Sequence[int]) -> Path:
    """Write a file for dnsperf."""
    path.write_text("".join(f"{name(number, ORIGIN)} TXT\n" for number in numbers))
    return path


class Bench:
    """The works, in the order in which they are done with one server in one round."""

    def __init__(self, folder: Path, keys: int, seconds: float, rounds: int) -> None:
        self._keys = keys
        self._seconds = ("-l", str(seconds))
        self._puts = int(4000 * seconds)
        self._fresh = max(HOT, min(int(20_000 * seconds), (keys - HOT) // rounds))
        hot = range(min(HOT, keys))
        self._hot = write_names(folder / "hot", hot)
        self._unknown = write_names(folder / "unknown", range(UNKNOWN, UNKNOWN + 20_000))
        self._cold = [
            write_names(folder / f"cold-{number}", self._slice(number)) for number in range(rounds)
        ]
        self._published = keys

    def _slice(self, number: int) -> range:
        """The keys that are asked for in one round only."""
        first = min(HOT, self._keys) + number * self._fresh
        return range(first, min(first + self._fresh, self._keys))

    def round(self, server: Server, number: int) -> Iterator[tuple[str, Figures]]:
        """Give each work's figures."""
        ask(server, self._hot, "-n", "2")  # now they are in memory
        yield "UDP, cached", ask(server, self._hot, *self._seconds)
        yield "UDP, uncached", ask(server, self._cold[number], "-n", "1")
        yield "UDP, unknown keys", ask(server, self._unknown, *self._seconds)
        yield "DoH over HTTP/2, cached", ask(server, self._hot, *self._seconds, doh=True)
        first = self._published + number * self._puts
        yield "PUT, new keys", self._put(server, first)
        yield "PUT, known keys", self._put(server, first)
        yield "memory", {"anon": server.memory()}

    def _put(self, server: Server, first: int) -> Figures:
        before = server.cpu()
        seen = load(
            work="put", port=server.ports["http"], first=first, count=self._puts, connections=64
        )
        return {"rate": seen["rate"], "cpu": (server.cpu() - before) / seen["count"] * 1e6}


UNITS = {"rate": "per s", "cpu": "CPU us each", "lost": "lost", "anon": "MB"}


def fill(server: Server, column: str, keys: int) -> None:
    """Have packets of so many keys stored."""
    if column == "ours":
        load(work="fill", folder=str(server.folder / "data"), first=0, count=keys)
        return
    server.start()
    for first in range(0, keys, FILL_CHUNK):
        count = min(FILL_CHUNK, keys - first)
        load(work="put", port=server.ports["http"], first=first, count=count, connections=64)
    server.stop()


def table(results: dict[str, dict[str, list[Figures]]]) -> Iterator[str]:
    """Give the lines of the table: the median of the rounds."""
    columns = list(results)
    yield f"{'':<40}" + "".join(f"{column:>12}" for column in columns)
    for work, seen in results[columns[0]].items():
        for figure in seen[0]:
            values = [
                statistics.median(one[figure] for one in results[column][work])
                for column in columns
            ]
            if figure == "lost" and not any(values):
                continue
            cells = "".join(f"{shown(value):>12}" for value in values)
            yield f"{f'{work}: {UNITS[figure]}':<40}{cells}"


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench dns", description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=20_000, help="keys with a stored packet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args(arguments)
    if shutil.which("dnsperf") is None:
        print("left out: dnsperf is not installed (apt-get install dnsperf)")
        return 0
    programs = {"ours": [sys.executable, "-P", "-m", "iroh_dns_server"]}
    if rust := rust_server():
        programs["Rust"] = [rust]
    else:
        print("left out: the Rust server (cargo install iroh-dns-server; IROH_RUST_DNS names it)")
    print(f"machine: {figures.machine()}; load {figures.load1():.1f} at the start")
    print(f"{chosen.keys:,} keys stored; median of {chosen.rounds} rounds of {chosen.seconds} s")
    results: dict[str, dict[str, list[Figures]]] = {column: {} for column in programs}
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        bench = Bench(Path(home), chosen.keys, chosen.seconds, chosen.rounds)
        servers = {}
        for column, command in programs.items():
            folder = Path(home, column)
            folder.mkdir()
            servers[column] = server = Server(command, folder)
            stack.callback(server.stop)
            fill(server, column, chosen.keys)
        for number in range(chosen.rounds):
            for column, server in servers.items():
                server.start()
                for work, seen in bench.round(server, number):
                    results[column].setdefault(work, []).append(seen)
                server.stop()
    print("\n".join(table(results)))
    return 0
