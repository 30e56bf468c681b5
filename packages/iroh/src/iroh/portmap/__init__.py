"""Port mapping: a port of the home router that leads to an endpoint's socket.

service.py    PortMapper: gets, renews, watches and releases one mapping
protocols.py  NAT-PMP and PCP           nat_pmp.py, pcp.py                their bytes (sans-IO)
upnp.py       UPnP IGD                  ssdp.py, igd.py, xml.py           its texts (sans-IO)
mapping.py    what they have in common  udp_query.py                      questions to the gateway
"""

from .mapping import Mapping, Router
from .service import PortMapper

__all__ = ["Mapping", "PortMapper", "Router"]
