"""Endpoints behind real NATs: `nox -s natlab -- --quick`, or `--full`, `-k`, `--pairs`, `--write`.

Needs Linux and root; installs nftables and conntrack from Debian's packages when they are missing.
Where network namespaces are not allowed it says so loudly and runs the simulation instead, in which
the same NATs exist without a kernel; but as root with CI=true that is a failure.
"""

import argparse
import asyncio
import datetime
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from natlab import acceptance, capabilities, report
from natlab.case import Case
from natlab.lab import sweep
from natlab.ledger import PAIRS, Ledger
from natlab.report import Report
from natlab.runner import Result, Runner
from natlab.scenarios import disturb, matrix, upstream

ROOT = Path(__file__).resolve().parents[2]

SIMULATION = "packages/iroh/tests/sim"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="natlab", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a few of each (the default)")
    size.add_argument("--full", action="store_true", help="every case")
    parser.add_argument("-k", action="append", default=[], help="only cases with this text")
    parser.add_argument("--pairs", default=None, help="of PP,PR,RP,RR: dialer, listener")
    parser.add_argument("--jobs", type=int, default=4, help="cases at a time")
    parser.add_argument("--write", action="store_true", help="renew docs/natlab.md")
    parser.add_argument("--results", type=Path, help="keep results here; add to those of before")
    parser.add_argument("--verbose", action="store_true", help="tell what passes, and stderr")
    return parser.parse_args()


def everything() -> list[Case]:
    """Give every case, in the order of the tables."""
    return [*upstream.cases(), *matrix.cases(), *disturb.cases()]


def chosen(asked: argparse.Namespace) -> list[Case]:
    """Give the cases that were asked for. With -k, of the long form."""
    if asked.k:
        wanted = [(case, f"{case.group} {case.name}") for case in everything()]
        return [case for case, text in wanted if any(part in text for part in asked.k)]
    return [case for case in everything() if asked.full or case.quick]


def no_lab(lacks: list[str]) -> int:
    """Say what is missing, and run the simulation in place of the lab."""
    line = "!" * 78
    print(f"{line}\nNO LAB ON THIS MACHINE: it lacks {', '.join(lacks)}.\n{line}", flush=True)
    if os.environ.get("CI") == "true" and hasattr(os, "geteuid") and os.geteuid() == 0:
        print("CI with root must be able to build one: this is a failure.")
        return 1
    print(f"The simulation runs instead ({SIMULATION}); no kernel, no Rust peer.", flush=True)
    words = [sys.executable, "-m", "pytest", "-q", SIMULATION]
    return subprocess.run(words, cwd=ROOT, check=False).returncode


async def run(asked: argparse.Namespace) -> Report | None:
    """Prove the lab, then run the cases. None: the lab is not what it should be."""
    start = time.monotonic()
    whole = asyncio.current_task()
    assert whole is not None
    # Who ends this run, a time limit for one, still leaves a clean machine.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, whole.cancel)
    print("The lab itself, seen from inside:")
    rows = await acceptance.accept()
    print(report.acceptance_table(rows), flush=True)
    if not all(right for _, _, right in rows):
        return None
    cases = chosen(asked)
    everyone = PAIRS if asked.full or asked.k else PAIRS[:-1]
    pairs = asked.pairs.split(",") if asked.pairs else list(everyone)
    ledger = Ledger.read(asked.results)

    def keep(result: Result) -> None:
        ledger.add([result], 0, runner.proofs)
        ledger.write(asked.results)

    runner = Runner(asked.jobs, verbose=asked.verbose, keep=keep)
    await runner.run(cases, pairs)
    ledger.add(runner.results, time.monotonic() - start, runner.proofs)
    ledger.write(asked.results)
    return Report(ledger.results(everything()), ledger.seconds, ledger.proofs)


def main() -> int:
    """Run the session; 0 when everything passed."""
    asked = arguments()
    capabilities.install()
    lacks = capabilities.missing()
    if lacks:
        return no_lab(lacks)
    if left := sweep():
        print(f"natlab: removed what an earlier run had left: {', '.join(left)}")
    try:
        told = asyncio.run(run(asked))
    except asyncio.CancelledError:
        print("natlab: ended before its time")
        return 1
    if told is None:
        return 1
    print(f"{told.text()}\n\n{len(told.results)} in {told.seconds:.0f} s")
    for proof in told.proofs:
        print(f"proof: {proof}")
    if asked.write:
        page = told.page(datetime.datetime.now(datetime.UTC).date().isoformat())
        ROOT.joinpath("docs", "natlab.md").write_text(page)
    # The control is not ours to pass, and what n0 does not run either is a bonus.
    ours = [r for r in told.results if r.pair != "RR" and not r.case.ignored]
    return 0 if all(result.ok for result in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
