"""n0's NAT traversal (noq `frame.rs`; spec/quic.md section 4 says how they are used).

ADD_ADDRESS     0x3d7f90 v4, 0x3d7f91 v6 | seq   | ip | port
REACH_OUT       0x3d7f92 v4, 0x3d7f93 v6 | round | ip | port
REMOVE_ADDRESS  0x3d7f94                 | seq
"""

from typing import ClassVar, Self

from iroh.quic import varint
from iroh.quic.frames.base import Frame, decode_addr, encode_addr, encode_fields
from iroh.quic.varint import Buffer
from iroh_base import SocketAddr


class _NumberedAddr(Frame):
    """A number and a canonical address; the type tells the address family."""

    __slots__ = ("addr", "number")

    def __init__(self, number: int, addr: SocketAddr) -> None:
        self.number: int = number
        self.addr: SocketAddr = addr

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        kind = self.TYPES[not self.addr.is_ipv4]
        return encode_fields(kind, self.number) + encode_addr(self.addr)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        number, at = varint.decode(buf, at)
        addr, at = decode_addr(kind == cls.TYPES[0], buf, at, end, kind)
        return cls(number, addr), at


class AddAddress(_NumberedAddr):
    """Server to client: an address I may be reached at. number: its sequence number."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x3D7F90, 0x3D7F91)


class ReachOut(_NumberedAddr):
    """Client to server: send a probe to this address of mine. number: the round."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = (0x3D7F92, 0x3D7F93)


class RemoveAddress(Frame):
    """Server to client: forget the address with this sequence number."""

    __slots__ = ("seq",)
    TYPES: ClassVar[tuple[int, ...]] = (0x3D7F94,)

    def __init__(self, seq: int) -> None:
        self.seq: int = seq

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_fields(0x3D7F94, self.seq)

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        seq, at = varint.decode(buf, at)
        return cls(seq), at
