"""The two things that address discovery adds to QUIC, as bytes: see the package for the layout."""

import ipaddress
from typing import Any, Final

from aioquic._buffer import Buffer

__all__ = ["PARAMETER", "canonical", "client_receives", "encode_address", "encode_role"]

PARAMETER: Final = 0x9F81A176
FRAME_V4: Final = 0x9F81A6
FRAME_V6: Final = 0x9F81A7
SENDS, RECEIVES, BOTH = 0, 1, 2
MAX_FRAME: Final = 4 + 8 + 16 + 2
"""Bytes of the largest frame."""

Address = tuple[str, int]


def canonical(addr: Any) -> Address:
    """Give (ip, port) of what a socket calls an address; IPv4 that came in an IPv6 one as IPv4."""
    ip = ipaddress.ip_address(addr[0].partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip), addr[1]


def encode_address(seq: int, addr: Address) -> tuple[int, bytes]:
    """Give the type of an OBSERVED_ADDRESS frame and what follows it."""
    ip = ipaddress.ip_address(addr[0])
    buf = Buffer(capacity=MAX_FRAME)
    buf.push_uint_var(seq)
    buf.push_bytes(ip.packed)
    buf.push_uint16(addr[1])
    return FRAME_V4 if ip.version == 4 else FRAME_V6, buf.data


def encode_role(role: int) -> bytes:
    """Give the whole transport parameter."""
    buf = Buffer(capacity=10)
    buf.push_uint_var(PARAMETER)
    buf.push_uint_var(1)
    buf.push_uint_var(role)
    return buf.data


def client_receives(params: bytes) -> bool:
    """Whether transport parameters say that the client wants to be told.

    Raises ValueError for a role that does not exist, and for what is no parameters at all.
    """
    buf = Buffer(data=params)
    role = None
    while not buf.eof():
        kind = buf.pull_uint_var()
        value = Buffer(data=buf.pull_bytes(buf.pull_uint_var()))
        if kind == PARAMETER:
            role = value.pull_uint_var()
            if role > BOTH or not value.eof():
                raise ValueError("no such role in address discovery")
    return role in (RECEIVES, BOTH)
