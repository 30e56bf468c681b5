"""The table of what was run: one row per scenario, one column per pair of peers.

A result counts as a pass only with the proof of both peers beside it; COMPATIBILITY.md is the
table rendered, with the digests of what was on the other side.
"""

import datetime
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PAIRS = ("ours-rust", "rust-ours", "rust-rust")
"""dialer-listener. The last one is the control: the scenario itself is sound."""
HEADINGS = {
    "ours-rust": "Python dials Rust",
    "rust-ours": "Rust dials Python",
    "rust-rust": "Rust dials Rust (control)",
}
MARKS = {"passed": "pass", "failed": "**FAIL**", "skipped": "skipped", "unproven": "**UNPROVEN**"}
PROOF = "proof"
EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one test."""

    group: str
    scenario: str
    meaning: str
    pair: str
    outcome: str
    evidence: tuple[str, ...]
    proofs: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The outcome, in which a pass without proof of both peers is none."""
        if self.outcome == "passed" and len(self.proofs) < 2:
            return "unproven"
        return self.outcome


def is_green(results: Iterable[Result]) -> bool:
    """Say whether everything that ran passed, with proof."""
    return all(result.verdict in ("passed", "skipped") for result in results)


def is_complete(results: Sequence[Result]) -> bool:
    """Say whether this may stand in COMPATIBILITY.md: all ran, all passed, all proven."""
    return bool(results) and all(result.verdict == "passed" for result in results)


def rows(results: Iterable[Result]) -> dict[tuple[str, str, str], dict[str, Result]]:
    """Sort results into (group, scenario, meaning) -> pair -> result, in the order they ran."""
    table: dict[tuple[str, str, str], dict[str, Result]] = {}
    for result in results:
        key = (result.group, result.scenario, result.meaning)
        table.setdefault(key, {})[result.pair] = result
    return table


def terminal(results: Sequence[Result]) -> list[str]:
    """Render the table for a log."""
    lines = [f"{'scenario':<44}{''.join(f'{pair:<12}' for pair in PAIRS)}evidence"]
    for (group, scenario, _), cells in rows(results).items():
        marks = (MARKS[cells[p].verdict].strip("*") if p in cells else "-" for p in PAIRS)
        evidence = next((cells[p].evidence for p in PAIRS if p in cells), ())
        name = f"{group}: {scenario}"
        lines.append(f"{name:<44}{''.join(f'{m:<12}' for m in marks)}{'; '.join(evidence)}")
    lines += [f"proof: {proof}" for proof in proofs(results)]
    return lines


def proofs(results: Iterable[Result]) -> list[str]:
    """Give the distinct proofs, in the order they were first given."""
    return list(dict.fromkeys(proof for result in results for proof in result.proofs))


def markdown(results: Sequence[Result], now: datetime.datetime) -> str:
    """Render COMPATIBILITY.md."""
    lines = [
        "# Compatibility",
        "",
        "Written by `python3 tools/run.py interop --write`; do not edit. Every pass is against a "
        "real Rust endpoint in a process of its own:",
        "",
        *(f"- {proof}" for proof in proofs(results)),
        "",
        f"Run on {now:%Y-%m-%d}, {platform.system()} {platform.machine()}.",
    ]
    group = None
    for (section, scenario, meaning), cells in rows(results).items():
        if section != group:
            group = section
            heads = " | ".join(HEADINGS[pair] for pair in PAIRS)
            lines += ["", f"## {section}", "", f"| scenario | what a pass shows | {heads} |"]
            lines.append("|---|---|" + "---|" * len(PAIRS))
        marks = (MARKS[cells[pair].verdict] if pair in cells else "" for pair in PAIRS)
        lines.append(f"| {scenario} | {meaning} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"
