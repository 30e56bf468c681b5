"""Questions and answers: the DNS messages of the stub resolver, through dnspython's codec.

A question is one A, AAAA or TXT query for class IN with recursion desired and EDNS version 0,
1232 bytes of UDP payload, no options (what n0-dns-resolver 0.1.0 and hickory send).
An answer counts if it is a response with our id and our question (RFC 5452 section 4). Its records
are those of the asked type at any name of the CNAME chain that starts at the question.

dnspython is slow to import: `CODEC_MODULES` should be there before the first question is made.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InvalidResponseError, ResolveError, ServerError

if TYPE_CHECKING:
    import dns.message
    import dns.name

__all__ = ["CODEC_MODULES", "MAX_CNAME_DEPTH", "Answer", "Question", "RecordType", "TxtRecord"]

EDNS_UDP_PAYLOAD_SIZE = 1232
"""DNS flag day 2020; upstream n0-dns-resolver `EDNS_UDP_PAYLOAD_SIZE`."""

_RDATA = ("ANY.CNAME", "ANY.OPT", "ANY.SOA", "ANY.TXT", "IN.A", "IN.AAAA")
CODEC_MODULES = ("dns.message", *(f"dns.rdtypes.{name}" for name in _RDATA))
"""What of dnspython is used, with the record types that it would import one by one."""

MAX_CNAME_DEPTH = 8
"""Longest chain that is followed; upstream n0-dns-resolver `MAX_CNAME_DEPTH`."""


class RecordType(enum.IntEnum):
    """The record types that are asked for (RFC 1035 section 3.2.2, RFC 3596)."""

    A = 1
    TXT = 16
    AAAA = 28


class TxtRecord(tuple[bytes, ...]):
    """The character-strings of one TXT record; `str()` is all of them as text, joined.

    Bytes that are no UTF-8 become U+FFFD, string by string, as in upstream's `TxtRecordData`.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return "".join(part.decode("utf-8", "replace") for part in self)


@dataclass(frozen=True, slots=True)
class Answer:
    """Records of the asked type (text for addresses) and for how many seconds they hold.

    No records and a `next_name`: the chain leads there, ask again for that name.
    No records and no `next_name`: the name has nothing of this type (NODATA), or, if not `exists`,
    there is no such name (NXDOMAIN).
    """

    records: tuple[Any, ...] = ()
    ttl: int = 0
    next_name: str | None = None
    exists: bool = True


class Question:
    """One query and the judgement of what comes back. Raises `ResolveError` for a bad name."""

    def __init__(self, name: str, kind: RecordType) -> None:
        import dns.exception
        import dns.message
        import dns.name

        self.kind = kind
        try:
            self._name: dns.name.Name = dns.name.from_text(name)
            self._query = dns.message.make_query(
                self._name, kind.name, use_edns=0, payload=EDNS_UDP_PAYLOAD_SIZE
            )
            self.wire: bytes = self._query.to_wire()
        except (dns.exception.DNSException, ValueError) as error:
            raise ResolveError(f"invalid domain name: {name}") from error

    def drop_edns(self) -> None:
        """Ask without EDNS from now on, for a server that knows none (RFC 6891 section 6.2.2)."""
        self._query.use_edns(False)
        self.wire = self._query.to_wire()

    def accept(self, data: bytes) -> "dns.message.Message | None":
        """Parse `data`; None for what is no answer to this question."""
        import dns.exception
        import dns.message

        try:
            message = dns.message.from_wire(data, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            return None
        # dnspython takes an error answer without a question section for an answer to anything
        return message if self._query.is_response(message) else None

    def read(self, message: "dns.message.Message") -> Answer:
        """Take the records out of an accepted answer.

        Raises `ServerError` for any RCODE but NOERROR and NXDOMAIN, `InvalidResponseError` for a
        chain of more than `MAX_CNAME_DEPTH` names.
        """
        code = rcode_text(message)
        if code == "NXDOMAIN":
            return Answer(exists=False)
        if code != "NOERROR":
            raise ServerError(code)
        chain, ttls = self._chain(message)
        records: list[Any] = []
        for rrset in _of_type(message, self.kind):
            if rrset.name in chain:
                ttls.append(rrset.ttl)
                records += map(_VALUE_OF[self.kind], rrset)
        if records:
            return Answer(tuple(records), min(ttls))
        return Answer(next_name=chain[-1].to_text() if len(chain) > 1 else None)

    def _chain(self, message: "dns.message.Message") -> tuple[list["dns.name.Name"], list[int]]:
        chain, ttls = [self._name], []
        cnames = {rrset.name: rrset for rrset in _of_type(message, _CNAME)}
        while (rrset := cnames.get(chain[-1])) is not None:
            if len(chain) > MAX_CNAME_DEPTH:
                raise InvalidResponseError
            chain.append(rrset[0].target)
            ttls.append(rrset.ttl)
        return chain, ttls


_CNAME = 5  # RFC 1035 section 3.2.2
_CLASS_IN = 1  # RFC 1035 section 3.2.4

_VALUE_OF: dict[RecordType, Callable[[Any], Any]] = {
    RecordType.A: lambda rdata: rdata.address,
    RecordType.AAAA: lambda rdata: rdata.address,
    RecordType.TXT: lambda rdata: TxtRecord(rdata.strings),
}


def _of_type(message: "dns.message.Message", kind: int) -> list[Any]:
    return [r for r in message.answer if r.rdtype == kind and r.rdclass == _CLASS_IN]


def rcode_text(message: "dns.message.Message") -> str:
    """The RCODE of an answer as its mnemonic, e.g. `NOERROR`."""
    import dns.rcode

    return dns.rcode.to_text(message.rcode())
