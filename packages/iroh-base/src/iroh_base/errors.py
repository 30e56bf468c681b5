"""Errors of the iroh packages: one root, and one class per thing that can be malformed.

The kinds are those of the PyPI bindings `iroh` 1.2.0 (`IrohErrorKind`), with their numbers. Every
error below floor 0's root that reports malformed *input* is also a `ValueError`, so a program that
knows nothing of iroh catches it in the usual way.

    IrohError (INTERNAL)
     +- InvalidInputError  INVALID_INPUT   wrong length or range of an argument
     +- KeyParsingError    KEY_PARSING     text or bytes that are no Ed25519 key
     +- SignatureError     INTERNAL        a signature that does not verify
     +- RelayUrlError      INTERNAL        text that is no absolute URL
     +- AddrParseError     INTERNAL        text that is no socket or custom address
     +- TicketParsingError TICKET_PARSING  text that is no endpoint ticket
     +- PostcardError      INTERNAL        bytes that are no valid postcard encoding
     +- PkarrError         INTERNAL        a signed packet that cannot be built or accepted
     |   +- PacketTooLargeError   PacketTooShortError   PacketDnsError   PacketSignatureError
     +- EndpointInfoError  INTERNAL        TXT strings that describe no endpoint
     +- WatchClosedError   CLOSED          a watched value that will not change any more
"""

import enum
from typing import ClassVar

__all__ = [
    "AddrParseError",
    "EndpointInfoError",
    "InvalidInputError",
    "IrohError",
    "IrohErrorKind",
    "KeyParsingError",
    "PacketDnsError",
    "PacketSignatureError",
    "PacketTooLargeError",
    "PacketTooShortError",
    "PkarrError",
    "PostcardError",
    "RelayUrlError",
    "SignatureError",
    "TicketParsingError",
    "WatchClosedError",
]


class IrohErrorKind(enum.Enum):
    """What an `IrohError` is about; names and numbers of the bindings."""

    INVALID_INPUT = 0
    BIND = 1
    CONNECT = 2
    CONNECTION = 3
    ALPN = 4
    KEY_PARSING = 5
    TICKET_PARSING = 6
    RELAY = 7
    STREAM = 8
    DATAGRAM = 9
    CALLBACK = 10
    CLOSED = 11
    TIMEOUT = 12
    INTERNAL = 13


class IrohError(Exception):
    """Root of every error raised by the iroh packages.

    `message` is for people, in the words of the bindings; `debug_message` may say more and is the
    same text when not given. `hint` says what to do, which `str()` puts behind the message.
    A subclass says its kind in `default_kind`.
    """

    default_kind: ClassVar[IrohErrorKind] = IrohErrorKind.INTERNAL

    def __init__(self, message: str, *, debug_message: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.hint: str = hint
        self._message = message
        self._debug_message = message if debug_message is None else debug_message

    def kind(self) -> IrohErrorKind:
        """The kind of this error."""
        return self.default_kind

    def message(self) -> str:
        """What went wrong, for people."""
        return self._message

    def debug_message(self) -> str:
        """What went wrong, with everything that is known about it."""
        return self._debug_message

    def is_kind(self, kind: IrohErrorKind) -> bool:
        """Whether this error is of `kind`."""
        return self.kind() is kind

    def __str__(self) -> str:
        return f"{self._message}; {self.hint}" if self.hint else self._message

    def __repr__(self) -> str:
        kind = self.kind().name.title().replace("_", "")
        return (
            f'IrohError {{ kind: {kind}, message: "{self._message}", '
            f'debug_message: "{self._debug_message}" }}'
        )


class InvalidInputError(IrohError, ValueError):
    """An argument of the wrong length or out of range."""

    default_kind = IrohErrorKind.INVALID_INPUT


class KeyParsingError(IrohError, ValueError):
    """Text or bytes that are no Ed25519 key."""

    default_kind = IrohErrorKind.KEY_PARSING


class SignatureError(IrohError, ValueError):
    """A signature that the strict verification of iroh refuses."""


class RelayUrlError(IrohError, ValueError):
    """Text that is no absolute URL."""


class AddrParseError(IrohError, ValueError):
    """Text, or JSON, that is no transport address."""


class TicketParsingError(IrohError, ValueError):
    """Text that is no endpoint ticket."""

    default_kind = IrohErrorKind.TICKET_PARSING


class PostcardError(IrohError, ValueError):
    """Bytes that are no valid postcard encoding of what was asked for."""


class PkarrError(IrohError, ValueError):
    """A pkarr packet that cannot be built or is not acceptable."""


class PacketTooLargeError(PkarrError):
    """More than 1000 bytes of DNS message (1104 in all)."""


class PacketTooShortError(PkarrError):
    """Fewer bytes than the 104 of key, signature and timestamp."""


class PacketDnsError(PkarrError):
    """The DNS message inside the packet cannot be encoded or parsed."""


class PacketSignatureError(PkarrError, SignatureError):
    """The packet is not signed by the key it names."""


class EndpointInfoError(IrohError, ValueError):
    """TXT strings, or a name, that describe no endpoint; or over-long user data."""


class WatchClosedError(IrohError):
    """The watched value will not change any more."""

    default_kind = IrohErrorKind.CLOSED
