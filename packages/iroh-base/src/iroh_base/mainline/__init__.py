"""The BitTorrent Mainline DHT, as much of it as stores and finds signed items (BEP 5, BEP 44).

bencode.py   the encoding of everything                      krpc.py    queries, answers, errors
items.py     what is stored: signed, with a sequence number  table.py   nodes that are known
lookup.py    the way to the nodes nearest to a target        store.py   what a server keeps
node.py      DhtNode: all of it behind five verbs

Sans-IO: datagrams, time and randomness are arguments. IPv4 only, as upstream's n0-mainline.
"""

from .items import MutableItem, item_target
from .krpc import Addr, Contact
from .node import DEFAULT_BOOTSTRAP, DhtNode, DhtStats, GetResult, PutResult, Result
from .table import NODE_ID_LENGTH

__all__ = [
    "DEFAULT_BOOTSTRAP",
    "NODE_ID_LENGTH",
    "Addr",
    "Contact",
    "DhtNode",
    "DhtStats",
    "GetResult",
    "MutableItem",
    "PutResult",
    "Result",
    "item_target",
]
