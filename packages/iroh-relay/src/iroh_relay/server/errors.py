"""What can go wrong with a relay server as a whole, said so that an operator can act on it."""

from iroh_base.errors import IrohError, IrohErrorKind

__all__ = ["ListenError", "RelayServerError"]


class RelayServerError(IrohError):
    """The server cannot do what was asked; the message says why and what to do."""

    default_kind = IrohErrorKind.RELAY


class ListenError(RelayServerError):
    """The listening socket cannot be had."""

    default_kind = IrohErrorKind.BIND
