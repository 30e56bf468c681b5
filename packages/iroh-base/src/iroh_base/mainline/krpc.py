"""KRPC, the DHT's messages (BEP 5, with BEP 43's "ro" and BEP 44's get and put).

    query     {"t": transaction, "y": "q", "q": method, "a": {"id": ours, ...}, "ro": 1 for clients}
    response  {"t": the query's, "y": "r", "r": {"id": theirs, ...}, "ip": who they think we are}
    error     {"t": the query's, "y": "e", "e": [code, text]}

    method     arguments                                     answer
    ping       -                                             -
    find_node  target                                        nodes
    get_peers  info_hash                                     nodes, token
    get        target, seq?                                  nodes, token, and k, sig, seq, v
    put        token, target, k, sig, seq, v, salt?, cas?    -

A node is written as 20 bytes of id, 4 of IPv4 address, 2 of port.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final, NamedTuple

from iroh_base.errors import IrohError
from iroh_base.ip_text import ip_text

from .bencode import BencodeError, Value, decode, encode

__all__ = [
    "MAX_DATAGRAM",
    "Addr",
    "Contact",
    "Dict",
    "ErrorReply",
    "KrpcError",
    "Query",
    "Response",
    "Value",
    "read",
    "read_nodes",
    "write_error",
    "write_nodes",
    "write_query",
    "write_response",
]

MAX_DATAGRAM: Final = 2048
"""Bytes that are read of a datagram; upstream n0-mainline `MTU`."""

MAX_NODES: Final = 32
"""Of one answer that are looked at; BEP 5 says 8, n0-mainline sends 20."""

ID_LENGTH: Final = 20
_NODE = ID_LENGTH + 6
_MAX_TRANSACTION = 16
_MAX_TEXT = 200

Addr = tuple[str, int]
"""An IPv4 address as text, and a port."""
Dict = dict[bytes, Value]


class KrpcError(IrohError, ValueError):
    """A datagram that is no KRPC message. `transaction` if an error may be answered."""

    def __init__(self, message: str, transaction: bytes | None = None) -> None:
        super().__init__(message)
        self.transaction = transaction


class Contact(NamedTuple):
    """A node and where it is."""

    id: bytes
    addr: Addr


class Query(NamedTuple):
    """Somebody asks; `args` has a good id."""

    transaction: bytes
    method: bytes
    args: Dict
    read_only: bool

    @property
    def sender(self) -> bytes:
        """The id of who asks."""
        return _id(self.args) or b""


class Response(NamedTuple):
    """Somebody answers; `values` has a good id."""

    transaction: bytes
    values: Dict

    @property
    def sender(self) -> bytes:
        """The id of who answers."""
        return _id(self.values) or b""


class ErrorReply(NamedTuple):
    """Somebody refuses."""

    transaction: bytes
    code: int
    text: str


def read(data: bytes) -> Query | Response | ErrorReply:
    """Read a datagram. Raises `KrpcError`."""
    try:
        message = decode(data)
    except BencodeError as error:
        raise KrpcError(str(error)) from error
    if not isinstance(message, dict):
        raise KrpcError("a message is a dictionary")
    transaction = message.get(b"t")
    if not isinstance(transaction, bytes) or len(transaction) > _MAX_TRANSACTION:
        raise KrpcError("a message needs a transaction id")
    kind, body = message.get(b"y"), None
    match kind:
        case b"q":
            method, body = message.get(b"q"), message.get(b"a")
            if isinstance(method, bytes) and isinstance(body, dict) and _id(body):
                return Query(transaction, method, body, message.get(b"ro") == 1)
            raise KrpcError("a query needs a method and an id", transaction)
        case b"r":
            body = message.get(b"r")
            if isinstance(body, dict) and _id(body):
                return Response(transaction, body)
        case b"e":
            match message.get(b"e"):
                case [int(code), bytes(text), *_]:
                    return ErrorReply(
                        transaction, code, text[:_MAX_TEXT].decode("utf-8", "replace")
                    )
    raise KrpcError("no query, response or error")


def write_query(transaction: bytes, method: bytes, args: Dict, *, read_only: bool) -> bytes:
    """A query; `args` with our id."""
    message: Dict = {b"t": transaction, b"y": b"q", b"q": method, b"a": args}
    if read_only:
        message[b"ro"] = 1
    return encode(message)


def write_response(transaction: bytes, values: Dict, to: Addr) -> bytes:
    """An answer; `values` with our id. `to`: the address that asked, which it is told (BEP 42)."""
    where = ipaddress.IPv4Address(to[0]).packed + to[1].to_bytes(2)
    return encode({b"t": transaction, b"y": b"r", b"r": values, b"ip": where})


def write_error(transaction: bytes, code: int, text: str) -> bytes:
    """A refusal, with a code of BEP 5 or BEP 44."""
    return encode({b"t": transaction, b"y": b"e", b"e": [code, text.encode()]})


def read_nodes(value: Value | None) -> list[Contact]:
    """The nodes of an answer; those without a port, and all but the first 32, are left out."""
    if not isinstance(value, bytes):
        return []
    nodes = []
    for start in range(0, min(len(value), MAX_NODES * _NODE) - _NODE + 1, _NODE):
        node = value[start : start + _NODE]
        port = int.from_bytes(node[-2:])
        if port:
            nodes.append(Contact(node[:ID_LENGTH], (ip_text(node[ID_LENGTH:-2]), port)))
    return nodes


def write_nodes(contacts: Iterable[Contact]) -> bytes:
    """The nodes of an answer."""
    return b"".join(
        id + ipaddress.IPv4Address(ip).packed + port.to_bytes(2) for id, (ip, port) in contacts
    )


def _id(values: Dict) -> bytes | None:
    found = values.get(b"id")
    return found if isinstance(found, bytes) and len(found) == ID_LENGTH else None
