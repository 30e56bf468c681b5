"""Where the time of one side goes: cProfile of the client, per UDP datagram.

    PYTHONPATH=tools python -m bench.profile bulk_up     the sender
    PYTHONPATH=tools python -m bench.profile bulk_down   the receiver
    PYTHONPATH=tools python -m bench.profile rtt         both, in small steps

The client runs in this process and the server in another. First comes a run without the profiler:
its processor time per datagram is the true one. Then one with it: the profiler makes calls look
dearer than they are, so its figures are shares, not times. `--server` names another server, such as
iroh_ffi_fast (with IROH_RUST_PYTHON).
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import time
from pathlib import Path
from typing import Any

from bench import figures
from bench.interface import Client, Conn, Info, load
from bench.pairs import START_SECONDS, Process
from bench.workloads import WORKLOADS

Row = tuple[str, float, float, float]
"""Function, and per datagram: calls, own us, us with what it calls."""


class Counting:
    """A client that keeps its connections, to ask them for their packets afterwards."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._conns: list[Conn] = []

    async def connect(self, info: Info) -> Conn:
        """Connect, and remember it."""
        self._conns.append(await self._client.connect(info))
        return self._conns[-1]

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    def packets(self) -> int:
        """Count the datagrams of all connections, and forget these."""
        total = sum(conn.packets() or 0 for conn in self._conns)
        self._conns.clear()
        return max(1, total)


def rows(profile: cProfile.Profile, packets: int) -> list[Row]:
    """Give the functions by their own time, the dearest first."""
    stats: Any = pstats.Stats(profile)
    found = []
    for (path, line, name), (_, calls, own, total, _) in stats.stats.items():
        place = f"{'/'.join(Path(path).parts[-2:])}:{line} {name}" if line else name
        found.append((place, calls / packets, own / packets * 1e6, total / packets * 1e6))
    return sorted(found, key=lambda row: -row[2])


def show(found: list[Row], top: int) -> None:
    """Print the table."""
    everything = sum(row[2] for row in found)
    print(f"{'own us':>8} {'share':>6} {'calls':>7} {'with callees':>13}  function (per datagram)")
    for place, calls, own, total in found[:top]:
        share = own / everything
        print(f"{own:8.2f} {share:6.1%} {calls:7.2f} {total:13.2f}  {place}")
    print(f"{everything:8.2f} {'':6} {'':7} {'':13}  all, with the profiler's own cost")


async def run(chosen: argparse.Namespace, info: Info) -> None:
    """Measure without and with the profiler."""
    client = Counting(await load(chosen.impl).bind())
    work = WORKLOADS[chosen.work]
    await work(client, info, chosen.seconds / 4)
    client.packets()
    before = figures.cpu()
    seen = await work(client, info, chosen.seconds)
    spent, packets = figures.cpu() - before, client.packets()
    print(", ".join(f"{name} {value:.4g}" for name, value in seen.items()))
    print(
        f"without profiler: {spent / packets * 1e6:.2f} us of CPU per datagram, {packets} of them"
    )
    # Processor time: on a busy machine, wall time bills the others' turns to whoever waits.
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    try:
        await work(client, info, chosen.seconds)
    finally:
        profile.disable()
    packets = client.packets()
    print(f"with profiler: {packets} datagrams")
    show(rows(profile, packets), chosen.top)
    if chosen.out is not None:
        profile.dump_stats(chosen.out)
    await client.close()


def main() -> None:
    """Profile one workload."""
    parser = argparse.ArgumentParser(prog="bench.profile", description=__doc__.partition("\n")[0])
    parser.add_argument("work", choices=sorted(WORKLOADS))
    parser.add_argument("--impl", default="ours")
    parser.add_argument("--server", default="ours")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--top", type=int, default=30)
    parser.add_argument("--out", help="keep the profile, for pstats or snakeviz")
    chosen = parser.parse_args()
    server = Process("server", chosen.server)
    try:
        info = server.answer(START_SECONDS)
        print(f"{chosen.impl} > {chosen.server}: {json.dumps(info['versions'])}")
        asyncio.run(run(chosen, info))
    finally:
        server.end()


if __name__ == "__main__":
    main()
