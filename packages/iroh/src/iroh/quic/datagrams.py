"""The unit that passes between the engine and the sockets: a run of UDP datagrams of one path.

    data   | segment 0 | segment 1 | ... | last segment |
             segment_size bytes each       1..segment_size bytes

This is what a socket with UDP_GRO hands over and UDP_SEGMENT takes, and what a relay carries in one
batch frame, so no layer has to cut and join it again.
"""

from collections.abc import Hashable, Iterator

Address = Hashable
"""A path's remote address, opaque to the engine: a real (ip, port) or a mapped address."""


class Datagrams:
    """One or more datagrams of one path, in one buffer.

    remote: where they came from, or go to.
    data: the datagrams one behind the other.
    segment_size: bytes of each datagram but the last; len(data) when there is only one.
    ecn: the two ECN bits of the IP header (RFC 3168), 0 when unknown.
    local: our own address on this path, None when unknown or for the kernel to choose.
    """

    __slots__ = ("data", "ecn", "local", "remote", "segment_size")

    def __init__(
        self,
        remote: Address,
        data: bytes,
        segment_size: int = 0,
        ecn: int = 0,
        local: Address | None = None,
    ) -> None:
        self.remote: Address = remote
        self.data: bytes = data
        self.segment_size: int = segment_size or len(data)
        self.ecn: int = ecn
        self.local: Address | None = local

    def __len__(self) -> int:
        """How many datagrams."""
        return -(-len(self.data) // self.segment_size) if self.data else 0

    def __iter__(self) -> Iterator[bytes]:
        """Each datagram's bytes, in order."""
        data, size = self.data, self.segment_size
        if len(data) <= size:
            return iter((data,) if data else ())
        return (data[at : at + size] for at in range(0, len(data), size))

    def __repr__(self) -> str:
        return f"Datagrams({self.remote!r}, {len(self)} x {self.segment_size})"
