"""Counters as OpenMetrics text, as iroh's servers and endpoints show them to Prometheus.

    # HELP relayserver_accepts Number of client connections accepted.
    # TYPE relayserver_accepts counter
    relayserver_accepts_total 12
    # HELP dns_server_cache_zones Decoded zones in memory.
    # TYPE dns_server_cache_zones gauge
    dns_server_cache_zones 7
    # EOF

HELP and TYPE use the bare name, the value of a counter ends in `_total`, once; they stand once
before values that differ in their labels alone. A help text ends like a sentence. Sources: the
OpenMetrics 1.0 specification, and iroh-metrics `encoding.rs`, `family.rs`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["CONTENT_TYPE", "Metric", "document", "openmetrics"]

CONTENT_TYPE: Final = "text/plain; charset=utf-8"
"""What iroh's metrics servers call it (iroh-metrics `service.rs`)."""
_TOTAL: Final = "_total"
_STOPS: Final = (".", "?", "!")
_LABEL_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})


@dataclass(frozen=True, slots=True)
class Metric:
    """One value: `name` without a suffix, and what it means. A gauge may go down again."""

    name: str
    value: int
    help: str
    is_gauge: bool = False
    labels: tuple[tuple[str, str], ...] = ()


def openmetrics(group: str, metrics: Iterable[Metric]) -> str:
    """The lines of one group, each name with the group before it. Ends without `# EOF`."""
    lines: list[str] = []
    last = ""
    for metric in metrics:
        name = f"{group}_{metric.name}"
        if name != last:
            text = metric.help.translate(_ESCAPES)
            stop = "" if text.endswith(_STOPS) else "."
            kind = "gauge" if metric.is_gauge else "counter"
            lines += (f"# HELP {name} {text}{stop}", f"# TYPE {name} {kind}")
            last = name
        suffix = "" if metric.is_gauge or name.endswith(_TOTAL) else _TOTAL
        lines.append(f"{name}{suffix}{_labels(metric)} {metric.value}")
    return "".join(f"{line}\n" for line in lines)


def document(*groups: str) -> str:
    """A whole page: the texts of groups, and the end that OpenMetrics asks for."""
    return "".join(groups) + "# EOF\n"


def _labels(metric: Metric) -> str:
    pairs = ",".join(f'{key}="{value.translate(_LABEL_ESCAPES)}"' for key, value in metric.labels)
    return f"{{{pairs}}}" if pairs else ""
