"""What a DNS lookup can fail with.

Texts are those of iroh-dns 1.4.1 (`DnsError`, `LookupError`, `StaggeredError`); where upstream
keeps the cause apart, it is here both in the text and in `__cause__`.

    DnsError                        CONNECT
     +- DnsTimeoutError             TIMEOUT  nobody answered in time (also a TimeoutError)
     +- NoResponseError                      there are no addresses
     +- NxDomainError                        the name does not exist: asking again will not help
     +- InvalidResponseError                 an answer that makes no sense
     +- MissingHostError                     an empty host name
     +- ResolveError                         any other failure
     |   +- ServerError                      SERVFAIL, REFUSED and the like, in `.code`
     +- ResolveBothError                     the IPv4 and the IPv6 lookup failed
     +- StaggeredError                       all of several calls failed, in `.errors`
     +- EndpointLookupError                  no endpoint info: no TXT record, or not ours
"""

from collections.abc import Iterable
from typing import ClassVar

from iroh_base import IrohError, IrohErrorKind

__all__ = [
    "DnsError",
    "DnsTimeoutError",
    "EndpointLookupError",
    "InvalidResponseError",
    "MissingHostError",
    "NoResponseError",
    "NxDomainError",
    "ResolveBothError",
    "ResolveError",
    "ServerError",
    "StaggeredError",
]


class DnsError(IrohError):
    """A DNS lookup failed."""

    default_kind: ClassVar[IrohErrorKind] = IrohErrorKind.CONNECT


class DnsTimeoutError(DnsError, TimeoutError):
    """No answer in time."""

    default_kind = IrohErrorKind.TIMEOUT

    def __init__(self) -> None:
        super().__init__("Request timed out")


class NoResponseError(DnsError):
    """The lookups succeeded but there is no address."""

    def __init__(self) -> None:
        super().__init__("No response")


class NxDomainError(DnsError):
    """A nameserver said that the name does not exist."""

    def __init__(self) -> None:
        super().__init__("Domain name does not exist (NXDOMAIN)")


class InvalidResponseError(DnsError):
    """An answer that is malformed, or a chain of CNAMEs without an end."""

    def __init__(self) -> None:
        super().__init__("Invalid DNS response")


class MissingHostError(DnsError):
    """There is no host name to look up."""

    def __init__(self) -> None:
        super().__init__("Missing host")


class ResolveError(DnsError):
    """A failure that has no class of its own; `reason` is part of the text."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Failed to resolve: {reason}")


class ServerError(ResolveError):
    """A nameserver answered with an error; `code` is its RCODE as text, e.g. SERVFAIL."""

    def __init__(self, code: str) -> None:
        super().__init__(f"nameserver returned error response code: {code}")
        self.code = code


class ResolveBothError(DnsError):
    """Both address families failed."""

    def __init__(self, ipv4: DnsError, ipv6: DnsError) -> None:
        super().__init__(f"Resolve failed, IPv4: {ipv4}, IPv6: {ipv6}")
        self.ipv4 = ipv4
        self.ipv6 = ipv6


class StaggeredError(DnsError):
    """Every call of a staggered lookup failed; `errors` in the order of failing."""

    def __init__(self, errors: Iterable[BaseException]) -> None:
        self.errors: tuple[BaseException, ...] = tuple(errors)
        super().__init__(f"no calls succeeded: [{''.join(map(str, self.errors))}]")


class EndpointLookupError(DnsError):
    """A lookup of endpoint info failed; the cause is in `__cause__`."""
