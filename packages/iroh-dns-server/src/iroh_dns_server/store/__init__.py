"""Where signed packets are kept: the interface, on sqlite, and on PostgreSQL (`store.postgres`)."""

from iroh_dns_server.store.base import Expired, LocalStore, PacketStore, PutOutcome, SharedStore
from iroh_dns_server.store.sqlite import SqliteStore

__all__ = ["Expired", "LocalStore", "PacketStore", "PutOutcome", "SharedStore", "SqliteStore"]
