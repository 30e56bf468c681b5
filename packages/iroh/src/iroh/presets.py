"""Bundles of settings: `Endpoint.bind(presets.N0)`.

Empty           nothing at all
Minimal         direct addresses only: no relay, no lookup
N0              n0's relays, pkarr server and DNS; asks the home router for a port
N0DisableRelay  the same without relays
SelfHosted      your own relay, pkarr server and DNS
"""

from collections.abc import Sequence

from iroh.options import EndpointBuilder, Preset
from iroh.relay_mode import RelayMode

__all__ = [
    "N0",
    "Empty",
    "Minimal",
    "N0DisableRelay",
    "Preset",
    "SelfHosted",
    "preset_minimal",
    "preset_n0",
    "preset_n0_disable_relay",
]


class Empty(Preset):
    """Set nothing."""

    def apply(self, builder: EndpointBuilder) -> None:
        """Leave the builder as it is."""


class Minimal(Preset):
    """Direct addresses only (upstream's Minimal: a crypto provider, which we always have)."""

    def apply(self, builder: EndpointBuilder) -> None:
        """Leave the builder as it is."""


class N0(Preset):
    """Publish to and find peers through n0's public servers; relays as a fallback.

    The home router, if it can, forwards a port.
    """

    def apply(self, builder: EndpointBuilder) -> None:
        """Add n0's lookup services and relays, and turn the portmapper on."""
        from iroh.address_lookup import DnsAddressLookup, PkarrPublisher, PkarrResolver

        builder.address_lookup(PkarrPublisher.n0())
        builder.address_lookup(PkarrResolver.n0())
        builder.address_lookup(DnsAddressLookup.n0())
        builder.relay_mode(RelayMode.default_mode())
        builder.portmapper(True)


class N0DisableRelay(Preset):
    """N0 without relays."""

    def apply(self, builder: EndpointBuilder) -> None:
        """Add n0's lookup services."""
        N0().apply(builder)
        builder.relay_mode(RelayMode.disabled())


class SelfHosted(Preset):
    """Your own `iroh-relay` and `iroh-dns-server`; nothing of n0's is contacted.

    relays: the relays' URLs, none for direct paths only.
    pkarr: where records are published and fetched, like "https://dns.example.org/pkarr".
    dns_origin: the zone the DNS server answers for, like "dns.example.org."; None: no DNS.
    nameservers: "ip:port" to ask instead of the system's resolver.
    """

    def __init__(
        self,
        relays: Sequence[str] = (),
        *,
        pkarr: str | None = None,
        dns_origin: str | None = None,
        nameservers: Sequence[str] = (),
    ) -> None:
        self._relays = list(relays)
        self._pkarr = pkarr
        self._dns_origin = dns_origin
        self._nameservers = list(nameservers)

    def apply(self, builder: EndpointBuilder) -> None:
        """Set the relays, the publisher and the lookups."""
        from iroh.address_lookup import DnsAddressLookup, PkarrPublisher, PkarrResolver
        from iroh.resolver import DnsResolver

        if self._relays:
            builder.relay_mode(RelayMode.custom_from_urls(self._relays))
        if self._pkarr is not None:
            builder.address_lookup(PkarrPublisher(self._pkarr))
            if self._dns_origin is None:
                builder.address_lookup(PkarrResolver(self._pkarr))
        if self._dns_origin is not None:
            builder.address_lookup(DnsAddressLookup(self._dns_origin))
        if self._nameservers:
            builder.dns_resolver(DnsResolver(nameservers=self._nameservers))


def preset_n0() -> Preset:
    """Return presets.N0, by the bindings' name."""
    return N0()


def preset_minimal() -> Preset:
    """Return presets.Minimal, by the bindings' name."""
    return Minimal()


def preset_n0_disable_relay() -> Preset:
    """Return presets.N0DisableRelay, by the bindings' name."""
    return N0DisableRelay()
