"""Publishing to, and finding by, the BitTorrent Mainline DHT: no server of anybody's is needed.

driver.py    Dht: a node of `iroh_base.mainline` on a UDP socket
lookup.py    DhtAddressLookup: the lookup service over it
"""

from .driver import Dht, DhtError
from .lookup import DhtAddressLookup

__all__ = ["Dht", "DhtAddressLookup", "DhtError"]
