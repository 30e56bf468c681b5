"""What helps to test programs that use iroh, without the internet.

local_servers.py       a relay, a DNS server and endpoints, on loopback (extra `testing`)
pairs.py               two endpoints on loopback, connected
pytest_plugin.py       the same as fixtures: pytest_plugins = ["iroh.testing.pytest_plugin"]
memory_transport.py    endpoints that reach each other within the process: no socket, no port
simulated/             an internet in memory: endpoints behind NATs, relays, bad lines
virtual_time.py        an event loop that waits for nothing
checks.py              is a connection direct, does it become so, does it stay relayed?
"""

import importlib
from typing import TYPE_CHECKING

from iroh.testing.memory_transport import (
    MEMORY_TRANSPORT_ID,
    MemoryNetwork,
    MemoryTransport,
    memory_addr,
)
from iroh.testing.virtual_time import (
    VirtualTimeError,
    VirtualTimeLoop,
    in_virtual_time,
    run_in_virtual_time,
)

if TYPE_CHECKING:
    from iroh.testing.checks import (
        becomes_direct,
        becomes_relayed,
        describe_paths,
        is_direct,
        stays_relayed,
    )
    from iroh.testing.local_servers import LocalServers
    from iroh.testing.pairs import connect_pair
    from iroh.testing.simulated.host import SimulatedHost
    from iroh.testing.simulated.nat import Line, Nat, NatKind
    from iroh.testing.simulated.network import SimulatedNetwork
    from iroh.testing.simulated.relay import SimulatedRelay

__all__ = [
    "MEMORY_TRANSPORT_ID",
    "Line",
    "LocalServers",
    "MemoryNetwork",
    "MemoryTransport",
    "Nat",
    "NatKind",
    "SimulatedHost",
    "SimulatedNetwork",
    "SimulatedRelay",
    "VirtualTimeError",
    "VirtualTimeLoop",
    "becomes_direct",
    "becomes_relayed",
    "connect_pair",
    "describe_paths",
    "in_virtual_time",
    "is_direct",
    "memory_addr",
    "run_in_virtual_time",
    "stays_relayed",
]

_LATE = {
    "checks": ("becomes_direct", "becomes_relayed", "describe_paths", "is_direct", "stays_relayed"),
    "local_servers": ("LocalServers",),
    "pairs": ("connect_pair",),
    "simulated.host": ("SimulatedHost",),
    "simulated.nat": ("Line", "Nat", "NatKind"),
    "simulated.network": ("SimulatedNetwork",),
    "simulated.relay": ("SimulatedRelay",),
}
"""Imported when they are asked for: some need the extra, all need time."""


if not TYPE_CHECKING:  # a checker shall know a name that there is not

    def __getattr__(name: str) -> object:
        """Import what is imported late."""
        for module, names in _LATE.items():
            if name in names:
                return getattr(importlib.import_module(f"iroh.testing.{module}"), name)
        raise AttributeError(f"module 'iroh.testing' has no attribute {name!r}")
