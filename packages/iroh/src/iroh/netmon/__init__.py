"""The machine's network: what it is like, and when it changes.

monitor.py    NetworkMonitor: debounce, polling, sleep
state.py      NetworkState, and which changes are major
linux.py      rtnetlink sockets            netlink.py, rtnetlink.py   their bytes (sans-IO)
table.py      rtnetlink's records -> state
portable.py   what every system tells
"""

from .monitor import NetworkMonitor, read_network
from .state import DefaultRoute, Interface, LocalIp, NetworkChange, NetworkState

__all__ = [
    "DefaultRoute",
    "Interface",
    "LocalIp",
    "NetworkChange",
    "NetworkMonitor",
    "NetworkState",
    "read_network",
]
