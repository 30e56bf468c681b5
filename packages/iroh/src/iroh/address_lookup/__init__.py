"""Address lookup: publishing where this endpoint is, and finding where others are."""

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
from .mainline import Dht, DhtAddressLookup, DhtError
from .mdns import Discovered, DiscoveryEvent, DiscoveryStream, Expired, MdnsAddressLookup
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
