"""Answers that still hold: least recently used out first, never longer than their TTL or a day."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .records import RecordType

__all__ = ["DnsCache"]

MAX_CACHE_ENTRIES = 4096
"""Upstream n0-dns-resolver `MAX_CACHE_ENTRIES`."""

MAX_TTL_SECS = 86400
"""Upstream n0-dns-resolver `MAX_TTL_SECS`."""

_Key = tuple[str, RecordType]


class DnsCache:
    """A bounded map from name and type to records. Only positive answers are kept."""

    def __init__(
        self, monotonic: Callable[[], float], max_entries: int = MAX_CACHE_ENTRIES
    ) -> None:
        self._monotonic = monotonic
        self._max_entries = max_entries
        self._entries: OrderedDict[_Key, tuple[float, tuple[Any, ...]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str, kind: RecordType) -> tuple[Any, ...] | None:
        """The records, or None if there are none or their time is over."""
        key = (_normal(name), kind)
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires, records = entry
        if self._monotonic() >= expires:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return records

    def put(self, name: str, kind: RecordType, records: tuple[Any, ...], ttl: int) -> None:
        """Keep records for `ttl` seconds; a TTL of 0 keeps nothing (RFC 1035 section 3.2.1)."""
        key = (_normal(name), kind)
        if ttl <= 0:
            self._entries.pop(key, None)
            return
        self._entries[key] = (self._monotonic() + min(ttl, MAX_TTL_SECS), records)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


def _normal(name: str) -> str:
    return name.removesuffix(".").lower()  # RFC 4343: case does not matter
