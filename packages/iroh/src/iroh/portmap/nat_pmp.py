"""NAT-PMP (RFC 6886): UDP to port 5351 of the gateway. Network byte order.

    address?  | version 0 | op 0 |                                                       2 bytes
    address   | version 0 | op 128 | result 2 | epoch 4 | external IPv4 4 |             12 bytes
    map?      | version 0 | op 1 | reserved 2 | internal port 2 | external port 2 |
              | lifetime 4 |                                                           12 bytes
    mapped    | version 0 | op 129 | result 2 | epoch 4 | internal port 2 |
              | external port 2 | lifetime 4 |                                         16 bytes

op 1 maps UDP. A lifetime of 0 takes a mapping back; then the external port must be 0, too. An
answer that refuses may be shorter: only version, op and result are sure to be there.
"""

import ipaddress
import struct
from typing import NamedTuple

from .errors import BadAnswerError, RefusedError

__all__ = ["ADDRESS_REQUEST", "ExternalAddress", "Mapped", "decode", "encode_map"]

PORT = 5351
LIFETIME = 7200  # seconds (RFC 6886 section 3.3)
ADDRESS_REQUEST = b"\0\0"
_OP_ADDRESS, _OP_MAPPED = 128, 129

_HEAD = struct.Struct("!BBH")
_ADDRESS = struct.Struct("!BBHI4s")
_MAP = struct.Struct("!BBHHHI")
_MAPPED = struct.Struct("!BBHIHHI")
_RESULTS = {
    1: "unsupported version",
    2: "not authorized",
    3: "network failure",
    4: "out of resources",
    5: "unsupported operation",
}


class ExternalAddress(NamedTuple):
    """The gateway's address on its other side; epoch: seconds since it had no mappings."""

    epoch: int
    ip: str


class Mapped(NamedTuple):
    """A mapping; lifetime in seconds, 0 when it was taken back."""

    epoch: int
    internal_port: int
    external_port: int
    lifetime: int


def encode_map(internal_port: int, external_port: int, lifetime: int = LIFETIME) -> bytes:
    """Ask for a UDP mapping, best with this external port; 0 leaves it to the gateway."""
    return _MAP.pack(0, 1, 0, internal_port, external_port, lifetime)


def decode(data: bytes) -> ExternalAddress | Mapped:
    """Read an answer. Raises RefusedError, BadAnswerError."""
    if len(data) < _HEAD.size:
        raise BadAnswerError(f"a NAT-PMP answer of {len(data)} bytes")
    version, op, result = _HEAD.unpack_from(data)
    if version != 0 or op not in (_OP_ADDRESS, _OP_MAPPED):
        raise BadAnswerError(f"no NAT-PMP answer of ours: version {version}, op {op}")
    if result:
        raise RefusedError(f"NAT-PMP: {_RESULTS.get(result, 'unknown result')}", result)
    layout = _ADDRESS if op == _OP_ADDRESS else _MAPPED
    if len(data) < layout.size:
        raise BadAnswerError(f"a NAT-PMP answer to op {op - 128} of {len(data)} bytes")
    _, _, _, epoch, *rest = layout.unpack_from(data)
    if op == _OP_ADDRESS:
        return ExternalAddress(epoch, str(ipaddress.IPv4Address(rest[0])))
    return Mapped(epoch, *rest)
