"""Figures of processes and of the machine, from /proc. Linux only."""

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterable
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
MEGABYTE = 1_000_000


def cpu(pid: int | str = "self") -> float:
    """Give the seconds of processor time of all threads of a process, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid: int | str = "self") -> int:
    """Give the resident memory of a process, bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def load1() -> float:
    """Give the load of the last minute."""
    return os.getloadavg()[0]


def machine() -> str:
    """Say in one line what this runs on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.release()}"
    return f"{model}, {cores} cores, {system}, CPython {platform.python_version()}"


def versions(names: Iterable[str]) -> dict[str, str]:
    """Give the versions of the distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def percentile(ordered: list[float], share: float) -> float:
    """Give the value below which this share of a sorted list lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Iterable[float]) -> float:
    """Give the middle one."""
    return statistics.median(values)
