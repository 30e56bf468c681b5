"""Results in a file, so that runs add up: a case that is run again replaces what it had.

{"seconds": 1234.5, "proofs": [...],
 "results": {"n0 holepunch_simple PP": {"ok": true, "figures": {...}, ...}}}
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from natlab.case import Case
from natlab.runner import Result

KEPT = ("ok", "text", "figures", "seconds", "again")
PAIRS = ("PP", "PR", "RP", "RR")


@dataclass(slots=True)
class Ledger:
    """What was found so far."""

    seconds: float = 0.0
    proofs: set[str] = field(default_factory=set)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Read what earlier runs found; nothing when there is no such file."""
        if path is None or not path.exists():
            return cls()
        told = json.loads(path.read_text())
        return cls(told["seconds"], set(told["proofs"]), told["results"])

    def write(self, path: Path | None) -> None:
        """Keep everything."""
        if path is not None:
            told = {
                "seconds": self.seconds,
                "proofs": sorted(self.proofs),
                "results": self.entries,
            }
            path.write_text(json.dumps(told, indent=1))

    def add(self, results: Iterable[Result], seconds: float, proofs: Iterable[str]) -> None:
        """Add a run."""
        self.seconds += seconds
        self.proofs |= set(proofs)
        for result in results:
            entry = {name: getattr(result, name) for name in KEPT}
            self.entries[key(result.case, result.pair)] = entry

    def results(self, cases: Iterable[Case]) -> list[Result]:
        """Give the results of these cases, in their order."""
        return [
            Result(case, pair, **self.entries[key(case, pair)])
            for case in cases
            for pair in PAIRS
            if key(case, pair) in self.entries
        ]


def key(case: Case, pair: str) -> str:
    """Name a case and a pair."""
    return f"{case.group} {case.name} {pair}"
