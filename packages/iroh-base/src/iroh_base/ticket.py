"""Endpoint tickets: an endpoint's address in one word, to be pasted into a chat.

    "endpoint" + base32 (RFC 4648, lower case, no padding) of:

    00              the variant, the only one there is
    EndpointAddr    in postcard form, see `iroh_base.addr`

The prefix is lower case, the rest may be in any case. Bytes after the address are ignored, and
what is not in canonical form (order, duplicates, URLs) becomes so, as in Rust's iroh-tickets 1.0.
"""

from typing import Self, final

from .addr import EndpointAddr
from .encoding import base32_decode, base32_encode
from .errors import PostcardError, TicketParsingError
from .postcard import Reader, Writer

__all__ = ["EndpointTicket"]

PREFIX = "endpoint"
"""What every endpoint ticket begins with; upstream: Ticket::KIND."""

_VARIANT = 0


_NO_TICKET = f'a ticket is one word that begins with "{PREFIX}"'
_DAMAGED = "the ticket is cut off or mistyped"


@final
class EndpointTicket:
    """An `EndpointAddr` that prints as a ticket. Immutable, hashable, equal by its address."""

    __slots__ = ("_addr",)

    def __init__(self, addr: EndpointAddr) -> None:
        self._addr = addr

    @classmethod
    def from_addr(cls, addr: EndpointAddr) -> Self:
        """The ticket for an address."""
        return cls(addr)

    @classmethod
    def from_string(cls, str: str) -> Self:
        """The ticket with this text; `TicketParsingError` if it is none."""
        if isinstance(str, bytes):
            raise TypeError("a ticket is text, not bytes")
        if not str.startswith(PREFIX):
            raise TicketParsingError(f"wrong prefix, expected {PREFIX}", hint=_NO_TICKET)
        try:
            data = base32_decode(str[len(PREFIX) :])
        except ValueError as error:
            raise TicketParsingError(f"{error}", hint=_DAMAGED) from error
        return cls.from_bytes(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The ticket with these bytes behind the prefix; `TicketParsingError` if it is none."""
        reader = Reader(data)
        try:
            reader.variant(_VARIANT + 1)
            return cls(EndpointAddr.read_from(reader))
        except PostcardError as error:
            raise TicketParsingError(str(error), hint=_DAMAGED) from error

    def endpoint_addr(self) -> EndpointAddr:
        """The address in the ticket."""
        return self._addr

    def to_bytes(self) -> bytes:
        """The bytes behind the prefix."""
        writer = Writer()
        writer.varint(_VARIANT)
        self._addr.write_to(writer)
        return writer.finish()

    def __str__(self) -> str:
        return PREFIX + base32_encode(self.to_bytes())

    def __repr__(self) -> str:
        return f"EndpointTicket({self._addr!r})"

    def __eq__(self, other: object) -> bool:
        return self._addr == other._addr if isinstance(other, EndpointTicket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._addr)
