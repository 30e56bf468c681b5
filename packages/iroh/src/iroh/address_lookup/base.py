"""What an address lookup service is: it publishes our addresses, finds those of others, or both.

A service is any object with two methods:

    publish(data)        fire and forget: returns at once, tells the world in the background
    resolve(id)          an async iterator of items, or None if the service cannot help

and, if it likes, `bind(context)`, called once when the endpoint is there, and `async close()`.
Deriving from `AddressLookup` is a way to have one of the two methods only.

    class Directory(AddressLookup):
        "Finds the machines of our own network."

        async def resolve(self, endpoint_id):
            for addr in await ask_our_directory(endpoint_id):
                yield LookupItem(EndpointInfo.from_endpoint_addr(addr), "directory")

    endpoint.add_address_lookup(Directory())
"""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from iroh.resolver import Clock, DnsResolver, SystemClock
from iroh_base import AddrFilter, EndpointData, EndpointInfo, PublicKey, SecretKey

if TYPE_CHECKING:
    from iroh.netmon import NetworkMonitor

__all__ = [
    "AddressLookup",
    "FilteredAddressLookup",
    "LookupContext",
    "LookupItem",
    "SupportsBind",
    "SupportsClose",
]


@dataclass(frozen=True, slots=True)
class LookupItem:
    """One finding: the addresses, which kind of service found them, and how old they are."""

    endpoint_info: EndpointInfo
    provenance: str
    last_updated_us: int | None = None
    """Microseconds since the Unix epoch, if known."""

    @property
    def endpoint_id(self) -> PublicKey:
        """Whose addresses these are."""
        return self.endpoint_info.endpoint_id


@dataclass(frozen=True, slots=True)
class LookupContext:
    """What an endpoint gives its services when it is bound."""

    secret_key: SecretKey = field(repr=False)
    resolver: DnsResolver
    clock: Clock = field(default_factory=SystemClock)
    ssl_context: ssl.SSLContext | None = None
    """For HTTPS; None means the trust roots of the system."""
    monitor: "NetworkMonitor | None" = None
    """What the endpoint knows of the machine's network, and hears of its changes."""


class AddressLookup(Protocol):
    """A lookup service; both methods have a default that does nothing."""

    def publish(self, data: EndpointData, /) -> None:
        """Make our addresses known. Must not block and must not raise."""
        return

    def resolve(self, endpoint_id: PublicKey, /) -> AsyncIterator[LookupItem] | None:
        """Look for an endpoint's addresses; None if this service has none and never will.

        What the iterator raises counts as a failure of this service alone. It is cancelled and
        closed (`aclose`) as soon as nobody wants more.
        """
        return None


@runtime_checkable
class SupportsBind(Protocol):
    """A service that wants to know the endpoint it serves."""

    def bind(self, context: LookupContext, /) -> None:
        """Called once, before the first `publish` or `resolve`."""
        ...


@runtime_checkable
class SupportsClose(Protocol):
    """A service that holds something."""

    async def close(self) -> None:
        """Release everything. Called once, when the endpoint closes.

        The endpoint waits 3 s for it, and then goes on; it is not cancelled.
        """
        ...


class FilteredAddressLookup:
    """A service that publishes only what a filter lets through; resolving is not filtered."""

    def __init__(self, inner: AddressLookup, addr_filter: AddrFilter) -> None:
        self.inner = inner
        self.provenance: str = str(getattr(inner, "provenance", type(inner).__name__))
        self._filter = addr_filter

    def bind(self, context: LookupContext) -> None:
        """Hand the context on."""
        if isinstance(self.inner, SupportsBind):
            self.inner.bind(context)

    def publish(self, data: EndpointData) -> None:
        """Publish what is left after filtering."""
        self.inner.publish(data.filtered(self._filter))

    def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem] | None:
        """Resolve by the service inside."""
        return self.inner.resolve(endpoint_id)

    async def close(self) -> None:
        """Close the service inside. Cancelling it cancels that."""
        if isinstance(self.inner, SupportsClose):
            await self.inner.close()
