"""Finding endpoints by DNS: TXT records at `_iroh.<z32 id>.<origin>` (upstream `dns.rs`)."""

from collections.abc import AsyncIterator
from typing import ClassVar, Self

from iroh.resolver import DNS_STAGGERING_MS, DnsResolver
from iroh_base import PublicKey

from .base import AddressLookup, LookupContext, LookupItem
from .n0 import n0_dns_endpoint_origin

__all__ = ["DnsAddressLookup"]


class DnsAddressLookup(AddressLookup):
    """Asks the DNS for endpoints under one origin domain, such as `dns.iroh.link.`.

    Seven attempts in 3 s, 3 s each, the first success wins; so a name that does not exist costs
    about 3 s and a network without an answer about 6.5 s. Give the origin with its final dot, or
    the search list of the system is tried too.
    """

    provenance: ClassVar[str] = "dns"

    def __init__(self, origin: str, *, resolver: DnsResolver | None = None) -> None:
        self.origin = origin
        self._resolver = resolver

    @classmethod
    def n0(cls, *, resolver: DnsResolver | None = None) -> Self:
        """Under the origin of number 0: production, or staging if the environment says so."""
        return cls(n0_dns_endpoint_origin(), resolver=resolver)

    def bind(self, context: LookupContext) -> None:
        """Take the endpoint's resolver unless one was given."""
        self._resolver = self._resolver or context.resolver

    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        """One item, or `StaggeredError` with the errors of all attempts."""
        resolver = self._resolver = self._resolver or DnsResolver()
        info = await resolver.lookup_endpoint_by_id_staggered(
            endpoint_id, self.origin, DNS_STAGGERING_MS
        )
        yield LookupItem(info, self.provenance)
