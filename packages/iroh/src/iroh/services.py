"""The names of the bindings for n0's hosted service (services.iroh.computer), as far as they work.

The service speaks a protocol of its own, which is no part of iroh: nothing here contacts it. A
ServicesClient checks its options as the bindings do, remembers its name and makes diagnostics of
this machine; whatever needs the service raises ServicesError.

    API secret   "services" + base32 (RFC 4648, lower case, no padding) of
                 00 | 20 secret key (32) | endpoint id (32) | its addresses, see iroh_base.addr
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from iroh_base import EndpointAddr, InvalidInputError, IrohError, SecretKey, TicketParsingError
from iroh_base.encoding import base32_decode
from iroh_base.errors import PostcardError
from iroh_base.postcard import Reader

if TYPE_CHECKING:
    from iroh.endpoint import Endpoint
    from iroh.options import Preset

__all__ = [
    "DiagnosticsSummary",
    "ServicesClient",
    "ServicesError",
    "ServicesOptions",
    "ServicesPresetOptions",
    "preset_iroh_services",
]

PREFIX = "services"
"""What every API secret begins with (iroh-services ApiSecret::KIND)."""
SECRET_VARIABLE = "IROH_SERVICES_API_SECRET"
"""Where `api_secret_from_env` looks (iroh-services API_SECRET_ENV_VAR_NAME)."""
NAME_LENGTH = range(2, 129)
"""UTF-8 bytes of an endpoint's name there (iroh-services)."""


class ServicesError(IrohError, NotImplementedError):
    """The service of n0 would be needed, which this package does not speak with."""


@dataclass(kw_only=True)
class ServicesOptions:
    """How a ServicesClient is made: with exactly one of the three credentials."""

    api_secret: str | None = field(default=None, repr=False)
    api_secret_from_env: bool | None = None
    ssh_key_pem: str | None = field(default=None, repr=False)
    name: str | None = None
    metrics_interval_ms: int | None = None


@dataclass(kw_only=True)
class ServicesPresetOptions:
    """What `preset_iroh_services` takes: exactly one of the two secrets."""

    relays: list[str] | None = None
    api_secret: str | None = field(default=None, repr=False)
    api_secret_from_env: bool | None = None
    endpoint_secret_key: bytes | None = field(default=None, repr=False)


@dataclass(kw_only=True)
class DiagnosticsSummary:
    """What this machine's network looks like. The three last: None where nobody asked."""

    endpoint_id: str
    direct_addrs: list[str]
    iroh_version: str
    iroh_services_version: str
    has_net_report: bool
    upnp: bool | None
    pcp: bool | None
    nat_pmp: bool | None


class ServicesClient:
    """Create it with `create`."""

    def __init__(self, endpoint: "Endpoint", name: str | None) -> None:
        """Use `create` instead."""
        self._endpoint = endpoint
        self._name = name

    @classmethod
    async def create(cls, endpoint: "Endpoint", options: ServicesOptions) -> Self:
        """Check the credential and the name; nothing is contacted.

        Raises InvalidInputError unless there is exactly one credential, and for a bad name;
        TicketParsingError for a secret that is none. Never waits.
        """
        given = [options.api_secret, options.api_secret_from_env or None, options.ssh_key_pem]
        _exactly_one(given, "api_secret, api_secret_from_env and ssh_key_pem")
        if options.ssh_key_pem is None:
            parse_api_secret(_secret(options))
        if options.name is not None:
            _check_name(options.name)
        return cls(endpoint, options.name)

    async def name(self) -> str | None:
        """Return the name that this client was given. Never waits."""
        return self._name

    async def set_name(self, name: str) -> None:
        """Raise ServicesError: the name would be told to the service. Never waits.

        InvalidInputError for one of less than 2 or more than 128 bytes.
        """
        _check_name(name)
        raise _unsupported("set_name")

    async def ping(self) -> None:
        """Raise ServicesError: the service would be asked. Never waits."""
        raise _unsupported("ping")

    async def push_metrics(self) -> None:
        """Raise ServicesError: see `Endpoint.openmetrics` for a page that Prometheus reads.

        Never waits.
        """
        raise _unsupported("push_metrics")

    async def submit_network_diagnostics(self, send: bool) -> DiagnosticsSummary:
        """Say what this machine's network looks like. Never waits.

        Raises ServicesError when it should be sent to the service.
        """
        if send:
            raise _unsupported("submit_network_diagnostics(send=True)")
        from iroh import __version__

        return DiagnosticsSummary(
            endpoint_id=str(self._endpoint.id()),
            direct_addrs=self._endpoint.addr().direct_addresses(),
            iroh_version=__version__,
            iroh_services_version="",
            has_net_report=self._endpoint.net_report() is not None,
            upnp=None,
            pcp=None,
            nat_pmp=None,
        )

    def __repr__(self) -> str:
        return f"<ServicesClient of {self._endpoint!r}>"


def preset_iroh_services(options: ServicesPresetOptions) -> "Preset":
    """Raise ServicesError: relays that take tokens are used by `RelayConfig(auth_token=...)`.

    Raises InvalidInputError and TicketParsingError for bad options before.
    """
    given = [options.api_secret, options.api_secret_from_env or None]
    _exactly_one(given, "api_secret and api_secret_from_env")
    parse_api_secret(_secret(options))
    raise _unsupported("preset_iroh_services")


def parse_api_secret(text: str) -> tuple[SecretKey, EndpointAddr]:
    """Read an API secret: a key, and whom it is for. Raises TicketParsingError."""
    if not text.startswith(PREFIX):
        raise TicketParsingError(f"wrong prefix, expected {PREFIX}")
    try:
        reader = Reader(base32_decode(text[len(PREFIX) :]))
        reader.variant(1)
        return SecretKey(reader.bytes()), EndpointAddr.read_from(reader)
    except (ValueError, PostcardError) as error:
        raise TicketParsingError(f"no API secret: {error}") from None


def _secret(options: ServicesOptions | ServicesPresetOptions) -> str:
    if options.api_secret is not None:
        return options.api_secret
    found = os.environ.get(SECRET_VARIABLE)
    if found is None:
        raise InvalidInputError(f"the environment has no {SECRET_VARIABLE}")
    return found


def _exactly_one(given: Sequence[object], names: str) -> None:
    if sum(each is not None for each in given) != 1:
        raise InvalidInputError(f"give exactly one of {names}")


def _check_name(name: str) -> None:
    if len(name.encode()) not in NAME_LENGTH:
        raise InvalidInputError("a name has 2 to 128 UTF-8 bytes")


def _unsupported(what: str) -> ServicesError:
    return ServicesError(f"{what} is not supported: it needs n0's hosted service")
