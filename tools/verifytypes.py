"""Says how much of the public types a type checker knows, by pyright --verifytypes.

                    all names   what users see
    iroh_base        100.00 %         100.00 %

"All names" are those of every module that do not begin with an underscore, the engine's inner ones
too: a type is known when it is declared, not when a checker could guess it. "What users see" is
what `__all__` of the modules in SHOWN names, with the methods and attributes of those classes.
Fails below LEAST, and says which names it lacks, and where.
"""

import importlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

LEAST = 100.0
"""Percent of either figure."""
SHOWN = {
    "iroh_base": ("iroh_base",),
    "iroh_relay": ("iroh_relay.relay_map", "iroh_relay.client", "iroh_relay.server"),
    "iroh_dns_server": ("iroh_dns_server.config", "iroh_dns_server.server"),
    "iroh": ("iroh",),
}
"""Package -> the modules whose `__all__` is for users."""
NAMED = 20
"""Names that are listed, of those that are lacking; the others mostly follow from them."""


class Figures(NamedTuple):
    """What pyright found in one package: percents, and a line for each name that it lacks."""

    all_names: float
    seen: float
    lacking: list[str]


def shown(package: str) -> set[str]:
    """Give the full names of what the package's `__all__` names."""
    modules = [importlib.import_module(name) for name in SHOWN[package]]
    things = [getattr(module, name) for module in modules for name in module.__all__]
    full = {f"{getattr(t, '__module__', '')}.{getattr(t, '__qualname__', '')}" for t in things}
    return {name for name in full if name.startswith(package)}


def ask_pyright(package: str) -> dict[str, Any]:
    """Give its report on the package. Exits with what pyright says if there is none."""
    command = ["pyright", "--ignoreexternal", "--outputjson", "--verifytypes", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report: dict[str, Any] = json.loads(done.stdout)["typeCompleteness"]
    except (ValueError, KeyError):
        report = {"symbols": []}
    if not report["symbols"]:
        sys.exit(
            f"pyright does not find {package}, in the environment of the first `python`:\n"
            f"{done.stdout}{done.stderr}"
        )
    return report


def measure(package: str) -> Figures:
    """Give the figures of one package."""
    report = ask_pyright(package)
    names = shown(package)
    symbols = [symbol for symbol in report["symbols"] if symbol["isExported"]]
    seen = [s for s in symbols if s["name"] in names or s["name"].rpartition(".")[0] in names]
    known = sum(symbol["isTypeKnown"] for symbol in seen)
    lacking = [
        f"{place(diagnostic)}{symbol['name']}: {diagnostic['message'].splitlines()[0]}"
        for symbol in symbols
        if not symbol["isTypeKnown"]
        for diagnostic in symbol["diagnostics"]
    ]
    lacking.sort(key=lambda line: "missing type annotation" not in line)  # the causes first
    return Figures(100 * report["completenessScore"], 100 * known / max(1, len(seen)), lacking)


def place(diagnostic: dict[str, Any]) -> str:
    """Say where that is, as editors understand it; nothing where pyright does not know."""
    if not diagnostic.get("file") or "range" not in diagnostic:
        return ""
    line = diagnostic["range"]["start"]["line"] + 1
    return f"{os.path.relpath(diagnostic['file'])}:{line} "


def main() -> int:
    """Print the table; the status is 1 when a figure is too low."""
    low = False
    print(f"{'':16s}  all names   what users see")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for package, found in zip(SHOWN, pool.map(measure, SHOWN), strict=True):
            line = f"{package:16s}  {found.all_names:7.2f} %         {found.seen:6.2f} %"
            print(line, flush=True)
            if min(found.all_names, found.seen) < LEAST:
                low = True
                print("\n".join(f"    {name}" for name in found.lacking[:NAMED]))
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
