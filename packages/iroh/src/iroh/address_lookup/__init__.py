"""Address lookup: publishing where this endpoint is, and finding where others are."""

import typing as _typing
from importlib import import_module as _import_module

from iroh_base import AddrFilter, EndpointData, EndpointInfo, UserData

from .base import (
    AddressLookup,
    FilteredAddressLookup,
    LookupContext,
    LookupItem,
    SupportsBind,
    SupportsClose,
)
from .dns import DnsAddressLookup
from .errors import (
    AddressLookupFailed,
    LookupServiceError,
    NoResults,
    NoServiceConfigured,
    PkarrRelayError,
)
from .memory import MemoryLookup
from .n0 import (
    N0_DNS_ENDPOINT_ORIGIN_PROD,
    N0_DNS_ENDPOINT_ORIGIN_STAGING,
    N0_DNS_PKARR_RELAY_PROD,
    N0_DNS_PKARR_RELAY_STAGING,
    force_staging_infra,
)
from .pkarr import (
    DEFAULT_PKARR_TTL,
    DEFAULT_REPUBLISH_INTERVAL,
    PkarrPublisher,
    PkarrResolver,
)
from .relay_client import PkarrRelayClient
from .services import AddressLookupServices, LookupStats

if _typing.TYPE_CHECKING:
    from .mainline import Dht, DhtAddressLookup, DhtError
    from .mdns import Discovered, DiscoveryEvent, DiscoveryStream, Expired, MdnsAddressLookup

__all__ = [
    "DEFAULT_PKARR_TTL",
    "DEFAULT_REPUBLISH_INTERVAL",
    "N0_DNS_ENDPOINT_ORIGIN_PROD",
    "N0_DNS_ENDPOINT_ORIGIN_STAGING",
    "N0_DNS_PKARR_RELAY_PROD",
    "N0_DNS_PKARR_RELAY_STAGING",
    "AddrFilter",
    "AddressLookup",
    "AddressLookupFailed",
    "AddressLookupServices",
    "Dht",
    "DhtAddressLookup",
    "DhtError",
    "Discovered",
    "DiscoveryEvent",
    "DiscoveryStream",
    "DnsAddressLookup",
    "EndpointData",
    "EndpointInfo",
    "Expired",
    "FilteredAddressLookup",
    "LookupContext",
    "LookupItem",
    "LookupServiceError",
    "LookupStats",
    "MdnsAddressLookup",
    "MemoryLookup",
    "NoResults",
    "NoServiceConfigured",
    "PkarrPublisher",
    "PkarrRelayClient",
    "PkarrRelayError",
    "PkarrResolver",
    "SupportsBind",
    "SupportsClose",
    "UserData",
    "force_staging_infra",
]

_LATE = {
    **dict.fromkeys(("Dht", "DhtAddressLookup", "DhtError"), "mainline"),
    **dict.fromkeys(
        ("Discovered", "DiscoveryEvent", "DiscoveryStream", "Expired", "MdnsAddressLookup"), "mdns"
    ),
}
"""Who does not ask for these need not wait for their state machines."""


if not _typing.TYPE_CHECKING:  # a checker shall know a name that there is not

    def __getattr__(name: str) -> object:
        """Import the DHT and the local network when first asked for."""
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(_import_module(f".{_LATE[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List these, too."""
    return sorted({*globals(), *__all__})
