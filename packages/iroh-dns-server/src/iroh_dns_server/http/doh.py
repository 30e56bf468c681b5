"""DNS over HTTPS (RFC 8484), and its JSON form.

    GET  /dns-query?dns=<base64url, no padding>     Accept: application/dns-message, or none
    GET  /dns-query?name=..&type=..                 Accept: application/dns-json, or
                                                            application/x-javascript
    POST /dns-query                                 the body is the message, whatever it is called

    406 any other Accept (also */*)    400 no query in it    413, 408 see `http.body`
    200 otherwise, with the response code inside; a GET with answers may be cached for as long as
        the shortest-lived of them: Cache-Control: s-maxage=<seconds>

As the Rust server does it (iroh-dns-server/src/http/doh.rs).
"""

import base64
import binascii
import functools
import json
import struct
from typing import Any
from urllib.parse import parse_qs

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.wire

from iroh_dns_server.dns.service import DnsService, Pending
from iroh_dns_server.dns.wire import FORMERR
from iroh_dns_server.http.exchange import Ask, BodyError, Reply, error_reply

__all__ = ["DNS_MESSAGE", "DohHandlers"]

DNS_MESSAGE = "application/dns-message"
JSON_TYPES = ("application/dns-json", "application/x-javascript")
MAX_PARAMETERS = 16
"""Parameters of a query string that we are willing to look at."""
_HEADER, _QR, _TXT = 12, 0x80, 16


class _BadQueryError(Exception):
    """The request has no query in it; the text says why."""


class DohHandlers:
    """The two request handlers, on one DNS service."""

    def __init__(self, service: DnsService) -> None:
        self._service = service

    async def get(self, ask: Ask) -> Reply:
        """A query out of the URL."""
        accept = ask.headers.get("Accept", DNS_MESSAGE)
        if accept not in (DNS_MESSAGE, *JSON_TYPES):
            return error_reply(406)
        try:
            parameters = parse_qs(ask.query, max_num_fields=MAX_PARAMETERS, keep_blank_values=True)
            values = {name: value[0] for name, value in parameters.items()}
            request = _query(values) if accept in JSON_TYPES else _unpack(values)
            reply = await self._resolve(request)
        except (_BadQueryError, ValueError) as error:
            return error_reply(400, str(error))
        seconds = _shortest_ttl(reply[2:])
        headers = {} if seconds is None else {"Cache-Control": f"s-maxage={seconds}"}
        body = reply if accept == DNS_MESSAGE else _as_json(reply)
        return Reply(200, body, accept, headers)

    async def post(self, ask: Ask) -> Reply:
        """A query out of the body."""
        try:
            return Reply(200, await self._resolve(await ask.read()), DNS_MESSAGE)
        except BodyError as error:
            return error_reply(error.status, error.detail)
        except _BadQueryError as error:
            return error_reply(400, str(error))

    async def _resolve(self, request: bytes) -> bytes:
        """The DNS answer. Raises `_BadQueryError` where DNS itself would say little or nothing."""
        if len(request) >= _HEADER and request[2] & _QR:
            raise _BadQueryError("Invalid message type: expected query")
        reply = self._service.respond(request, udp=False, https=True)
        if isinstance(reply, Pending):
            reply = await self._service.finish(reply)
        if reply is None:
            raise _BadQueryError("Invalid DNS message: shorter than a header")
        if reply[3] & 0x0F == FORMERR:
            raise _BadQueryError("Invalid DNS message: it must be one well-formed question")
        return reply


def _unpack(values: dict[str, str]) -> bytes:
    """The message in the parameter `dns`."""
    if "dns" not in values:
        raise _BadQueryError("the parameter dns is missing")
    text = values["dns"].encode()
    try:
        message = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise _BadQueryError(f"the parameter dns is no base64url: {error}") from None
    if base64.urlsafe_b64encode(message).rstrip(b"=") != text:
        raise _BadQueryError("the parameter dns is no base64url without padding")
    return message


def _query(values: dict[str, str]) -> bytes:
    """The message that the parameters of the JSON form describe."""
    if "name" not in values:
        raise _BadQueryError("the parameter name is missing")
    text = values.get("type", "A")
    try:
        name = dns.name.from_text(values["name"], origin=dns.name.root)
        number = int(text) if text.isascii() and text.isdigit() else text
        message = dns.message.make_query(name, dns.rdatatype.RdataType.make(number), id=0)
    except (dns.exception.DNSException, ValueError) as error:
        raise _BadQueryError(f"no name or type of DNS: {error}") from None
    flags = [(dns.flags.RD, "rd", True), (dns.flags.CD, "cd", False), (dns.flags.AD, "do", False)]
    message.flags = 0
    for flag, parameter, default in flags:
        if _boolean(values, parameter, default):
            message.flags |= flag
    return message.to_wire()


def _boolean(values: dict[str, str], name: str, default: bool) -> bool:
    text = values.get(name)
    if text not in (None, "true", "false"):
        raise _BadQueryError(f"the parameter {name} must be true or false")
    return default if text is None else text == "true"


@functools.lru_cache(maxsize=1024)
def _shortest_ttl(reply: bytes) -> int | None:
    """The smallest TTL of the answers; None if there are none. The reply is without its id."""
    questions, answers = struct.unpack_from("!HH", reply, 2)
    if not answers:
        return None
    parser = dns.wire.Parser(b"\0\0" + reply, _HEADER)
    for _ in range(questions):
        parser.get_name(decompress=True)
        parser.get_bytes(4)
    shortest = 0xFFFF_FFFF
    for _ in range(answers):
        parser.get_name(decompress=True)
        _, _, ttl, length = parser.get_struct("!HHIH")
        parser.get_bytes(length)
        shortest = min(shortest, ttl)
    return shortest


def _as_json(reply: bytes) -> bytes:
    """The JSON form; `Answer` is not there when there is none."""
    message = dns.message.from_wire(reply)
    flags = {name: bool(message.flags & dns.flags.Flag[name]) for name in _FLAGS}
    found: dict[str, Any] = {"Status": int(message.rcode()), **flags}
    found["Question"] = [
        {"name": question.name.to_text(), "type": int(question.rdtype)}
        for question in message.question
    ]
    answers = [
        {
            "name": rrset.name.to_text(),
            "type": int(rrset.rdtype),
            "TTL": rrset.ttl,
            "data": _data(rdata),
        }
        for rrset in message.answer
        for rdata in rrset
    ]
    if answers:
        found["Answer"] = answers
    found |= {"Comment": None, "edns_client_subnet": None}
    return json.dumps(found, separators=(",", ":")).encode()


_FLAGS = ("TC", "RD", "RA", "AD", "CD")


def _data(rdata: Any) -> str:
    """A record's data as text; a TXT record's strings as one, without quotes."""
    if rdata.rdtype == _TXT:
        return b"".join(rdata.strings).decode(errors="replace")
    return str(rdata.to_text())
