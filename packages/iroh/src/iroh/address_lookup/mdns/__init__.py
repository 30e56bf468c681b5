"""Finding endpoints on the local network by multicast DNS, without any server.

wire.py      the two messages, query and reply       sans-IO
swarm.py     who asks when, who answers when, and who is gone   sans-IO
links.py     multicast sockets on every interface
lookup.py    MdnsAddressLookup: the lookup service over them
"""

from .lookup import (
    Discovered,
    DiscoveryEvent,
    DiscoveryStream,
    Expired,
    MdnsAddressLookup,
    MdnsStats,
)

__all__ = [
    "Discovered",
    "DiscoveryEvent",
    "DiscoveryStream",
    "Expired",
    "MdnsAddressLookup",
    "MdnsStats",
]
