"""Side by side: this project, n0's bindings, the Rust engine behind them, aioquic, and the limit.

    nox -s bench -- --quick
    nox -s bench -- relay            our relay beside the Rust one: relay.py
    nox -s bench -- dns              our DNS server beside the Rust one: dns.py
    PYTHONPATH=tools IROH_RUST_PYTHON=... python -m bench [--quick] [--only bulk_up,rtt] ...

Every round measures each column once, so that all of them meet the same weather; the table shows
the median of the rounds. Each figure comes from a client and a server process over loopback.

    ours        this project on both sides
    bindings    n0's bindings as shipped: their sender copies byte by byte in Python
    engine      the same with memmove instead: what the Rust engine does when driven from Python
    aioquic     aioquic as it comes, server-authenticated only, 1200-byte datagrams
    limit       limit.py: sealing, opening and moving packets and nothing else, in plain Python
    ours>engine, engine>ours   one side each: client > server
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import dns, figures, relay, table
from bench.pairs import TOOLS, MeasurementError, Pair, python_of
from bench.workloads import WORKLOADS

COLUMNS = {
    "ours": ("ours", "ours"),
    "bindings": ("iroh_ffi", "iroh_ffi"),
    "engine": ("iroh_ffi_fast", "iroh_ffi_fast"),
    "aioquic": ("aioquic", "aioquic"),
    "limit": None,
    "ours>engine": ("ours", "iroh_ffi_fast"),
    "engine>ours": ("iroh_ffi_fast", "ours"),
}
"""Column -> the implementations of client and server; None for the limit."""
RATIOS = (("ours", "bindings"), ("ours", "engine"))
ONCE = ("idle",)
"""Workloads that are steady, and run in one round only, with fresh processes."""


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.4 s instead of 5 of 2")
    parser.add_argument("--rounds", type=int, help="measurements of each cell")
    parser.add_argument("--seconds", type=float, help="duration of a measurement")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, comma-separated")
    parser.add_argument("--columns", default=",".join(COLUMNS), help="columns, comma-separated")
    parser.add_argument("--json", type=Path, help="write every round's figures to this file")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (3 if chosen.quick else 5)
    chosen.seconds = chosen.seconds or (0.4 if chosen.quick else 2.0)
    for name, known in (("only", WORKLOADS), ("columns", COLUMNS)):
        names = getattr(chosen, name).split(",")
        unknown = [word for word in names if word not in known]
        if unknown:
            parser.error(f"unknown in --{name}: {', '.join(unknown)}; know {', '.join(known)}")
        setattr(chosen, name, names)
    return chosen


def measure_limit(work: str, seconds: float) -> dict[str, float] | None:
    """Run limit.py for about so long; None for a workload that it does not have."""
    if work not in ("bulk_up", "bulk_down"):
        return None
    megabytes = max(32, round(150 * seconds))
    command = [sys.executable, "-P", "-m", "bench.limit", "--mb", str(megabytes)]
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise MeasurementError(done.stderr.strip().splitlines()[-1])
    seen: dict[str, float] = json.loads(done.stdout)
    return seen


class Bench:
    """Runs the rounds and keeps what was seen."""

    def __init__(self, columns: Sequence[str], seconds: float) -> None:
        self.results: dict[str, dict[str, Any]] = {name: {} for name in columns}
        self.versions: dict[str, str] = {}
        self.load = [figures.load1()]
        self._seconds = seconds
        self._pairs: dict[str, Pair] = {}

    def run(self, works: Sequence[str], rounds: int) -> None:
        """Measure everything: workload by workload, round by round, column by column."""
        for work in works:
            for number in range(1 if work in ONCE else rounds):
                self._progress(f"{work}, round {number + 1}")
                for column in self.results:
                    self._measure(column, work)
                self.load.append(figures.load1())

    def end(self) -> None:
        """End all processes."""
        for pair in self._pairs.values():
            pair.end()

    def _measure(self, column: str, work: str) -> None:
        rounds = self.results[column].setdefault(work, [])
        if isinstance(rounds, str):
            return  # it failed before
        try:
            seen = self._ask(column, work)
        except MeasurementError as error:
            self.results[column][work] = str(error)
        else:
            if seen is not None:
                rounds.append(seen)

    def _ask(self, column: str, work: str) -> dict[str, float] | None:
        names = COLUMNS[column]
        if names is None:
            return measure_limit(work, self._seconds)
        pair = self._pairs.setdefault(column, Pair(*names))
        if work in ONCE:
            pair.end()
        seen = pair.measure(work, self._seconds)
        self.versions |= pair.versions
        return seen

    def _progress(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{text:<40}", end="", file=sys.stderr, flush=True)


def revision() -> str:
    """Name the commit that is measured, if git knows it."""
    command = ["git", "-C", str(TOOLS), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return "no git"
    return done.stdout.strip() or "no git"


def head(bench: Bench, chosen: argparse.Namespace) -> list[str]:
    """Say what was measured, with what, and in what weather."""
    said = [
        f"machine: {figures.machine()}",
        f"load of the last minute: {bench.load[0]:.1f} at the start, "
        f"{max(bench.load):.1f} at most (the benchmark itself adds 1 to 2)",
        f"median of {chosen.rounds} interleaved rounds of {chosen.seconds} s; "
        "MB = 1e6 bytes; 3x means three times better",
        f"this checkout: {revision()}",
    ]
    return said + [f"{name}: {line}" for name, line in sorted(bench.versions.items())]


def main() -> int:
    """Measure and print the table; 1 when something failed."""
    if sys.argv[1:2] == ["relay"]:
        return relay.main(sys.argv[2:])
    if sys.argv[1:2] == ["dns"]:
        return dns.main(sys.argv[2:])
    chosen = options()
    columns = []
    for column in chosen.columns:
        if all(python_of(name) for name in COLUMNS[column] or ()):
            columns.append(column)
        else:
            print(f"left out: {column} (IROH_RUST_PYTHON names no interpreter)")
    bench = Bench(columns, chosen.seconds)
    with ExitStack() as stack:
        stack.callback(bench.end)
        bench.run(chosen.only, chosen.rounds)
    said = head(bench, chosen)
    ratios = [pair for pair in RATIOS if set(pair) <= set(columns)]
    print("\n".join([*said, "", *table.lines(bench.results, columns, ratios)]))
    failed = list(table.errors(bench.results))
    print("\n".join(failed))
    if chosen.json is not None:
        told = {"head": said, "load": bench.load, "results": bench.results}
        chosen.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
