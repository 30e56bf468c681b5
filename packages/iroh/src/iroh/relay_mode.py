"""Which relays an endpoint uses."""

import os

from iroh_relay.relay_map import RelayMap

# iroh `defaults.rs`: n0's relays, with the trailing dot that marks a full DNS name.
PRODUCTION_RELAYS = tuple(
    f"https://{region}.relay.n0.iroh.link./" for region in ("use1-1", "usw1-1", "euc1-1", "aps1-1")
)
STAGING_RELAYS = tuple(
    f"https://{region}.staging-relay.n0.iroh.link./" for region in ("use1-1", "euc1-1")
)
FORCE_STAGING_ENV = "IROH_FORCE_STAGING_RELAYS"  # iroh `endpoint.rs` ENV_FORCE_STAGING_RELAYS


class RelayMode:
    """Disabled, n0's production or staging relays, or relays of your own."""

    def __init__(self, name: str, relay_map: RelayMap | None) -> None:
        self._name = name
        self._map = relay_map

    @classmethod
    def disabled(cls) -> "RelayMode":
        """Use no relay: only direct paths, and nobody behind a NAT is reached."""
        return cls("disabled", None)

    @classmethod
    def default_mode(cls) -> "RelayMode":
        """Use n0's production relays; staging if IROH_FORCE_STAGING_RELAYS is set."""
        if os.environ.get(FORCE_STAGING_ENV):
            return cls.staging()
        return cls("default", RelayMap.from_urls(list(PRODUCTION_RELAYS)))

    @classmethod
    def staging(cls) -> "RelayMode":
        """Use n0's staging relays."""
        return cls("staging", RelayMap.from_urls(list(STAGING_RELAYS)))

    @classmethod
    def custom(cls, map: RelayMap) -> "RelayMode":
        """Use these relays. The map may be empty, and changed later."""
        return cls("custom", map)

    @classmethod
    def custom_from_urls(cls, urls: list[str]) -> "RelayMode":
        """Use the relays at these URLs."""
        return cls.custom(RelayMap.from_urls(urls))

    def relay_map(self) -> RelayMap:
        """Return the relays; an empty map when disabled."""
        return RelayMap.empty() if self._map is None else self._map

    def is_disabled(self) -> bool:
        """Say whether no relay will ever be used."""
        return self._map is None

    def __str__(self) -> str:
        if self._name == "custom" and self._map is not None:
            return f"custom({len(self._map)} relays)"
        return self._name

    def __repr__(self) -> str:
        return f"<RelayMode {self}>"
