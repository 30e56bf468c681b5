"""Hostile peers against our endpoint and the real Rust one, side by side, over UDP on loopback.

    nox -s reliability                    the whole table, two minutes
    python -m reliability.scoreboard --only ours -k CRYPTO --write

Each case is a connection of its own (cases.py) to a victim in a process of its own. Printed are
what the specification wants, what each did, the processor time and memory that the case cost it,
and whether an honest connection beside was still served. `--write` renews docs/reliability.md.
"""

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from iroh.quic.connection import Connection
from reliability import report
from reliability.attacker import Attacker, Wire
from reliability.cases import Case, all_cases, in_words
from reliability.victims import Victim, interpreter

MAX_CPU, MAX_MEMORY = 1.0, 10 << 20
"""Seconds of processor time and bytes that one case may cost."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one case did to one victim. friend: the honest connection was served."""

    outcome: str
    cpu: float
    memory: int
    friend: bool

    def is_right(self, case: Case) -> bool:
        """Whether it did what the specification wants, at a price that can be paid."""
        fits = not case.wants or self.outcome in case.wants
        return fits and self.friend and self.cpu <= MAX_CPU and self.memory <= MAX_MEMORY


class Friend:
    """An honest peer of the victim's, connected all the time."""

    def __init__(self, victim: Victim) -> None:
        self.victim = victim
        self.wire = Wire()
        self.connection = self._connect()
        self.reconnects = 0

    def _connect(self) -> Connection:
        connection = self.wire.dial(self.victim.target)
        self.wire.connections = [connection]
        self.wire.run(lambda: connection.peer is not None, 5.0)
        return connection

    def is_served(self) -> bool:
        """Whether an echo still comes back; one that is gone is replaced for the next case."""
        served = self.wire.echoes(self.connection)
        if not served:
            self.reconnects += 1
            self.connection = self._connect()
        return served


def run_case(case: Case, victim: Victim, friend: Friend) -> Result:
    """Run one case against a victim."""
    gc.collect()
    before = victim.usage()
    attacker = Attacker(victim.target, victim.dial)
    try:
        outcome = case.strike(attacker)
    except Exception as error:  # noqa: BLE001 (the attack failed, not the victim)
        outcome = f"no attack: {error!r}"
    served = friend.is_served()
    after = victim.usage()
    if getattr(attacker, "evil", None) is not None and attacker.evil.close_reason is None:
        attacker.evil.close(0, b"", time.monotonic())
        attacker.wire.mute = False
        attacker.wire.work()
    attacker.wire.close()
    cost = max(0, after.memory - before.memory)
    return Result(outcome, after.cpu - before.cpu, cost, served)


def run_all(kind: str, cases: Sequence[Case]) -> tuple[str, list[Result]]:
    """Run cases against one kind of victim: its version, and the results."""
    results = []
    with Victim(kind) as victim:
        friend = Friend(victim)
        for case in cases:
            results.append(run_case(case, victim, friend))
            if not victim.is_alive():
                raise SystemExit(f"{victim.version} died of: {case.name}")
        friend.wire.close()
    return victim.version, results


def main(arguments: list[str] | None = None) -> int:
    """Run, print the table, and say whether ours did all that it must."""
    parser = argparse.ArgumentParser(description="Hostile peers against ours and the Rust one.")
    parser.add_argument("--only", choices=("ours", "rust"))
    parser.add_argument("-k", default="", help="only cases with this text in group or name")
    parser.add_argument("--write", action="store_true", help="renew docs/reliability.md")
    options = parser.parse_args(arguments)
    cases = [case for case in all_cases() if options.k in f"{case.group} {case.name}"]
    kinds = [options.only] if options.only else ["ours", "rust"]
    columns = {}
    for kind in kinds:
        if interpreter(kind) is None:
            print(f"{kind}: not here (IROH_RUST_PYTHON is not set)")
            continue
        start = time.monotonic()
        columns[kind] = run_all(kind, cases)
        print(f"{columns[kind][0]}: {len(cases)} cases in {time.monotonic() - start:.0f} s")
    table = [
        report.Row(
            case.group,
            case.name,
            case.specification,
            {
                kind: report.Cell(
                    in_words(results[at].outcome),
                    results[at].is_right(case),
                    results[at].cpu,
                    results[at].memory,
                    results[at].friend,
                )
                for kind, (_, results) in columns.items()
            },
        )
        for at, case in enumerate(cases)
    ]
    versions = {kind: version for kind, (version, _) in columns.items()}
    print(report.as_text(table, versions))
    if options.write:
        report.write_hostile(table, versions)
    ours = columns.get("ours")
    return 0 if ours is None else int(not all(map(Result.is_right, ours[1], cases)))


if __name__ == "__main__":
    sys.exit(main())
