"""How simulated endpoints find each other by id: a table in place of pkarr and DNS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from iroh.address_lookup import AddressLookup, LookupContext, LookupItem
from iroh_base import AddrFilter, EndpointData, EndpointInfo, PublicKey

if TYPE_CHECKING:
    from iroh.testing.simulated.network import SimulatedNetwork

__all__ = ["Directory"]

DELAY = 0.030
"""Seconds that an answer takes."""


class Directory:
    """What endpoints have published: where their relay is, and no address, as with n0's preset.

    is_up: False lets lookups fail and publishes nothing.
    """

    def __init__(self, network: SimulatedNetwork) -> None:
        self.is_up = True
        self._network = network
        self.published: dict[PublicKey, EndpointData] = {}

    def service(self) -> AddressLookup:
        """Give an endpoint's way to it."""
        return _Service(self)


class _Service(AddressLookup):
    provenance = "simulated"

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._id: PublicKey | None = None

    def bind(self, context: LookupContext) -> None:
        self._id = context.secret_key.public()

    def publish(self, data: EndpointData) -> None:
        if self._directory.is_up and self._id is not None:
            self._directory.published[self._id] = data.filtered(AddrFilter.relay_only())

    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        await asyncio.sleep(DELAY)
        if not self._directory.is_up:
            raise OSError("the simulated directory is down")
        data = self._directory.published.get(endpoint_id)
        if data is not None:
            yield LookupItem(EndpointInfo(endpoint_id, data), self.provenance)
