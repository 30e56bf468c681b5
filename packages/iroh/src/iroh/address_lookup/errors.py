"""What a lookup of addresses can fail with; texts of upstream `AddressLookupFailed` and `Error`.

LookupFailedError            (iroh.errors: CONNECT, also a ConnectionError)
 +- AddressLookupFailed      a lookup ended without an item
     +- NoServiceConfigured  there is nobody to ask
     +- NoResults            all were asked; what went wrong is in `.errors`
LookupServiceError           one service failed: `.provenance`, and the cause in `__cause__`
PkarrRelayError              a pkarr relay could not be used, or said no (`.status`)
"""

from collections.abc import Iterable

from iroh.errors import LookupFailedError
from iroh_base import IrohError, IrohErrorKind

__all__ = [
    "AddressLookupFailed",
    "LookupServiceError",
    "NoResults",
    "NoServiceConfigured",
    "PkarrRelayError",
]


class LookupServiceError(IrohError):
    """One service failed. A service may raise it itself to say its own provenance."""

    default_kind = IrohErrorKind.CONNECT

    def __init__(self, provenance: str, cause: BaseException) -> None:
        super().__init__(f"Service '{provenance}' failed: {_with_causes(cause)}")
        self.provenance = provenance
        self.__cause__: BaseException | None = cause


class AddressLookupFailed(LookupFailedError):
    """No service found an address."""


class NoServiceConfigured(AddressLookupFailed):
    """There is no lookup service."""

    def __init__(self) -> None:
        super().__init__(
            "No address lookup configured",
            hint="nothing is known of where this peer is: dial an EndpointAddr or what is in a "
            "ticket, tell it to `Endpoint.add_address`, or bind with a preset that looks it up, "
            "like presets.N0",
        )


class NoResults(AddressLookupFailed):
    """Every service failed or knew nothing; `errors` of those that failed."""

    def __init__(self, errors: Iterable[LookupServiceError] = ()) -> None:
        self.errors: tuple[LookupServiceError, ...] = tuple(errors)
        lines = [
            "All address lookup services failed or produced no results",
            *map(str, self.errors),
        ]
        super().__init__("\n    ".join(lines))


class PkarrRelayError(IrohError):
    """A pkarr relay was not reached, or answered with an HTTP status other than 2xx (`status`)."""

    default_kind = IrohErrorKind.CONNECT

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def _with_causes(error: BaseException) -> str:
    """The text of an error and of its causes, but for what was said already."""
    text = str(error) or type(error).__name__
    cause = error.__cause__
    for _ in range(8):  # a bound: causes may form a ring
        if cause is None:
            break
        if (more := str(cause) or type(cause).__name__) not in text:
            text = f"{text}: {more}"
        cause = cause.__cause__
    return text
