"""Bad links in simulated time: how fast data gets through, and whether connections come about.

    python -m reliability.links [--runs 9] [--write]

Both ends are ours, on the virtual network of packages/iroh/tests/sim: no clock, no socket, no load
of this machine in the figures. Beside each stands what two Rust endpoints reached over a wire with
the same properties, measured once in network namespaces (1 MB, 40 ms round trip, 8 Mbit/s); the
aim is 0.8 times that.
"""

import argparse
import importlib
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reliability import report

TESTS = Path(__file__).resolve().parents[2] / "packages/iroh/tests"
AIM = 0.8
MB = 1_000_000
LINK: dict[str, Any] = {"delay": 0.02, "rate": 1e6, "queue": 150_000}
"""40 ms round trip, 8 Mbit/s, a hundred datagrams of queue."""
ROAD: dict[str, Any] = {"delay": 0.015, "rate": 1.25e6, "queue": 37_500}
"""The link of quic-interop-runner: 30 ms, 10 Mbit/s, 25 datagrams."""
MOST_SECONDS = 300.0
CONNECTS = 50
MOST_CONNECT = 12.0
"""Seconds that the slowest connect may take."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A kind of link, and what Rust reached on one like it, Mbit/s."""

    name: str
    conditions: dict[str, Any]
    rust: float


TRANSFERS = (
    Transfer("loss 1 %", {"loss": 0.01}, 3.9),
    Transfer("loss 5 %", {"loss": 0.05}, 1.1),
    Transfer("loss 20 %", {"loss": 0.2}, 0.5),
    Transfer("reorder 10 %", {"reorder": 0.1}, 3.9),
    Transfer("duplicate 20 %", {"duplicate": 0.2}, 5.6),
    Transfer("corrupt 2 %", {"corrupt": 0.02}, 2.8),
)
HANDSHAKES: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("30 % loss in runs of 3", {"loss": 0.3, "loss_run": 3.0}, 10.1),
    ("30 % loss", {"loss": 0.3}, 4.2),
    ("30 % corruption", {"corrupt": 0.3}, 3.2),
)
"""Name, conditions, and the slowest of 50 connects between Rust endpoints, seconds."""
BLACK_HOLE, BLACK_HOLE_MTU, BLACK_HOLE_RUST = 6 * MB, 1280 - 28, 2.6
"""Bytes, the UDP payload that still passes, and the seconds that Rust lost by it."""


def sim(name: str) -> Any:
    """Import a module of the simulation."""
    for folder in (TESTS, TESTS / "peers"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    return importlib.import_module(f"sim.{name}")


def connected(conditions: dict[str, Any], seed: int) -> Any:
    """Connect two of our engines over such a link."""
    pair, link = sim("pair"), sim("link")
    kinds = pair.Kinds.of("multipath-multipath")
    return pair.connect(kinds, link.Conditions(**conditions), seed=seed, quantum=0.0005)


def seconds_of(size: int, conditions: dict[str, Any], seed: int) -> float:
    """Send so many bytes on one stream; the seconds until all of them were read, compared."""
    pair = connected(conditions, seed)
    pair.traffic.send(0, size)
    start = pair.sim.now
    pair.sim.run(lambda: pair.traffic.received == size, MOST_SECONDS)
    took = pair.sim.now - start
    pair.check_healthy()
    return float(took)


def transfers(runs: int) -> list[str]:
    """Measure every kind of link."""
    lines = []
    for each in TRANSFERS:
        rates = [
            MB * 8 / 1e6 / seconds_of(MB, {**LINK, **each.conditions}, seed) for seed in range(runs)
        ]
        rate = statistics.median(rates)
        verdict = "" if rate >= AIM * each.rust else ", NOT reached"
        lines.append(
            f"{each.name}: 0 bytes wrong, {rate:.1f} Mbit/s, {min(rates):.1f} to {max(rates):.1f} "
            f"in {runs} runs (target >= {AIM} x Rust's {each.rust}{verdict})"
        )
    return lines


def black_hole(runs: int) -> str:
    """Let large datagrams vanish in the middle of a transfer."""
    lost = []
    for seed in range(runs):
        quiet = seconds_of(BLACK_HOLE, LINK, seed)
        pair = connected(LINK, seed)
        pair.traffic.send(0, BLACK_HOLE)
        start = pair.sim.now
        pair.sim.run(lambda pair=pair: pair.traffic.received > BLACK_HOLE // 2, MOST_SECONDS)
        pair.sim.network.conditions.mtu = BLACK_HOLE_MTU
        pair.sim.run(lambda pair=pair: pair.traffic.received == BLACK_HOLE, MOST_SECONDS)
        lost.append(pair.sim.now - start - quiet)
    return (
        f"MTU black hole to 1280 in mid-transfer: {statistics.median(lost):.1f} s lost, at most "
        f"{max(lost):.1f} in {runs} runs (target <= 3; Rust {BLACK_HOLE_RUST})"
    )


def handshakes() -> list[str]:
    """Connect many times over links that lose or corrupt a third of what is sent."""
    lines = []
    for name, conditions, rust in HANDSHAKES:
        took = []
        for seed in range(CONNECTS):
            start = sim("simulation").START
            try:
                took.append(connected({**ROAD, **conditions}, seed).sim.now - start)
            except AssertionError:
                continue  # not within a minute
        worst = max(took, default=0.0)
        lines.append(
            f"handshakes with {name}: {len(took)} of {CONNECTS}, worst {worst:.1f} s, median "
            f"{statistics.median(took):.2f} s (target all, <= {MOST_CONNECT:.0f} s; Rust's worst "
            f"{rust})"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Bad links in simulated time.")
    parser.add_argument("--runs", type=int, default=9, help="seeds per kind of link")
    parser.add_argument("--write", action="store_true", help="renew docs/reliability.md")
    options = parser.parse_args(arguments)
    lines = [*transfers(options.runs), black_hole(min(options.runs, 3)), *handshakes()]
    print("\n".join(lines))
    if options.write:
        report.write("links", "\n".join(f"- {line}" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
