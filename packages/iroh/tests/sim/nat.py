"""A NAT in front of one private address.

    (private) --out--> mapping -> (public ip, port) --> the destination sees the public address
    (private) <--in--- mapping <- (public ip, port) <-- unless the filter is against it

Mappings: one for all destinations, or with `symmetric` one for each (RFC 4787 section 4.1).
Filter: with `filtering`, only those that were sent to may answer, by address and port (5).
`rebind` forgets all mappings: the next datagram out is seen from another port.
"""

from iroh.quic.datagrams import Address

UdpAddress = tuple[str, int]
FIRST_PORT = 40_000


class Nat:
    """Translates the addresses of what `private` sends and receives."""

    def __init__(
        self,
        private: UdpAddress,
        public_ip: str,
        *,
        symmetric: bool = False,
        filtering: bool = False,
    ) -> None:
        self.private = private
        self.public_ip = public_ip
        self.rebindings = 0
        self._symmetric = symmetric
        self._filtering = filtering
        self._next_port = FIRST_PORT
        self._mappings: dict[Address, UdpAddress] = {}
        self._allowed: dict[UdpAddress, set[Address]] = {}

    def outward(self, destination: Address) -> UdpAddress:
        """Give the public address of a datagram to `destination`, and let it answer."""
        key = destination if self._symmetric else None
        public = self._mappings.get(key)
        if public is None:
            public = self._mappings[key] = (self.public_ip, self._next_port)
            self._next_port += 1
            self._allowed[public] = set()
        self._allowed[public].add(destination)
        return public

    def inward(self, public: UdpAddress, source: Address) -> bool:
        """Say whether a datagram from `source` to this public address gets in."""
        allowed = self._allowed.get(public)
        return allowed is not None and (not self._filtering or source in allowed)

    def rebind(self) -> None:
        """Forget every mapping. What comes to the old ones is dropped."""
        self._mappings.clear()
        self._allowed.clear()
        self.rebindings += 1
