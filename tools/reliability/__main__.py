"""The scoreboard: every program of this folder, one after the other.

    nox -s reliability -- [--count 1000000] [--only ours] [--write]

    scoreboard      hostile peers against ours and the Rust endpoint       1.5 minutes
    flood           20 000 spoofed ClientHellos, an honest peer beside     0.5
    links           loss, reordering, black holes, in simulated time       1
    crash           kill -9 of the DNS server, 20 times under PUTs         2
    hostile_bytes   mutated queries to the DNS server                      1 for a million
                    mutated inputs against every decoder                   2 for a million

The exit code says whether ours did what it must in all of them.
"""

import argparse
import sys
from collections.abc import Callable

from reliability import crash, flood, hostile_bytes, links, scoreboard


def main() -> int:
    """Run them all, whatever becomes of one."""
    parser = argparse.ArgumentParser(description="Everything hostile, against everything.")
    parser.add_argument("--count", default="1000000", help="mutated inputs")
    parser.add_argument("--only", choices=("ours", "rust"))
    parser.add_argument("--write", action="store_true", help="renew docs/reliability.md")
    options = parser.parse_args()
    write = ["--write"] if options.write else []
    only = ["--only", options.only] if options.only else []
    programs: list[tuple[str, Callable[[list[str]], int], list[str]]] = [
        ("hostile peers", scoreboard.main, [*only, *write]),
        ("a flood", flood.main, [*only, *write]),
        ("bad links", links.main, write),
        ("kill -9", crash.main, write),
        ("hostile DNS", hostile_bytes.main, ["--count", options.count, "--only", "dns"]),
        ("hostile bytes", hostile_bytes.main, ["--count", options.count, *write]),
    ]
    codes = []
    for name, run, arguments in programs:
        print(f"== {name}", flush=True)
        codes.append(run(arguments))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
