"""Tables of the scoreboard: on the terminal, and in docs/reliability.md.

The page has one part per program, between marks, so that each renews its own:

    <!-- begin hostile --> ... <!-- end hostile -->
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one victim did: outcome in words, whether it is right, and its price."""

    outcome: str
    right: bool
    cpu: float
    memory: int
    friend: bool

    @property
    def price(self) -> str:
        """Processor time, memory, and a word when the honest peer was not served."""
        text = f"{1000 * self.cpu:.0f} ms, {self.memory / 1e6:.1f} MB"
        return text if self.friend else f"{text}, honest peer NOT served"


@dataclass(frozen=True, slots=True)
class Row:
    """One case and what became of it: kind of victim -> cell."""

    group: str
    name: str
    wants: str
    cells: Mapping[str, Cell]


def scores(table: Sequence[Row], versions: Mapping[str, str]) -> list[str]:
    """Count what is right, a line per victim and group."""
    lines = []
    for kind, version in versions.items():
        for group in dict.fromkeys(row.group for row in table):
            cells = [row.cells[kind] for row in table if row.group == group]
            right = sum(cell.right for cell in cells)
            worst = max(cell.cpu for cell in cells)
            memory = max(cell.memory for cell in cells) / 1e6
            served = sum(cell.friend for cell in cells)
            lines.append(
                f"{group}, {version}: {right} of {len(cells)} right, at most {worst:.2f} s of CPU "
                f"and {memory:.1f} MB a case, honest peer served in {served}"
            )
    return lines


def as_text(table: Sequence[Row], versions: Mapping[str, str]) -> str:
    """Draw the table for a terminal."""
    lines = []
    for row in table:
        lines.append(f"{row.group}: {row.name}: {row.wants}")
        for kind, cell in row.cells.items():
            mark = "ok " if cell.right else "NOT"
            lines.append(f"    {kind:5} {mark} {cell.outcome:36} {cell.price}")
    return "\n".join([*lines, *scores(table, versions)])


def as_markdown(table: Sequence[Row], versions: Mapping[str, str]) -> str:
    """Draw the table for the page: the score, and every row in which somebody went wrong."""
    lines = [f"- {line}" for line in scores(table, versions)]
    lines += ["", "Cases that are not right with one of them:", ""]
    kinds = list(versions)
    lines.append("| case | wanted | " + " | ".join(kinds) + " |")
    lines.append("|---" * (2 + len(kinds)) + "|")
    for row in table:
        cells = [row.cells[kind] for kind in kinds]
        if all(cell.right for cell in cells):
            continue
        shown = [f"{cell.outcome}; {cell.price}" for cell in cells]
        lines.append(f"| {row.group}: {row.name} | {row.wants} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def write_hostile(table: Sequence[Row], versions: Mapping[str, str]) -> None:
    """Renew the part about hostile peers."""
    write("hostile", as_markdown(table, versions))


def write(part: str, text: str) -> None:
    """Renew one part of the page."""
    page = PAGE.read_text()
    begin, end = f"<!-- begin {part} -->", f"<!-- end {part} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
    fresh = f"{begin}\n\n{text}\n\n{end}"
    if not pattern.search(page):
        raise SystemExit(f"{PAGE.name} has no part {part!r}")
    PAGE.write_text(pattern.sub(lambda _: fresh, page))
