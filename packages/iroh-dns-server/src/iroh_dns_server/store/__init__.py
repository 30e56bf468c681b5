"""Where signed packets are kept: the interface, on sqlite, and on PostgreSQL (`store.postgres`)."""

from iroh_dns_server.store.base import Expired, PacketStore, PutOutcome, SharedStore
from iroh_dns_server.store.sqlite import SqliteStore

__all__ = ["Expired", "PacketStore", "PutOutcome", "SharedStore", "SqliteStore"]
