"""Where signed packets are kept: the interface and its sqlite implementation."""

from iroh_dns_server.store.base import Expired, PacketStore, PutOutcome
from iroh_dns_server.store.sqlite import SqliteStore

__all__ = ["Expired", "PacketStore", "PutOutcome", "SqliteStore"]
