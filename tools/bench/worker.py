"""One process of the benchmark: `python -m bench.worker server NAME` or `... client NAME`.

A server writes its info as one JSON line and serves. A client reads one JSON line per measurement,
{"work": ..., "info": ..., "seconds": ...}, and answers each with one: {"ok": figures} or
{"error": text}. Both end with their stdin.
"""

import asyncio
import json
import os
import sys
import traceback
from typing import Any

from bench import figures
from bench.interface import Adapter, load
from bench.service import Service
from bench.workloads import WORKLOADS


def tell(**facts: Any) -> None:
    """Write a line to the process that started us."""
    print(json.dumps(facts), flush=True)


async def serve(adapter: Adapter) -> None:
    """Be the server."""
    before = figures.memory()
    service = Service()
    info = await adapter.serve(service.on_stream, service.on_datagram)
    info |= {"pid": os.getpid(), "memory_import": before, "memory_bound": figures.memory()}
    tell(**info, versions=figures.versions(adapter.DISTS))
    await asyncio.to_thread(sys.stdin.read)


async def dial(adapter: Adapter) -> None:
    """Be the client."""
    client = await adapter.bind()
    tell(pid=os.getpid(), versions=figures.versions(adapter.DISTS))
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        try:
            seen = await WORKLOADS[order["work"]](client, order["info"], order["seconds"])
        except Exception as error:  # noqa: BLE001 (one measurement failed: the table says so)
            traceback.print_exc()
            tell(error=f"{type(error).__name__}: {error}")
        else:
            tell(ok=seen)


def main(role: str, name: str) -> None:
    """Run until stdin ends. What is still under way then is of no interest any more."""
    asyncio.run({"server": serve, "client": dial}[role](load(name)))


if __name__ == "__main__":
    main(*sys.argv[1:])
