"""Addresses that the program itself knows, e.g. out of tickets (upstream `MemoryLookup`)."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import ClassVar, Self

from iroh.resolver import SystemClock
from iroh_base import EndpointAddr, EndpointData, EndpointInfo, PublicKey

from .base import AddressLookup, LookupItem

__all__ = ["MemoryLookup"]


class MemoryLookup(AddressLookup):
    """A table of endpoints, filled by hand. It holds what you put in until you take it out."""

    PROVENANCE: ClassVar[str] = "memory_lookup"

    def __init__(
        self,
        provenance: str = PROVENANCE,
        *,
        time_us: Callable[[], int] | None = None,
    ) -> None:
        self.provenance = provenance
        self._time_us = time_us or SystemClock().time_us
        self._endpoints: dict[PublicKey, tuple[EndpointData, int]] = {}

    @classmethod
    def from_endpoint_info(cls, infos: Iterable[EndpointInfo | EndpointAddr]) -> Self:
        """A table that holds these endpoints."""
        lookup = cls()
        for info in infos:
            lookup.add_endpoint_info(info)
        return lookup

    def set_endpoint_info(self, info: EndpointInfo | EndpointAddr) -> EndpointData | None:
        """Replace what is known about an endpoint; returns what was known before."""
        info = _to_info(info)
        before = self._endpoints.get(info.endpoint_id)
        self._endpoints[info.endpoint_id] = (info.data, self._time_us())
        return before[0] if before else None

    def add_endpoint_info(self, info: EndpointInfo | EndpointAddr) -> None:
        """Add addresses behind those known. The user data is replaced, also by none."""
        info = _to_info(info)
        known = self._endpoints.get(info.endpoint_id)
        data = info.data
        if known is not None:
            data = EndpointData([*known[0].addrs, *data.addrs], data.user_data)
        self._endpoints[info.endpoint_id] = (data, self._time_us())

    def get_endpoint_info(self, endpoint_id: PublicKey) -> EndpointInfo | None:
        """What is known about an endpoint."""
        known = self._endpoints.get(endpoint_id)
        return EndpointInfo(endpoint_id, known[0]) if known else None

    def remove_endpoint_info(self, endpoint_id: PublicKey) -> EndpointInfo | None:
        """Forget an endpoint; returns what was known."""
        known = self._endpoints.pop(endpoint_id, None)
        return EndpointInfo(endpoint_id, known[0]) if known else None

    def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem] | None:
        """One item, or None for an unknown endpoint."""
        known = self._endpoints.get(endpoint_id)
        if known is None:
            return None
        data, updated = known
        return _once(LookupItem(EndpointInfo(endpoint_id, data), self.provenance, updated))


def _to_info(info: EndpointInfo | EndpointAddr) -> EndpointInfo:
    return info if isinstance(info, EndpointInfo) else EndpointInfo.from_endpoint_addr(info)


async def _once(item: LookupItem) -> AsyncIterator[LookupItem]:
    yield item
