"""The table of a run: a line a case, a column a pair, Python and Rust side by side.

The same Markdown is printed and written to docs/natlab.md.
"""

import platform
import statistics
from collections.abc import Iterable, Iterator
from typing import Any, Final

from natlab.runner import Result
from natlab.scenarios import disturb, matrix, upstream

MAIN: Final = ("switched s", "ping after ms", "ping ms", "direct s", "connect ms")
"""The figure that stands for one of n0's cases: the first of these that it has."""
WORSE: Final = {"s": 0.25, "ms": 3000 * matrix.ROUND_TRIP}
"""What is called slower than Rust: by a quarter, and by this much."""
UNDISTURBED: Final = "undisturbed"
PAIR_WORDS = {
    "PP": "Python-Python",
    "PR": "Python-Rust",
    "RP": "Rust-Python",
    "RR": "Rust-Rust",
}
Cells = dict[tuple[str, str], Result]


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """Lay out a Markdown table that is aligned as text, too."""
    listed = [header, *rows]
    widths = [max(len(row[column]) for row in listed) for column in range(len(header))]
    lines = [" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in listed]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def acceptance_table(rows: list[tuple[str, dict[str, Any], bool]]) -> str:
    """Lay out what the classifier found."""
    lines = []
    for name, found, right in rows:
        told = ", ".join(f"{key} {value}" for key, value in found.items())
        lines.append(f"  {name:22} {'ok  ' if right else 'WRONG'} {told}")
    return "\n".join(lines)


class Report:
    """Lays out the results of one run."""

    def __init__(self, results: list[Result], seconds: float, proofs: Iterable[str]) -> None:
        self.results = results
        self.seconds = seconds
        self.proofs = sorted(proofs)
        self.pairs = [pair for pair in PAIR_WORDS if any(r.pair == pair for r in results)]
        self.cells: Cells = {(result.case.name, result.pair): result for result in results}

    def text(self) -> str:
        """Give everything as Markdown."""
        parts = [
            self.summary(),
            self.upstream(),
            self.matrix(),
            self.transfers(),
            self.slower(),
            self.failures(),
        ]
        return "\n\n".join(part for part in parts if part)

    def page(self, date: str) -> str:
        """Give the page that is kept in the repository."""
        versions = "\n".join(f"- {proof}" for proof in self.proofs)
        return (
            "# The network lab\n\n"
            f"Written on {date} by `nox -s natlab -- --full --write`, with what earlier runs "
            f"had put into `--results`; {self.seconds / 60:.0f} minutes in all, "
            f"Linux {platform.release()}, Python {platform.python_version()}.\n\n"
            "A pair is named dialer first. Every dial begins over the relay. Times are seconds "
            "from the dial unless a column says otherwise; *again* marks what failed beside other "
            "cases and passed alone. The times hold for a machine of two cores that runs several "
            "labs at once, and other work beside them: how busy it was, the ms that a process was "
            "woken late tell. Rust is told its outside address by the lab when it binds; Python "
            "asks the relay for it. How the lab works: [README](../tools/natlab/README.md).\n\n"
            f"{versions}\n\n{self.text()}\n"
        )

    # what is where

    def names(self, group: str) -> list[str]:
        """Give the names of a group's cases, in order."""
        return list(dict.fromkeys(r.case.name for r in self.results if r.case.group == group))

    def of(self, group: str, pair: str) -> list[Result]:
        """Give the results of a group for a pair."""
        return [r for r in self.results if r.case.group == group and r.pair == pair]

    # the parts

    def summary(self) -> str:
        """Count what passed."""
        lines = [
            ("n0's cases", upstream.GROUP, False),
            ("those n0 does not run", upstream.GROUP, True),
            ("matrix", matrix.GROUP, False),
            ("transfers", disturb.GROUP, False),
        ]
        rows = []
        for label, group, ignored in lines:
            row = [label]
            for pair in self.pairs:
                found = [r for r in self.of(group, pair) if r.case.ignored is ignored]
                row.append(f"{sum(r.ok for r in found)} of {len(found)}")
            rows.append(row)
        return "## What passed\n\n" + table(["", *self.heads()], rows)

    def heads(self) -> list[str]:
        """Name the pairs."""
        return [PAIR_WORDS[pair] for pair in self.pairs]

    def upstream(self) -> str:
        """Lay out n0's cases with the figure that matters in each."""
        rows = []
        for name in self.names(upstream.GROUP):
            results = [self.cells.get((name, pair)) for pair in self.pairs]
            ignored = any(r is not None and r.case.ignored for r in results)
            cells = [self.cell(result) for result in results]
            rows.append([f"{name}{' (not run by n0)' if ignored else ''}", *cells])
        title = "## n0's own cases\n\n"
        return title + table(["case", *self.heads()], rows) if rows else ""

    def cell(self, result: Result | None) -> str:
        """Give a result in a few words."""
        if result is None:
            return ""
        if not result.ok:
            return "FAIL"
        figure = next((f"{n} {result.figures[n]}" for n in MAIN if n in result.figures), "ok")
        return figure + (" (again)" if result.again else "")

    def matrix(self) -> str:
        """Lay out the grid, and the figures over all cells."""
        names = self.names(matrix.GROUP)
        if not names:
            return ""
        parts = ["## Every network against every other"]
        kinds = list(matrix.KINDS)
        grid = [n for n in names if " x " in n]
        if len(grid) == len(kinds) ** 2:
            rows = [[one, *(self.verdict(f"{one} x {two}") for two in kinds)] for one in kinds]
            parts.append(table(["dialer, listener", *kinds], rows))
            names = [n for n in names if n not in grid]
        parts.append(table(["cell", ""], [[name, self.verdict(name)] for name in names]))
        parts.append(self.matrix_figures())
        return "\n\n".join(parts)

    def verdict(self, name: str) -> str:
        """Say what a cell is, when all pairs agree; else who failed."""
        results = [self.cells[name, pair] for pair in self.pairs if (name, pair) in self.cells]
        failed = [result.pair for result in results if not result.ok]
        if failed:
            return f"FAIL {','.join(failed)}"
        return str(results[0].figures["wanted"]) if results else ""

    def matrix_figures(self) -> str:
        """Give median and worst of each figure, by pair."""
        rows = []
        for label, figure, direct in (
            ("first byte s", "first byte s", None),
            ("direct s", "direct s", None),
            ("longest stall ms, cells that become direct", "stall ms", True),
            ("longest stall ms, cells that stay relayed", "stall ms", False),
            ("of it, ms that a process was woken late", "late ms", None),
        ):
            row = [label]
            for pair in self.pairs:
                values = list(self.values(pair, figure, direct))
                row.append(f"{statistics.median(values):.3g}, {max(values):.3g}" if values else "-")
            rows.append(row)
        lost = [str(sum(self.values(pair, "lost", None), start=0.0)) for pair in self.pairs]
        rows.append(["bytes lost, all cells", *lost])
        note = (
            f"Median and worst. Round trip {1000 * matrix.ROUND_TRIP:.0f} ms, directly and by the "
            "relay; a block of 1000 bytes is sent every 10 ms."
        )
        return table(["", *self.heads()], rows) + "\n\n" + note

    def values(self, pair: str, figure: str, direct: bool | None) -> Iterator[float]:
        """Give a figure of the matrix cells that passed."""
        for result in self.of(matrix.GROUP, pair):
            fits = direct is None or (result.figures.get("wanted") == "direct") is direct
            value = result.figures.get(figure)
            if result.ok and fits and isinstance(value, float | int):
                yield float(value)

    def transfers(self) -> str:
        """Lay out the transfers: seconds, and how many more than undisturbed."""
        rows = []
        for name in self.names(disturb.GROUP):
            row = [name]
            for pair in self.pairs:
                result = self.cells.get((name, pair))
                row.append(self.transfer(result, pair) if result else "")
            rows.append(row)
        if not rows:
            return ""
        note = (
            "Seconds for 6 MB at 8 Mbit/s and 40 ms, disturbed after 2 s, and in brackets how many "
            "more than undisturbed; the bad cables carry 1 MB. *alone*: the relay was stopped "
            "before. Every checksum is right where there is a time."
        )
        title = "## Transfers that are disturbed\n\n"
        return title + table(["disturbance", *self.heads()], rows) + "\n\n" + note

    def transfer(self, result: Result, pair: str) -> str:
        """Give the time of a transfer."""
        if not result.ok:
            return "FAIL"
        seconds = float(result.figures["seconds"])
        plain = self.cells.get((UNDISTURBED, pair))
        extra = ""
        if plain is not None and plain.ok and result.figures["bytes"] == plain.figures["bytes"]:
            extra = f" ({seconds - float(plain.figures['seconds']):+.1f})"
        return f"{seconds:.1f}{extra}{' (again)' if result.again else ''}"

    def slower(self) -> str:
        """Say where Python with Python is slower than Rust with Rust, and by how much."""
        if not {"PP", "RR"} <= set(self.pairs):
            return ""
        rows = []
        for (name, pair), ours in self.cells.items():
            rust = self.cells.get((name, "RR"))
            if pair != "PP" or rust is None or not (ours.ok and rust.ok):
                continue
            if ours.case.group == matrix.GROUP:
                continue  # one cell is little against the noise of a busy machine: see the medians
            for figure, value in ours.figures.items():
                other = rust.figures.get(figure)
                if not isinstance(value, float | int) or not isinstance(other, float | int):
                    continue
                if value > 1.25 * other and value - other > WORSE.get(figure.split()[-1], 0.25):
                    rows.append([name, figure, f"{value:g}", f"{other:g}", f"{value - other:.3g}"])
        if not rows:
            return "## Where Rust does better\n\nNowhere, by more than a quarter."
        head = ["case", "figure", "Python-Python", "Rust-Rust", "more"]
        return "## Where Rust does better\n\n" + table(head, rows)

    def failures(self) -> str:
        """Say what went wrong, line by line."""
        failed = [r for r in self.results if not r.ok]
        if not failed:
            return ""
        lines = [f"- {r.case.group} {r.case.name} {r.pair}: {r.text}" for r in failed]
        return "## What failed\n\n" + "\n".join(lines)
