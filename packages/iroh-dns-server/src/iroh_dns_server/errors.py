"""The errors of this server: what an operator can do something about.

DnsServerError (IrohError)
 +- ConfigError   INVALID_INPUT   a configuration key that is wrong, with its path
 +- CertificateError  INVALID_INPUT  a certificate or its key that cannot be used
 +- BindError     BIND            an address that cannot be listened on
 +- DhtUnavailableError  INTERNAL  the DHT has not answered in time
 +- StoreError    INTERNAL        the packet store cannot be opened, read or written
     +- StoreBusyError            its queue is full: try again later
     +- StoreUnavailableError     its database is away: try again later
"""

from typing import ClassVar

from iroh_base.errors import IrohError, IrohErrorKind

__all__ = [
    "BindError",
    "CertificateError",
    "ConfigError",
    "DhtUnavailableError",
    "DnsServerError",
    "StoreBusyError",
    "StoreError",
    "StoreUnavailableError",
]


class DnsServerError(IrohError):
    """Root of the errors of this server. The message is one line that says what to do."""


class ConfigError(DnsServerError, ValueError):
    """A configuration that cannot be used; the message starts with the path of the key."""

    default_kind: ClassVar[IrohErrorKind] = IrohErrorKind.INVALID_INPUT


class CertificateError(DnsServerError):
    """A certificate or its key cannot be used; the message says which file, and why."""

    default_kind: ClassVar[IrohErrorKind] = IrohErrorKind.INVALID_INPUT


class BindError(DnsServerError, OSError):
    """A listening address that the operating system does not give us."""

    default_kind: ClassVar[IrohErrorKind] = IrohErrorKind.BIND

    def __str__(self) -> str:
        return self.message()


class DhtUnavailableError(DnsServerError):
    """The DHT has not answered in time, or too much is asked: the question is open."""


class StoreError(DnsServerError):
    """The packet store failed: no directory, no space, a damaged file, or a closed store."""


class StoreBusyError(StoreError):
    """The queue of the packet store is full; nothing was stored."""


class StoreUnavailableError(StoreError):
    """The database of the packet store cannot be reached now. A write may have been done."""
