"""PCP (RFC 6887): UDP to port 5351 of the gateway. Network byte order.

    request   | version 2 | opcode 1 | reserved 2 | lifetime 4 | our address 16 |      24 bytes
    answer    | version 2 | 128 + opcode 1 | reserved 1 | result 1 | lifetime 4 |
              | epoch 4 | reserved 12 |                                                24 bytes
    MAP       | nonce 12 | protocol 1 | reserved 3 | internal port 2 |
              | external port 2 | external address 16 |              follows either, 36 bytes

Opcode 0 is ANNOUNCE (nothing follows), 1 is MAP. IPv4 addresses are written ::ffff:a.b.c.d.
Options may come after; ours has none, and those of an answer are not looked at.
"""

import ipaddress
import struct
from typing import NamedTuple

from .errors import BadAnswerError, RefusedError

__all__ = ["Announced", "Mapped", "decode", "encode_announce", "encode_map"]

LIFETIME = 3600  # seconds asked for (portmapper `pcp.rs`)
MAX_SIZE = 1100  # bytes (RFC 6887 section 7)
NONCE_LENGTH = 12
_VERSION, _ANNOUNCE, _MAP, _UDP, _ANSWER = 2, 0, 1, 17, 0x80

_REQUEST = struct.Struct("!BBHI16s")
_RESPONSE = struct.Struct("!BBBBII12x")
_MAPPING = struct.Struct("!12sB3xHH16s")
_RESULTS = {
    1: "unsupported version",
    2: "not authorized",
    3: "malformed request",
    4: "unsupported opcode",
    5: "unsupported option",
    6: "malformed option",
    7: "network failure",
    8: "no resources",
    9: "unsupported protocol",
    10: "user exceeded quota",
    11: "cannot provide external address",
    12: "address mismatch",
    13: "excessive remote peers",
}


class Announced(NamedTuple):
    """The gateway speaks PCP; epoch: seconds since it forgot its mappings."""

    epoch: int


class Mapped(NamedTuple):
    """A UDP mapping; lifetime in seconds."""

    epoch: int
    nonce: bytes
    internal_port: int
    external_port: int
    external_ip: str
    lifetime: int


def encode_announce(our_ip: str) -> bytes:
    """Ask whether the gateway speaks PCP."""
    return _REQUEST.pack(_VERSION, _ANNOUNCE, 0, 0, _mapped_ip(our_ip))


def encode_map(
    our_ip: str,
    nonce: bytes,
    internal_port: int,
    external_port: int = 0,
    external_ip: str = "0.0.0.0",
    lifetime: int = LIFETIME,
) -> bytes:
    """Ask for a UDP mapping, best with this external address; 0 leaves it to the gateway.

    The nonce, 12 bytes, is the key to the mapping: renew or take back (lifetime 0) with the same.
    """
    head = _REQUEST.pack(_VERSION, _MAP, 0, lifetime, _mapped_ip(our_ip))
    external = _mapped_ip(external_ip)
    return head + _MAPPING.pack(nonce, _UDP, internal_port, external_port, external)


def decode(data: bytes) -> Announced | Mapped:
    """Read an answer. Raises RefusedError, BadAnswerError."""
    if len(data) >= 2 and data[0] == 0 and data[1] & _ANSWER:
        raise RefusedError("PCP: the gateway speaks only NAT-PMP", 1)  # RFC 6887 section 9
    if not _RESPONSE.size <= len(data) <= MAX_SIZE:
        raise BadAnswerError(f"a PCP answer of {len(data)} bytes")
    version, opcode, _, result, lifetime, epoch = _RESPONSE.unpack_from(data)
    if not opcode & _ANSWER:
        raise BadAnswerError("a PCP request")
    if result:
        raise RefusedError(f"PCP: {_RESULTS.get(result, 'unknown result')}", result)
    if version != _VERSION:
        raise BadAnswerError(f"a PCP answer of version {version}")
    if opcode == _ANSWER | _ANNOUNCE:
        return Announced(epoch)
    if opcode != _ANSWER | _MAP or len(data) < _RESPONSE.size + _MAPPING.size:
        raise BadAnswerError(f"a PCP answer of opcode {opcode} with {len(data)} bytes")
    nonce, protocol, internal, external, packed = _MAPPING.unpack_from(data, _RESPONSE.size)
    ip = ipaddress.IPv6Address(packed).ipv4_mapped
    if protocol != _UDP or ip is None:
        raise BadAnswerError(f"a PCP mapping of protocol {protocol} to {packed.hex()}")
    return Mapped(epoch, nonce, internal, external, str(ip), lifetime)


def _mapped_ip(ip: str) -> bytes:
    return bytes(10) + b"\xff\xff" + ipaddress.IPv4Address(ip).packed
