"""DNS for iroh: `DnsResolver`, and the staggered attempts that several parts share."""

from .builder import DnsProtocol, DnsResolverBuilder
from .clock import Clock, SystemClock
from .dns import DNS_TIMEOUT, DnsResolver, Resolver
from .errors import (
    DnsError,
    DnsTimeoutError,
    EndpointLookupError,
    InvalidResponseError,
    MissingHostError,
    NoResponseError,
    NxDomainError,
    ResolveBothError,
    ResolveError,
    ServerError,
    StaggeredError,
)
from .late import import_late
from .nameserver import PUBLIC_NAMESERVERS, Nameserver
from .records import TxtRecord
from .stagger import DNS_STAGGERING_MS, add_jitter, hedge, reap, stagger, with_timeout
from .stub import FallbackMode

__all__ = [
    "DNS_STAGGERING_MS",
    "DNS_TIMEOUT",
    "PUBLIC_NAMESERVERS",
    "Clock",
    "DnsError",
    "DnsProtocol",
    "DnsResolver",
    "DnsResolverBuilder",
    "DnsTimeoutError",
    "EndpointLookupError",
    "FallbackMode",
    "InvalidResponseError",
    "MissingHostError",
    "Nameserver",
    "NoResponseError",
    "NxDomainError",
    "ResolveBothError",
    "ResolveError",
    "Resolver",
    "ServerError",
    "StaggeredError",
    "SystemClock",
    "TxtRecord",
    "add_jitter",
    "hedge",
    "import_late",
    "reap",
    "stagger",
    "with_timeout",
]
