"""The one table: workloads as rows, implementations as columns, and the ratios.

Results[column][work] = list of figures, one dict per round; or an error text
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.figures import median

Rounds = list[dict[str, float]]
Results = Mapping[str, Mapping[str, Rounds | str]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a figure of a workload. `is_better`: "more" or "less"."""

    work: str
    figure: str
    text: str
    is_better: str

    def value(self, results: Results, column: str) -> float | str | None:
        """Give the median of the rounds, an error text, or None where nothing was measured."""
        rounds = results.get(column, {}).get(self.work)
        if rounds is None or isinstance(rounds, str):
            return rounds
        values = [seen[self.figure] for seen in rounds if self.figure in seen]
        return median(values) if values else None

    def ratio(self, results: Results, ours: str, theirs: str) -> float | None:
        """Say how many times better the first is than the second."""
        mine, other = self.value(results, ours), self.value(results, theirs)
        if isinstance(mine, str) or isinstance(other, str) or not mine or not other:
            return None
        return mine / other if self.is_better == "more" else other / mine


ROWS = (
    Row("bulk_up", "rate", "upload, MB/s", "more"),
    Row("bulk_up", "cpu_tx", "  sender, CPU s/GB", "less"),
    Row("bulk_up", "cpu_rx", "  receiver, CPU s/GB", "less"),
    Row("bulk_down", "rate", "download, MB/s", "more"),
    Row("bulk_down", "cpu_tx", "  sender, CPU s/GB", "less"),
    Row("bulk_down", "cpu_rx", "  receiver, CPU s/GB", "less"),
    Row("rtt", "p50", "round trip 64 B, p50 us", "less"),
    Row("rtt", "p99", "  p99 us", "less"),
    Row("rtt", "cpu", "  CPU us, both", "less"),
    Row("streams100", "rate", "streams, 100 at once, /s", "more"),
    Row("streams100", "cpu", "  CPU us, both", "less"),
    Row("handshake", "rate", "handshakes, /s", "more"),
    Row("handshake", "p50", "  connect p50 ms", "less"),
    Row("handshake", "cpu", "  CPU ms, both", "less"),
    Row("datagram", "rate", "datagrams 1000 B, /s", "more"),
    Row("datagram", "loss", "  lost, %", "less"),
    Row("datagram", "cpu", "  CPU us, both", "less"),
    Row("idle", "bound", "bound server, RSS MiB", "less"),
    Row("idle", "server", "  KiB per connection, server", "less"),
    Row("idle", "client", "  KiB per connection, client", "less"),
    Row("idle", "cpu", "  idle CPU, %, both", "less"),
)


def number(value: float | str | None) -> str:
    """Write a figure with three digits; errors and gaps as a word."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return "failed"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def lines(
    results: Results, columns: Sequence[str], ratios: Sequence[tuple[str, str]]
) -> Iterable[str]:
    """Give the lines of the table. Only rows of workloads that ran are shown."""
    ran = {work for column in results.values() for work in column}
    head = ["", *columns, *(f"{one}:{other}" for one, other in ratios)]
    body = []
    for row in ROWS:
        if row.work in ran:
            cells = [number(row.value(results, column)) for column in columns]
            times = [row.ratio(results, one, other) for one, other in ratios]
            cells += ["-" if r is None else f"{r:.2f}x" for r in times]
            body.append([row.text, *cells])
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    for line in [head, *body]:
        first, *rest = line
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells]).rstrip()


def errors(results: Results) -> Iterable[str]:
    """Say what failed."""
    for column, works in results.items():
        for work, rounds in works.items():
            if isinstance(rounds, str):
                yield f"failed: {column}, {work}: {rounds}"
