"""What helps to test programs that use iroh, without the internet.

local_servers.py       a relay, a DNS server and endpoints, on loopback (extra `testing`)
pairs.py               two endpoints on loopback, connected
pytest_plugin.py       the same as fixtures: pytest_plugins = ["iroh.testing.pytest_plugin"]
memory_transport.py    endpoints that reach each other within the process: no socket, no port
simulated_network.py   hosts behind NATs, and a relay, in memory
simulated_endpoint.py  endpoints on it: real paths and hole punching, real QUIC
virtual_time.py        an event loop that waits for nothing
"""

import importlib
from typing import TYPE_CHECKING

from iroh.testing.memory_transport import (
    MEMORY_TRANSPORT_ID,
    MemoryNetwork,
    MemoryTransport,
    memory_addr,
)
from iroh.testing.virtual_time import VirtualTimeLoop, run_in_virtual_time

if TYPE_CHECKING:
    from iroh.testing.local_servers import LocalServers
    from iroh.testing.pairs import connect_pair
    from iroh.testing.simulated_endpoint import SimulatedEndpoint, add_endpoint, simulated_pair
    from iroh.testing.simulated_network import Nat, NatKind, SimulatedNetwork

__all__ = [
    "MEMORY_TRANSPORT_ID",
    "LocalServers",
    "MemoryNetwork",
    "MemoryTransport",
    "Nat",
    "NatKind",
    "SimulatedEndpoint",
    "SimulatedNetwork",
    "VirtualTimeLoop",
    "add_endpoint",
    "connect_pair",
    "memory_addr",
    "run_in_virtual_time",
    "simulated_pair",
]

_LATE = {
    "local_servers": ("LocalServers",),
    "pairs": ("connect_pair",),
    "simulated_endpoint": ("SimulatedEndpoint", "add_endpoint", "simulated_pair"),
    "simulated_network": ("Nat", "NatKind", "SimulatedNetwork"),
}
"""Imported when they are asked for: some need the extra, all need time."""


def __getattr__(name: str) -> object:
    """Import what is imported late."""
    for module, names in _LATE.items():
        if name in names:
            return getattr(importlib.import_module(f"iroh.testing.{module}"), name)
    raise AttributeError(f"module 'iroh.testing' has no attribute {name!r}")
