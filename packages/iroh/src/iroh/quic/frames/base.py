"""What frames have in common.

    +---------------+------------------------- - -
    | type (varint) | fields, each as its own module draws them
    +---------------+------------------------- - -

A frame is a small slotted object with `encode()`; its class decodes with
`decode(type, buf, at, end)`, which gives the frame and the offset behind it and raises nothing but
PeerError. `ACK_ELICITING` and `PROBING` are those of RFC 9000 table 3.
"""

import ipaddress
from typing import Any, ClassVar, Final, Self

from iroh.quic import varint
from iroh.quic.errors import FRAME_ENCODING_ERROR, PeerError
from iroh.quic.varint import Buffer
from iroh_base import SocketAddr

# Where a frame may appear: packet number spaces, and 0-RTT apart.
INITIAL, HANDSHAKE, ZERO_RTT, ONE_RTT = 0, 1, 2, 3
SPACES_ALL: Final[frozenset[int]] = frozenset((INITIAL, HANDSHAKE, ZERO_RTT, ONE_RTT))
SPACES_NOT_0RTT: Final[frozenset[int]] = frozenset((INITIAL, HANDSHAKE, ONE_RTT))
SPACES_APP: Final[frozenset[int]] = frozenset((ZERO_RTT, ONE_RTT))
SPACES_1RTT: Final[frozenset[int]] = frozenset((ONE_RTT,))


class Frame:
    """The root of all frames: equality and repr by the slots."""

    __slots__ = ()
    TYPES: ClassVar[tuple[int, ...]] = ()
    ACK_ELICITING: ClassVar[bool] = True
    PROBING: ClassVar[bool] = False
    SPACES: ClassVar[frozenset[int]] = SPACES_1RTT

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        raise NotImplementedError

    @classmethod
    def decode(cls, kind: int, buf: Buffer, at: int, end: int) -> tuple[Self, int]:
        """Decode what stands behind the type. Raises PeerError."""
        raise NotImplementedError

    @classmethod
    def _names(cls) -> tuple[str, ...]:
        """The slots of the class that has any: a family's types share their parent's."""
        for parent in cls.__mro__:
            slots: tuple[str, ...] = getattr(parent, "__slots__", ())
            if slots:
                return slots
        return ()

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._names())

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._fields() == self._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def named(self) -> dict[str, Any]:
        """Give the fields by name."""
        return dict(zip(self._names(), self._fields(), strict=True))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.named().items())
        return f"{type(self).__name__}({fields})"


def malformed(reason: str, kind: int) -> PeerError:
    """Make the error for a frame that cannot be decoded."""
    return PeerError(FRAME_ENCODING_ERROR, reason, kind)


def take(buf: Buffer, at: int, length: int, end: int, kind: int) -> tuple[bytes, int]:
    """Cut `length` bytes out. Raises PeerError when there are fewer."""
    stop = at + length
    if stop > end:
        raise malformed("the frame is cut short", kind)
    return bytes(buf[at:stop]), stop


def encode_fields(kind: int, *values: int) -> bytes:
    """Encode a frame that is nothing but varints."""
    return b"".join((varint.encode(kind), *map(varint.encode, values)))


def encode_addr(addr: SocketAddr) -> bytes:
    """IP in network order, then the port, two bytes big endian."""
    return ipaddress.ip_address(addr.ip).packed + addr.port.to_bytes(2, "big")


def decode_addr(is_v4: bool, buf: Buffer, at: int, end: int, kind: int) -> tuple[SocketAddr, int]:
    """Decode what `encode_addr` made, in canonical form: never an IPv4-mapped IPv6 address."""
    raw, at = take(buf, at, 4 if is_v4 else 16, end, kind)
    port, at = take(buf, at, 2, end, kind)
    ip = ipaddress.ip_address(raw)
    mapped = getattr(ip, "ipv4_mapped", None)
    return SocketAddr(str(mapped or ip), int.from_bytes(port, "big")), at
